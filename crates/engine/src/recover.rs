//! From what is stored back to a job as a value: at the start of the process, and when an attempt goes on from a step of the past.

use std::collections::HashSet;

use tracing::warn;

use super::{
    api::Error,
    job::{Job, Snapshot},
    timeline::Timeline,
};
use lrs_model::{
    decision::Decision,
    job::{AttemptRow, JobRow, State},
    name::JobId,
    telemetry::Report,
};
use lrs_runtime::aside::aside;
use lrs_store as store;
use lrs_store::{Chunk, DecisionQuery, StateRow, Store};

/// A job read back.
pub struct Loaded {
    /// Its row.
    pub row: JobRow,
    /// Its attempts, first to newest.
    pub attempts: Vec<AttemptRow>,
    /// People's decisions with their request's identifiers, in the order they were taken.
    pub people: Vec<(Decision, Option<String>)>,
    /// The schedule under those decisions.
    pub timeline: Timeline,
    /// The newest attempt, if the job has one of its own.
    pub running: Option<Running>,
    /// What the controllers decided on telemetry that is stored, of which no record is: the process before ended in between.
    pub unrecorded: Vec<Decision>,
}

/// An attempt read back.
pub struct Running {
    /// The job as a value.
    pub heart: Job,
    /// The `seq` of the next chunk.
    pub next_seq: u64,
    /// What the controllers decided on the last records of older attempts when the newest began.
    pub decisions: Vec<Decision>,
    /// What they decided before and after that, on the telemetry that was read. Most of it is stored; a process that ended between
    /// the telemetry and the decision, or a fork under another spec, leaves some that is not.
    pub recomputed: Vec<Decision>,
}

impl Running {
    /// An attempt of which nothing was recomputed yet.
    #[must_use]
    pub fn new(heart: Job, next_seq: u64) -> Self {
        Self { heart, next_seq, decisions: Vec::new(), recomputed: Vec::new() }
    }
}

/// A stretch of an attempt's history: the steps `start..end`, as `attempt` reported them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// The attempt that trained them.
    pub attempt: u32,
    /// First step.
    pub start: u64,
    /// First step no longer of this part.
    pub end: u64,
}

const PAGE: u32 = 1000;

/// The history of `attempt`: its own steps, and below its resume step its parent's.
#[must_use]
pub fn lineage(attempts: &[AttemptRow], attempt: u32) -> Vec<Part> {
    let mut parts = Vec::new();
    let (mut attempt, mut end) = (attempt, u64::MAX);
    while let Some(row) = attempts.iter().find(|row| row.attempt == attempt) {
        if row.resume_step < end {
            parts.push(Part { attempt, start: row.resume_step, end });
            end = row.resume_step;
        }
        attempt = row.parent_attempt;
    }
    parts.reverse();
    parts
}

/// Reads a job.
///
/// # Errors
/// If the store is away, or what it has of the job can not be understood.
pub async fn load(store: &dyn Store, row: JobRow) -> Result<Loaded, store::Error> {
    let attempts = store.attempts(row.id).await?;
    let people = people(store, row.id).await?;
    let timeline = aside(|| Timeline::try_new(&row.initial_spec, people.iter().map(|(decision, _)| decision)))
        .map_err(|violations| inconsistent("jobs", row.id, &violations.to_string()))?;
    let running = if row.state == State::Pending || attempts.is_empty() {
        None
    } else {
        let snapshot = store.state(row.id).await?;
        Some(running(store, row.id, &timeline, &attempts, snapshot).await?)
    };
    let unrecorded = match &running {
        Some(running) => unrecorded(store, row.id, running).await?,
        None => Vec::new(),
    };
    Ok(Loaded { row, attempts, people, timeline, running, unrecorded })
}

/// The decisions of those that were made again while `running` was read that are not on record.
///
/// A decision is stored with the telemetry it is of, but for two cases: it had to wait for a person's, or for the attempt after. Then a
/// process can end in between.
async fn unrecorded(store: &dyn Store, job: JobId, running: &Running) -> Result<Vec<Decision>, store::Error> {
    let made: Vec<&Decision> = running.decisions.iter().chain(&running.recomputed).collect();
    if made.is_empty() {
        return Ok(Vec::new());
    }
    let mut recorded = HashSet::new();
    let mut query = DecisionQuery { limit: PAGE, ..DecisionQuery::default() };
    loop {
        let rows = store.decisions(job, &query).await?;
        let Some(last) = rows.last() else { break };
        query.after = Some(last.position);
        recorded.extend(rows.iter().map(|row| row.decision.id));
    }
    Ok(made.into_iter().filter(|decision| !recorded.contains(&decision.id)).cloned().collect())
}

