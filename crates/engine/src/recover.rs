//! From the store back to a job as a value: when somebody asks for a job that is not in memory, and when an attempt goes
//! on from a step of the past.

use std::collections::VecDeque;

use tracing::warn;

use super::{
    api::Error,
    job::{Job, Saved},
    lineage::{Part, Standing, lineage},
    pages,
    timeline::Timeline,
};
use lrs_model::{
    decision::{Decision, DecisionId},
    job::{AttemptRow, JobRow, State, Timestamp},
    name::JobId,
    telemetry::Report,
};
use lrs_runtime::{error::Cause, heavy::in_place};
use lrs_store as store;
use lrs_store::{Chunk, DecisionQuery, JobRecord, StateRow, Store};

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
    /// When the job was last active.
    pub active_time: Timestamp,
}

/// An attempt read back.
pub struct Running {
    /// The job as a value.
    pub heart: Job,
    /// The `seq` of the next chunk.
    pub next_seq: u64,
    /// What the controllers decided on the telemetry that was read, of which no record is: the process before ended in
    /// between, the newest attempt has just begun, or the job is a fork under another spec.
    pub unrecorded: Vec<Decision>,
    /// How many samples were read that are not in the saved job.
    pub unsaved: u64,
}

impl Running {
    /// An attempt of which nothing has been read yet.
    #[must_use]
    pub fn new(heart: Job, next_seq: u64) -> Self {
        Self { heart, next_seq, unrecorded: Vec::new(), unsaved: 0 }
    }
}

const PAGE: u32 = 1000;

/// Whether [`load`] need not ask the store: most jobs that left memory in good order.
#[must_use]
pub fn is_quick(record: &JobRecord) -> bool {
    let is_saved = |state: &StateRow, newest: &AttemptRow| state.attempt == newest.attempt && !record.is_state_behind;
    let needs_telemetry = match (&record.row, &record.attempts, &record.state) {
        (Ok(row), Ok(attempts), Ok(state)) => {
            let newest = attempts.last().filter(|_| row.state != State::Pending);
            newest.is_some_and(|newest| !state.as_ref().is_some_and(|state| is_saved(state, newest)))
        }
        // It is damaged, which is said at once.
        _ => false,
    };
    !needs_telemetry && !record.has_person_decisions
}

/// A job from what was read of it, and from its telemetry and people's decisions.
///
/// # Errors
/// If the store is away, or what it has of the job cannot be understood.
pub async fn load(store: &dyn Store, record: JobRecord) -> Result<Loaded, store::Error> {
    let JobRecord { row, active_time, attempts, has_person_decisions, state, is_state_behind, .. } = record;
    let (row, attempts, snapshot) = (row?, attempts?, state?);
    let people = if has_person_decisions { people(store, row.id).await? } else { Vec::new() };
    let standing = Standing::new(&attempts, attempts.last().map_or(0, |row| row.attempt));
    let decisions = people.iter().map(|(decision, _)| decision);
    let timeline = in_place(|| Timeline::of_attempt(&row.initial_spec, decisions, &standing))
        .map_err(|violations| inconsistent("jobs", row.id, &violations.to_string()))?;
    let newest = attempts.last().filter(|_| row.state != State::Pending);
    let running = match (newest, &snapshot) {
        (None, _) => None,
        (Some(newest), Some(state)) if state.attempt == newest.attempt && !is_state_behind => {
            match in_place(|| restore(&timeline, newest, row.id, state)) {
                Some(heart) => Some(Running::new(heart, state.next_seq)),
                None => Some(running(store, row.id, &timeline, &attempts, None).await?),
            }
        }
        _ => Some(running(store, row.id, &timeline, &attempts, snapshot).await?),
    };
    Ok(Loaded { row, attempts, people, timeline, running, active_time })
}

/// The decisions on record, read beside the ones that controllers make once more. Both come in the order of their
/// identities, so neither has to be held in memory.
///
/// A decision is stored with the telemetry that it was taken on, but for two cases: it had to wait for a person's
/// decision, or for the next attempt. Then a process can end in between. One that is stored out of order, because it
/// was lost before, counts as not recorded; to record it again changes nothing.
struct Ledger<'a> {
    store: &'a dyn Store,
    job: JobId,
    query: DecisionQuery,
    /// What was read and not compared yet.
    page: VecDeque<DecisionId>,
}

impl<'a> Ledger<'a> {
    fn new(store: &'a dyn Store, job: JobId, groups: usize) -> Self {
        let query = DecisionQuery { limit: pages::decisions(groups), ..DecisionQuery::default() };
        Self { store, job, query, page: VecDeque::new() }
    }

    /// The decisions of `made` that are not on record. They follow on those of the last call.
    async fn unrecorded(&mut self, made: Vec<Decision>) -> Result<Vec<Decision>, store::Error> {
        let mut unrecorded = Vec::new();
        for decision in made {
            while self.next().await?.is_some_and(|recorded| recorded < decision.id) {
                self.page.pop_front();
            }
            if self.page.front() != Some(&decision.id) {
                unrecorded.push(decision);
            }
        }
        Ok(unrecorded)
    }

