//! Removes the telemetry of ended jobs whose namespace's retention is over, and the records of who changed jobs that were
//! deleted long ago.
//!
//! Telemetry of a job that has not ended is never removed, as the job recovers from it. Decisions, attempts and the job
//! itself stay. Each transaction removes a bounded number of chunks. After it the task rests for as long as the
//! transaction took, so that ingest has the database for at least half the time.
//!
//! Somebody who sets the clock removes nothing early: a job counts as ended for as long as both the clock and the time
//! that has passed since the server's start allow. A server that starts with a wrong clock removes nothing for the first
//! hour, in which the clock is usually set right.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep};

use super::ticks::every;
use crate::config::Retention;
use lrs_model::job::Timestamp;
use lrs_runtime::{
    clock::{Clock, Steady},
    error::chain,
    metrics,
};
use lrs_store::{Error, ExpiredJob, ExpiryQuery, Namespaces, Store};

/// Chunks removed in one transaction.
const CHUNKS: u32 = 64;
/// Jobs looked up at once.
const JOBS: u32 = 100;
/// The longest time between two sweeps. Short retentions are swept more often.
const LONGEST_PERIOD: Duration = Duration::from_mins(10);
/// How long the record of who changed a job is kept after the job was deleted.
const CHANGES_KEPT_FOR: Duration = Duration::from_hours(365 * 24);
/// The rest between two transactions that remove such records.
const BREATH: Duration = Duration::from_millis(100);
const SHORTEST_PERIOD: Duration = Duration::from_secs(1);
/// How long after its start a server does not trust the clock that it started with, or for the retention, if that is
/// shorter.
const DISTRUST: Duration = Duration::from_hours(1);

/// Removes telemetry as `retention` says, until it is dropped, which is safe at any moment.
pub async fn keep(store: Arc<dyn Store>, clock: Arc<dyn Clock>, retention: Retention) {
    let rules = rules(retention);
    let shortest = rules.iter().map(|rule| rule.kept_for).min().unwrap_or(CHANGES_KEPT_FOR);
    let steady = Steady::begin(&*clock);
    let mut ticks = every((shortest / 10).clamp(SHORTEST_PERIOD, LONGEST_PERIOD));
    loop {
        ticks.tick().await;
        for rule in &rules {
            if steady.age(&*clock) < rule.kept_for.min(DISTRUST) {
                continue;
            }
            if let Err(failure) = sweep(&*store, &*clock, &steady, rule).await {
                metrics::removal_failed();
                let why = chain(&failure);
                tracing::warn!("Telemetry past its retention was not removed, and will be tried again: {why}");
            }
        }
        if steady.age(&*clock) >= DISTRUST
            && let Err(failure) = forget_changes(&*store, &*clock, &steady).await
        {
            tracing::debug!("Old records of deleted jobs were not removed: {}", chain(&failure));
        }
    }
}

/// Removes what is on record of jobs that were deleted a year ago. The job is gone, so nobody misses it if it fails: it
/// is tried again.
async fn forget_changes(store: &dyn Store, clock: &dyn Clock, steady: &Steady) -> Result<(), Error> {
    let deleted_before = before(clock, steady, CHANGES_KEPT_FOR);
    while store.remove_changes(deleted_before, JOBS).await? > 0 {
        sleep(BREATH).await;
    }
    Ok(())
}

/// The time before which something must have ended that is kept for so long, whoever set the clock.
fn before(clock: &dyn Clock, steady: &Steady, kept_for: Duration) -> Timestamp {
    let kept_for = i64::try_from(kept_for.as_micros()).unwrap_or(i64::MAX);
    Timestamp(steady.at_least(clock).0.saturating_sub(kept_for))
}

struct Rule {
    namespaces: Namespaces,
    kept_for: Duration,
}

fn rules(retention: Retention) -> Vec<Rule> {
    let named: Vec<String> = retention.namespaces.keys().cloned().collect();
    let others = retention.default.map(|kept_for| Rule { namespaces: Namespaces::AllBut(named), kept_for });
    let own = retention
        .namespaces
        .into_iter()
        .filter_map(|(name, term)| term.map(|kept_for| Rule { namespaces: Namespaces::Only(name), kept_for }));
    own.chain(others).collect()
}

/// Removes all telemetry that a rule no longer keeps.
async fn sweep(store: &dyn Store, clock: &dyn Clock, steady: &Steady, rule: &Rule) -> Result<(), Error> {
    loop {
        let ended_before = before(clock, steady, rule.kept_for);
        let query = ExpiryQuery { namespaces: rule.namespaces.clone(), ended_before, limit: JOBS };
        let expired = store.expired_jobs(&query).await?;
        if expired.is_empty() {
            return Ok(());
        }
        for job in expired {
            remove(store, clock.now(), &job).await?;
        }
    }
}

async fn remove(store: &dyn Store, now: Timestamp, job: &ExpiredJob) -> Result<(), Error> {
    let mut chunks = 0;
    loop {
        let started = Instant::now();
        let removal = store.remove_telemetry(job.job(), now, CHUNKS).await?;
        chunks += removal.chunks;
        metrics::chunks_removed(removal.chunks);
        if removal.is_complete {
            break;
        }
        sleep(started.elapsed()).await;
    }
    metrics::job_removed();
    let name = &job.name;
    tracing::info!(job.name = %name, chunks, "Removed the telemetry of {name}, which is past its retention: {chunks} chunks");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use lrs_runtime::clock::ManualClock;

    #[test]
    fn a_namespace_with_a_term_of_its_own_is_left_out_of_the_default() {
        let day = Duration::from_hours(24);
        let namespaces = [("a".to_owned(), Some(day)), ("b".to_owned(), None)].into();
        let rules = rules(Retention { default: Some(7 * day), namespaces });
        let said: Vec<_> = rules.into_iter().map(|rule| (rule.namespaces, rule.kept_for)).collect();
        let others = Namespaces::AllBut(vec!["a".to_owned(), "b".to_owned()]);
        assert_eq!(said, [(Namespaces::Only("a".to_owned()), day), (others, 7 * day)]);
    }

    /// Somebody who sets the clock, forward or back, removes nothing early and nothing for ever.
    #[test]
    fn what_is_over_is_judged_by_the_time_that_has_passed() {
        let (hour, kept_for) = (3_600_000_000, Duration::from_hours(10));
        let clock = ManualClock::at(Timestamp(100 * hour));
        let steady = Steady::begin(&clock);
        clock.advance(Duration::from_hours(2));
        assert_eq!(before(&clock, &steady, kept_for), Timestamp(92 * hour));
        clock.set(Timestamp(10_000 * hour));
        assert_eq!(before(&clock, &steady, kept_for), Timestamp(92 * hour));
        clock.set(Timestamp(50 * hour));
        assert_eq!(before(&clock, &steady, kept_for), Timestamp(40 * hour));
        clock.set(Timestamp(103 * hour));
        clock.advance(Duration::from_hours(20));
        assert_eq!(before(&clock, &steady, kept_for), Timestamp(112 * hour));
    }

    #[test]
    fn nothing_set_asks_for_nothing() {
        assert!(rules(Retention::default()).is_empty());
    }
}