/// People's decisions about a job, in the order they were taken.
///
/// # Errors
/// If the store is away, or what it has can not be understood.
pub async fn people(store: &dyn Store, job: JobId) -> Result<Vec<(Decision, Option<String>)>, store::Error> {
    let mut people = Vec::new();
    let mut query = DecisionQuery { people_only: true, limit: PAGE, ..DecisionQuery::default() };
    loop {
        let rows = store.decisions(job, &query).await?;
        let Some(last) = rows.last() else { break };
        query.after = Some(last.position);
        people.extend(rows.into_iter().map(|row| (row.decision, row.request_id)));
    }
    people.sort_by_key(|(decision, _)| decision.id);
    Ok(people)
}

/// Reads the newest attempt: from its snapshot if there is one that fits, else from its whole history.
///
/// # Errors
/// If the store is away, or what it has can not be understood.
pub async fn running(
    store: &dyn Store,
    job: JobId,
    timeline: &Timeline,
    attempts: &[AttemptRow],
    snapshot: Option<StateRow>,
) -> Result<Running, store::Error> {
    let newest = attempts.last().map_or(0, |row| row.attempt);
    let parts = lineage(attempts, newest);
    let Some((last, history)) = parts.split_last() else {
        return Err(inconsistent("attempts", job, "the newest attempt has no steps of its own"));
    };
    if let Some(state) = snapshot.filter(|state| state.attempt == newest)
        && let Some(heart) = restore(timeline, newest, job, &state)
    {
        let mut running = Running::new(heart, state.next_seq);
        read_part(store, job, *last, &mut running).await?;
        return Ok(running);
    }
    let first = parts[0];
    let heart = Job::new(timeline.clone(), first.attempt, first.start);
    let mut running = Running::new(heart, 0);
    for (part, next) in history.iter().zip(&parts[1..]) {
        running.next_seq = 0;
        read_part(store, job, *part, &mut running).await?;
        running.recomputed.append(&mut running.decisions);
        running.decisions = running.heart.begin_attempt(next.attempt, next.start);
    }
    running.next_seq = 0;
    read_part(store, job, *last, &mut running).await?;
    Ok(running)
}

fn restore(timeline: &Timeline, attempt: u32, job: JobId, state: &StateRow) -> Option<Job> {
    let heart = match serde_json::from_str::<Snapshot>(&state.state) {
        Ok(snapshot) => Job::restore(timeline, attempt, snapshot),
        Err(problem) => {
            warn!(job.uid = %job, %problem, "The snapshot of job {job} can not be read, reading its telemetry: {problem}");
            None
        }
    };
    heart.filter(|heart| heart.attempt() == attempt)
}

/// Feeds the telemetry of `part` from `running.next_seq` on.
async fn read_part(store: &dyn Store, job: JobId, part: Part, running: &mut Running) -> Result<(), store::Error> {
    loop {
        let chunks = store.telemetry(job, part.attempt, running.next_seq, PAGE).await?;
        let Some(last) = chunks.last() else { return Ok(()) };
        running.next_seq = last.seq + 1;
        for chunk in chunks {
            if chunk.rank >= running.heart.ranks() {
                let problem = format!("rank {} of a job with {} ranks", chunk.rank, running.heart.ranks());
                return Err(inconsistent("telemetry", job, &problem));
            }
            let rank = chunk.rank;
            // The bound on open steps was kept when they were reported.
            if let Ok(taken) = running.heart.take(rank, within(part, chunk), usize::MAX) {
                running.recomputed.extend(taken.decisions);
            }
        }
    }
}

/// What of a chunk belongs to a part.
fn within(part: Part, chunk: Chunk) -> Report {
    let mut samples = chunk.samples;
    samples.retain(|sample| (part.start..part.end).contains(&sample.step));
    Report { samples, through_step: chunk.through_step.map(|step| step.min(part.end - 1)) }
}

fn inconsistent(table: &'static str, job: JobId, problem: &str) -> store::Error {
    store::Error::Inconsistent { table, id: job.to_string(), problem: problem.to_owned() }
}

impl From<store::Error> for Error {
    fn from(error: store::Error) -> Self {
        if error.is_transient() { Self::StoreUnavailable(error.to_string()) } else { Self::Store(error.to_string()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lrs_model::job::Timestamp;

    fn attempt(attempt: u32, resume_step: u64) -> AttemptRow {
        AttemptRow {
            attempt,
            token: attempt.to_string(),
            resume_step,
            parent_attempt: attempt - 1,
            reserved_end: 0,
            create_time: Timestamp(0),
        }
    }

    #[test]
    fn a_rewind_below_an_older_rewind_leaves_that_one_out() {
        let attempts = [attempt(1, 0), attempt(2, 500), attempt(3, 300), attempt(4, 700)];
        let part = |attempt, start, end| Part { attempt, start, end };
        assert_eq!(lineage(&attempts, 2), [part(1, 0, 500), part(2, 500, u64::MAX)]);
        assert_eq!(lineage(&attempts, 3), [part(1, 0, 300), part(3, 300, u64::MAX)]);
        assert_eq!(lineage(&attempts, 4), [part(1, 0, 300), part(3, 300, 700), part(4, 700, u64::MAX)]);
        assert_eq!(lineage(&attempts, 9), []);
    }
}
