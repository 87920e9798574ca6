//! How many jobs there are by state and by health, for `/metrics`.
//!
//! The database counts the states. How a job in training fares is read from its last steps as the monitor does, but of
//! a bounded number of jobs each time, and kept until the job's turn comes again: nobody need look at the monitor.

use std::{collections::HashMap, sync::Arc};

use futures::{StreamExt as _, stream};

use crate::{
    api::{Error, JobView},
    entry::{Entry, Pulse},
    handle::{Engine, off_thread, off_told},
    health::{self, HealthState, Recent},
    meters,
    moment::Moment,
};
use lrs_model::{
    job::{Idle, State},
    name::JobId,
};
use lrs_runtime::metrics::families::{JOBS, JOBS_BY_HEALTH, JOBS_DIVERGED, JOBS_STALE, TELEMETRY_LAG_STEPS};
use lrs_stats::Backend;
use lrs_store::JobCount;

/// Jobs in training whose last steps are read in one count.
const READ_AT_MOST: usize = 500;
/// Jobs that are read at once.
const READ_AT_ONCE: usize = 4;
/// Jobs whose statistics are computed together.
const BATCH: usize = 128;

/// What was found when the jobs were counted last.
pub struct Census {
    statistics: Arc<dyn Backend>,
    counts: u64,
    training: HashMap<JobId, Known>,
}

/// A job in training.
struct Known {
    /// As it was when its last steps were read.
    pulse: Option<Pulse>,
    health: Option<HealthState>,
    /// In which count its last steps were read; 0 for never.
    read: u64,
    /// In which count it was seen.
    seen: u64,
}

/// What is known without reading anything.
#[derive(Default)]
struct Tally {
    /// Jobs in memory, by state.
    by_state: HashMap<State, u64>,
    by_health: HashMap<HealthState, u64>,
    lag_steps: u64,
    /// Jobs in training that have changed since they were read, the longest ago first.
    unread: Vec<(u64, Arc<Entry>, Pulse)>,
}

impl Census {
    /// A census that has counted nothing yet. `statistics` computes the jobs' health, in batches.
    #[must_use]
    pub fn new(statistics: Arc<dyn Backend>) -> Self {
        Self { statistics, counts: 0, training: HashMap::new() }
    }

    fn found(&mut self, job: JobId, pulse: Pulse, health: HealthState) {
        let Some(known) = self.training.get_mut(&job) else { return };
        if health == HealthState::Diverging && known.health != Some(HealthState::Diverging) {
            JOBS_DIVERGED.counter([]).increment(1);
        }
        (known.pulse, known.health, known.read) = (Some(pulse), Some(health), self.counts);
    }
}

impl Engine {
    /// Counts all jobs.
    ///
    /// # Errors
    /// If the store is away. What was shown before stays.
    pub async fn count_jobs(&self, census: &mut Census) -> Result<(), Error> {
        let moment = self.moment();
        let stored = self.counted(moment).await?;
        census.counts += 1;
        let mut tally = Tally::default();
        for entry in self.entries() {
            tally.add(census, entry, moment);
        }
        let counts = census.counts;
        census.training.retain(|_, known| known.seen == counts);

        tally.unread.sort_unstable_by_key(|(read, ..)| *read);
        tally.unread.truncate(READ_AT_MOST);
        let read = stream::iter(tally.unread).map(|(_, entry, pulse)| self.recent(entry, pulse));
        let mut batches = read.buffer_unordered(READ_AT_ONCE).chunks(BATCH);
        while let Some(batch) = batches.next().await {
            let batch: Vec<_> = batch.into_iter().flatten().collect();
            let statistics = Arc::clone(&census.statistics);
            let found = off_thread(move || {
                let jobs: Vec<(&JobView, &Recent)> = batch.iter().map(|(_, view, recent)| (view, recent)).collect();
                let healths = health::of(&jobs, statistics.as_ref());
                let found = batch
                    .iter()
                    .zip(healths)
                    .map(|((pulse, view, _), health)| (view.row.id, pulse.clone(), health.state));
                found.collect::<Vec<_>>()
            });
            for (job, pulse, health) in found.await? {
                census.found(job, pulse, health);
            }
        }

        let mut by_health = tally.by_health;
        for known in census.training.values() {
            *by_health.entry(known.health.unwrap_or(HealthState::Fine)).or_default() += 1;
        }
        // What is not in memory is not in training. The database learns a little late that a job is active, so those in
        // memory are taken to be the most active ones.
        let mut by_state: HashMap<State, u64> = HashMap::new();
        for JobCount { state, idle, count } in stored {
            *by_state.entry(state).or_default() += count;
            let in_memory = tally.by_state.entry(state).or_default();
            let elsewhere = count.saturating_sub(*in_memory);
            *in_memory = in_memory.saturating_sub(count);
            *by_health.entry(at_rest(state, idle)).or_default() += elsewhere;
        }
        for state in State::ALL {
            JOBS.gauge([meters::label(state)]).set(float(by_state.get(&state).copied().unwrap_or_default()));
        }
        for health in HealthState::ALL {
            JOBS_BY_HEALTH.gauge([health.as_str()]).set(float(by_health.get(&health).copied().unwrap_or_default()));
        }
        JOBS_STALE.gauge([]).set(float(by_health.get(&HealthState::Stale).copied().unwrap_or_default()));
        TELEMETRY_LAG_STEPS.gauge([]).set(float(tally.lag_steps));
        Ok(())
    }

    /// The last steps of a job; `None` if they cannot be read, which the next count tries again.
    async fn recent(&self, entry: Arc<Entry>, pulse: Pulse) -> Option<(Pulse, JobView, Recent)> {
        let view = entry.view(self.moment());
        let past = self.past(&view).await.ok()?;
        let told = off_told(&entry, &past);
        Some((pulse, view, past.recent(told)))
    }
}

impl Tally {
    fn add(&mut self, census: &mut Census, entry: Arc<Entry>, moment: Moment) {
        let (pulse, state) = (entry.pulse(moment), entry.row().state);
        *self.by_state.entry(state).or_default() += 1;
        let latest = entry.cell().as_ref().and_then(|cell| cell.latest());
        if latest.is_some() && state == State::Running {
            self.lag_steps = self.lag_steps.max(pulse.lag_steps());
        }
        let health = match state {
            _ if entry.check_sound().is_err() => HealthState::Failed,
            _ if pulse.idle() != Idle::Active => at_rest(state, pulse.idle()),
            State::Running if latest.is_none() => HealthState::Waiting,
            State::Running => {
                let new = || Known { pulse: None, health: None, read: 0, seen: 0 };
                let known = census.training.entry(entry.id).or_insert_with(new);
                known.seen = census.counts;
                if known.pulse.as_ref() != Some(&pulse) {
                    self.unread.push((known.read, entry, pulse));
                }
                return;
            }
            other => at_rest(other, Idle::Active),
        };
        *self.by_health.entry(health).or_default() += 1;
    }
}

/// The health of a job that does not train at the moment, as [`health`](crate::health) has it.
fn at_rest(state: State, idle: Idle) -> HealthState {
    match state {
        State::Failed => HealthState::Failed,
        State::Completed | State::Cancelled => HealthState::Ended,
        _ if idle == Idle::Abandoned => HealthState::Abandoned,
        State::Paused => HealthState::Paused,
        State::Running if idle == Idle::Stale => HealthState::Stale,
        State::Pending | State::Running => HealthState::Waiting,
    }
}

#[expect(clippy::cast_precision_loss, reason = "below 2^53 of anything")]
fn float(count: u64) -> f64 {
    count as f64
}
