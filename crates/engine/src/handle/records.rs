//! What is on record of a job, and what happens to it.

use std::ops::Range;

use tokio::sync::broadcast::{Receiver, error::RecvError};

use super::Engine;
use crate::{
    api::{ChangePage, DecisionPage, Error, Event, JobView, TelemetryAnswer, TelemetryQuery},
    directory::Held,
    history::{self, Records},
    lineage::lineage,
    pages,
    shard::Context,
};
use lrs_model::{
    job::{AttemptRow, JobRow},
    name::{JobId, JobName},
};
use lrs_store::{ChangeQuery, DecisionQuery};

impl Engine {
    /// What happens to a job from now on; the first event is the job as it is.
    ///
    /// # Errors
    /// If there is none.
    pub async fn watch_job(&self, name: &JobName) -> Result<Watch, Error> {
        let held = match self.live(name.as_str()).await {
            Ok(held) => held,
            Err(Error::JobEnded { .. }) => {
                let first = Some(Event::Job(Box::new(self.ended(name).await?)));
                return Ok(Watch { first, events: None, held: None, context: self.0.context.clone() });
            }
            Err(error) => return Err(error),
        };
        let events = held.subscribe(self.0.context.settings.watch_events);
        let first = Some(Event::Job(Box::new(held.view(self.0.context.moment()))));
        Ok(Watch { first, events: Some(events), held: Some(held), context: self.0.context.clone() })
    }

    /// The identity of a job, ended or not. Its row will do, so the job is not taken into memory.
    pub(super) async fn identity(&self, name: &JobName) -> Result<JobId, Error> {
        if let Some(entry) = self.0.context.directory.peek(name.as_str()) {
            return entry.check_sound().map(|()| entry.id);
        }
        Ok(self.ended(name).await?.row.id)
    }

    /// A job's attempts, first to newest.
    ///
    /// # Errors
    /// If there is no such job.
    pub async fn attempts(&self, name: &JobName) -> Result<Vec<AttemptRow>, Error> {
        let id = self.identity(name).await?;
        Ok(self.0.reads.attempts(id).await?)
    }

    /// A job's decisions.
    ///
    /// # Errors
    /// If there is no such job or attempt.
    pub async fn decisions(
        &self,
        name: &JobName,
        attempt: Option<u32>,
        after: Option<u64>,
        limit: u32,
    ) -> Result<DecisionPage, Error> {
        let view = self.job(name).await?;
        let id = view.row.id;
        self.settled(id).await?;
        if let Some(attempt) = attempt {
            let newest = self.0.reads.attempts(id).await?.last().map_or(0, |row| row.attempt);
            if attempt > newest {
                return Err(Error::UnknownAttempt { job: name.clone(), attempt: attempt.into(), newest });
            }
        }
        let limit = limit.min(pages::decisions(view.row.spec.groups.len()));
        let query = DecisionQuery { attempt, people_only: false, after, limit: limit.saturating_add(1) };
        let mut rows = self.0.reads.decisions(id, &query).await?;
        let more = rows.len() > limit as usize;
        rows.truncate(limit as usize);
        let next = rows.last().filter(|_| more).map(|row| row.position);
        Ok(DecisionPage { decisions: rows.into_iter().map(|row| row.decision).collect(), next })
    }

    /// Who changed the job with this name, and the jobs that had it before and were deleted.
    ///
    /// # Errors
    /// If there is no such job and no record of one.
    pub async fn changes(&self, name: &JobName, after: Option<u64>, limit: u32) -> Result<ChangePage, Error> {
        if let Some(entry) = self.0.context.directory.peek(name.as_str()) {
            self.settled(entry.id).await?;
        }
        let query = ChangeQuery { job_name: name.clone(), after, limit: limit.saturating_add(1) };
        let mut rows = self.0.reads.changes(&query).await?;
        if rows.is_empty() && after.is_none() {
            self.job(name).await?;
        }
        let more = rows.len() > limit as usize;
        rows.truncate(limit as usize);
        let next = rows.last().filter(|_| more).map(|row| row.position);
        Ok(ChangePage { changes: rows.into_iter().map(|row| row.change).collect(), next })
    }

    /// What a job's trainers reported.
    ///
    /// # Errors
    /// If there is no such job or attempt.
    pub async fn telemetry(&self, name: &JobName, query: TelemetryQuery) -> Result<TelemetryAnswer, Error> {
        let (view, records) = self.history(name, query.attempt, query.start_step..query.end_step).await?;
        let answer = history::answer(records, &query).await?;
        self.check_still_whole(&view).await?;
        Ok(answer)
    }

    /// The complete records of `steps` of the history of an attempt, or of the newest, and the job they are of.
    pub(super) async fn history(
        &self,
        name: &JobName,
        attempt: Option<u32>,
        steps: Range<u64>,
    ) -> Result<(JobView, Records<'_>), Error> {
        let (view, held) = self.seen(name).await?;
        let cell = held.as_ref().and_then(|held| held.cell_full());
        check_whole(&view.row)?;
        self.settled(view.row.id).await?;
        let store = &*self.0.reads;
        let attempts = store.attempts(view.row.id).await?;
        let newest = attempts.last().map_or(0, |row| row.attempt);
        let attempt = attempt.unwrap_or(newest);
        if attempt > newest {
            return Err(Error::UnknownAttempt { job: name.clone(), attempt: attempt.into(), newest });
        }
        // Steps that a running attempt has reported but not closed have no record yet.
        let complete_end = cell.filter(|cell| cell.attempt == attempt).map_or(u64::MAX, |cell| cell.complete_end());
        let steps = steps.start..steps.end.min(complete_end);
        let records = Records::new(store, view.row.id, lineage(&attempts, attempt), steps);
        Ok((view, records))
    }

    /// Checks, after telemetry was read, that all of it was there: a removal or a deletion that began meanwhile may
    /// have taken some of it away.
    pub(super) async fn check_still_whole(&self, view: &JobView) -> Result<(), Error> {
        let row = self.0.reads.job(&view.row.name).await?;
        match row.filter(|row| row.id == view.row.id) {
            Some(row) => check_whole(&row),
            None => Err(Error::JobNotFound(view.row.name.to_string())),
        }
    }
}

/// Checks that all telemetry of a job is there.
///
/// # Errors
/// [`Error::TelemetryRemoved`] if not.
pub(super) fn check_whole(row: &JobRow) -> Result<(), Error> {
    match row.telemetry_removed_time {
        None => Ok(()),
        Some(time) => Err(Error::TelemetryRemoved { job: row.name.clone(), removed_time: time.to_string() }),
    }
}

/// A job's events.
pub struct Watch {
    first: Option<Event>,
    events: Option<Receiver<Event>>,
    /// The job stays in memory as long as it is watched.
    held: Option<Held>,
    context: Context,
}

impl Watch {
    /// The next event; `None` when the job has ended. Cancel safe.
    ///
    /// # Errors
    /// If the job goes out of service, or this server does not own the database any more.
    pub async fn next(&mut self) -> Result<Option<Event>, Error> {
        if let Some(first) = self.first.take() {
            return Ok(Some(first));
        }
        let Some(events) = &mut self.events else { return Ok(None) };
        match events.recv().await {
            Ok(event) => Ok(Some(event)),
            Err(RecvError::Lagged(missed)) => Ok(Some(Event::Missed(missed))),
            Err(RecvError::Closed) => {
                self.held.iter().try_for_each(|held| held.check_sound())?;
                if self.context.tenure.over().is_some() { Err(Error::Deposed) } else { Ok(None) }
            }
        }
    }
}
