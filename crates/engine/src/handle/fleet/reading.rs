//! What is shown of one job: read from memory if it is there and was looked at before, else from the store. Of an idle
//! job its row says everything: looking at the fleet reads the telemetry of no more jobs than are in memory.

use std::sync::Arc;

use super::{Decisions, Known, Read, Subject, Unread};
use crate::{
    api::{Error, JobView},
    entry::{Entry, Pulse},
    handle::{Engine, outlook::off_told, stored_view},
    pages,
    trail::{Past, Trail},
};
use lrs_model::job::JobRow;
use lrs_store::{DecisionQuery, ListedJob};

impl Engine {
    /// Everything that is shown of a job; `None` if it is gone meanwhile.
    pub(super) async fn read(&self, unread: Unread) -> Result<Option<Read>, Error> {
        let read = match &unread.subject {
            Subject::Loaded(entry) => self.read_loaded(Arc::clone(entry), unread.pulse, unread.decisions).await,
            Subject::Stored(job) => self.read_stored(ListedJob::clone(job), unread.pulse, unread.decisions).await,
        };
        match read {
            Ok(read) => Ok(Some(read)),
            Err(Error::JobNotFound(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn read_loaded(&self, entry: Arc<Entry>, pulse: Pulse, mut decisions: Decisions) -> Result<Read, Error> {
        let past = match entry.check_sound() {
            Ok(()) => self.remembered(&entry, &mut decisions).await,
            Err(damage) => Err(damage),
        };
        let (past, damage) = apart(past)?;
        let view = entry.view(self.0.context.moment());
        let off_told = off_told(&entry, &past);
        let known = Known { pulse, entry: Some(entry), decisions, look: 0 };
        Ok(Read::new(view, past, off_told, damage, known))
    }

    /// The last steps of a job that runs: from memory, where they are kept from the first look on.
    async fn remembered(&self, entry: &Entry, decisions: &mut Decisions) -> Result<Past, Error> {
        let attempt = entry.attempt();
        if let Some(past) = entry.trail().as_ref().and_then(|trail| trail.past(attempt)) {
            return Ok(past);
        }
        let trail = Arc::new(Trail::new(attempt));
        // Before the store is read, so that the trail gets whatever is not stored by then.
        entry.set_trail((attempt > 0).then(|| Arc::clone(&trail)));
        let before = self.stored(&entry.view(self.0.context.moment()), decisions).await?;
        trail.fill(before);
        Ok(trail.past(attempt).unwrap_or_default())
    }

    async fn read_stored(&self, job: ListedJob, pulse: Pulse, mut decisions: Decisions) -> Result<Read, Error> {
        let view = stored_view(job, self.0.context.moment());
        let past =
            if view.row.state.is_ended() { self.stored(&view, &mut decisions).await } else { Ok(Past::default()) };
        let (past, damage) = apart(past)?;
        let known = Known { pulse, entry: None, decisions, look: 0 };
        Ok(Read::new(view, past, (0, 0), damage, known))
    }

    /// The last steps of a job, and the newest decision, as they are stored.
    async fn stored(&self, view: &JobView, decisions: &mut Decisions) -> Result<Past, Error> {
        *decisions = self.newest_decision(&view.row, decisions.clone()).await?;
        Ok(Past { decision: decisions.newest.clone(), ..self.past(view).await? })
    }

    /// The newest decision that is stored.
    async fn newest_decision(&self, row: &JobRow, mut decisions: Decisions) -> Result<Decisions, Error> {
        self.settled(row.id).await?;
        let limit = pages::decisions(row.spec.groups.len());
        loop {
            let query = DecisionQuery { after: decisions.after, limit, ..DecisionQuery::default() };
            let mut rows = self.0.reads.decisions(row.id, &query).await?;
            let is_full = rows.len() == limit as usize;
            if let Some(newest) = rows.pop() {
                decisions = Decisions { after: Some(newest.position), newest: Some(Arc::new(newest.decision)) };
            }
            if !is_full {
                return Ok(decisions);
            }
        }
    }
}

/// Takes what is wrong with one job apart, so that it keeps nobody from seeing the others.
fn apart(past: Result<Past, Error>) -> Result<(Past, Option<Error>), Error> {
    match past {
        Ok(past) => Ok((past, None)),
        Err(error @ (Error::JobDamaged { .. } | Error::Store(_))) => Ok((Past::default(), Some(error))),
        // Between its listing and now.
        Err(Error::TelemetryRemoved { .. }) => Ok((Past::default(), None)),
        Err(error) => Err(error),
    }
}