    /// The next decision on record that is not passed yet.
    async fn next(&mut self) -> Result<Option<DecisionId>, store::Error> {
        if self.page.is_empty() {
            let rows = self.store.decisions(self.job, &self.query).await?;
            self.query.after = rows.last().map_or(self.query.after, |last| Some(last.position));
            self.page.extend(rows.into_iter().map(|row| row.decision.id));
        }
        Ok(self.page.front().copied())
    }
}

/// People's decisions about a job, in the order they were taken.
///
/// # Errors
/// If the store is away, or what it has cannot be understood.
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

/// Reads the newest attempt: from its saved job if that fits, else from its whole history.
///
/// # Errors
/// If the store is away, or what it has cannot be understood.
pub async fn running(
    store: &dyn Store,
    job: JobId,
    timeline: &Timeline,
    attempts: &[AttemptRow],
    snapshot: Option<StateRow>,
) -> Result<Running, store::Error> {
    let Some(newest) = attempts.last() else {
        return Err(inconsistent("attempts", job, "there is no attempt"));
    };
    let parts = lineage(attempts, newest.attempt);
    let Some((last, history)) = parts.split_last() else {
        return Err(inconsistent("attempts", job, "the newest attempt has no steps of its own"));
    };
    let mut ledger = Ledger::new(store, job, timeline.last_spec().spec().groups.len());
    if let Some(state) = snapshot.filter(|state| state.attempt == newest.attempt)
        && let Some(heart) = restore(timeline, newest, job, &state)
    {
        let mut running = Running::new(heart, state.next_seq);
        read_part(&mut ledger, *last, &mut running).await?;
        return Ok(running);
    }
    let first = parts[0];
    let mut heart = Job::new(timeline.clone(), first.attempt, first.start).with_ranks(first.ranks);
    heart.expect(&parts[1..]);
    let mut running = Running::new(heart, 0);
    for (part, next) in history.iter().zip(&parts[1..]) {
        running.next_seq = 0;
        read_part(&mut ledger, *part, &mut running).await?;
        let decisions = running.heart.begin_attempt(next.attempt, next.start);
        running.unrecorded.extend(ledger.unrecorded(decisions).await?);
    }
    running.next_seq = 0;
    read_part(&mut ledger, *last, &mut running).await?;
    Ok(running)
}

fn restore(timeline: &Timeline, newest: &AttemptRow, job: JobId, state: &StateRow) -> Option<Job> {
    let heart = match serde_json::from_str::<Saved>(&state.state) {
        Ok(snapshot) => Job::from_saved(timeline, newest.attempt, newest.reporting_ranks, snapshot),
        Err(problem) => {
            warn!(job.uid = %job, %problem, "The snapshot of job {job} cannot be read, reading its telemetry: {problem}");
            None
        }
    };
    heart.filter(|heart| heart.attempt() == newest.attempt)
}

/// Feeds the telemetry of `part` from `running.next_seq` on.
async fn read_part(ledger: &mut Ledger<'_>, part: Part, running: &mut Running) -> Result<(), store::Error> {
    let job = ledger.job;
    loop {
        let chunks = ledger.store.telemetry(job, part.attempt, running.next_seq, PAGE).await?;
        let Some(last) = chunks.last() else { return Ok(()) };
        running.next_seq = last.seq + 1;
        let mut decisions = Vec::new();
        for chunk in chunks {
            if chunk.rank >= running.heart.ranks() {
                let problem = format!("rank {} of a job with {} ranks", chunk.rank, running.heart.ranks());
                return Err(inconsistent("telemetry", job, &problem));
            }
            let rank = chunk.rank;
            running.unsaved += chunk.samples.len() as u64;
            // The bound on open steps was kept when they were reported.
            if let Ok(taken) = running.heart.take(rank, within(part, chunk), usize::MAX) {
                decisions.extend(taken.decisions);
            }
        }
        running.unrecorded.extend(ledger.unrecorded(decisions).await?);
    }
}

/// The samples of a chunk that belong to a part.
fn within(part: Part, chunk: Chunk) -> Report {
    let mut samples = chunk.samples;
    samples.retain(|sample| (part.start..part.end).contains(&sample.step));
    Report { samples, through_step: chunk.through_step.map(|step| step.min(part.end - 1)) }
}

fn inconsistent(table: &'static str, job: JobId, problem: &str) -> store::Error {
    store::Error::inconsistent(table, job.to_string(), problem)
}

impl From<store::Error> for Error {
    fn from(error: store::Error) -> Self {
        match error {
            store::Error::Unavailable(cause) | store::Error::OutcomeUnknown(cause) => Self::StoreUnavailable(cause),
            store::Error::Busy(cause) => Self::StoreBusy(cause),
            store::Error::Deposed { .. } | store::Error::LostTail { .. } => Self::Deposed,
            other => Self::Store(Cause::new(other)),
        }
    }
}
