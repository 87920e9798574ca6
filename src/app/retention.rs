//! Removes the telemetry of ended jobs whose namespace's retention is over.
//!
//! Telemetry of a job that has not ended is never removed, as the job recovers from it. Decisions, attempts and the job
//! itself stay. Each transaction removes a bounded number of chunks. After it the task rests for as long as the
//! transaction took, so that ingest has the database for at least half the time.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep};

use super::ticks::every;
use crate::config::Retention;
use lrs_model::job::Timestamp;
use lrs_runtime::{clock::Clock, error::chain, metrics};
use lrs_store::{Error, ExpiredJob, ExpiryQuery, Namespaces, Store};

/// Chunks removed in one transaction.
const CHUNKS: u32 = 64;
/// Jobs looked up at once.
const JOBS: u32 = 100;
/// The longest time between two sweeps. Short retentions are swept more often.
const LONGEST_PERIOD: Duration = Duration::from_mins(10);
const SHORTEST_PERIOD: Duration = Duration::from_secs(1);

/// Removes telemetry as `retention` says, until it is dropped, which is safe at any moment.
pub async fn keep(store: Arc<dyn Store>, clock: Arc<dyn Clock>, retention: Retention) {
    let rules = rules(retention);
    let Some(shortest) = rules.iter().map(|rule| rule.kept_for).min() else { return };
    let mut ticks = every((shortest / 10).clamp(SHORTEST_PERIOD, LONGEST_PERIOD));
    loop {
        ticks.tick().await;
        for rule in &rules {
            if let Err(failure) = sweep(&*store, &*clock, rule).await {
                metrics::removal_failed();
                let why = chain(&failure);
                tracing::warn!("Telemetry past its retention was not removed, and will be tried again: {why}");
            }
        }
    }
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
async fn sweep(store: &dyn Store, clock: &dyn Clock, rule: &Rule) -> Result<(), Error> {
    loop {
        let kept_for = i64::try_from(rule.kept_for.as_micros()).unwrap_or(i64::MAX);
        let ended_before = Timestamp(clock.now().0.saturating_sub(kept_for));
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

    #[test]
    fn a_namespace_with_a_term_of_its_own_is_left_out_of_the_default() {
        let day = Duration::from_hours(24);
        let namespaces = [("a".to_owned(), Some(day)), ("b".to_owned(), None)].into();
        let rules = rules(Retention { default: Some(7 * day), namespaces });
        let said: Vec<_> = rules.into_iter().map(|rule| (rule.namespaces, rule.kept_for)).collect();
        let others = Namespaces::AllBut(vec!["a".to_owned(), "b".to_owned()]);
        assert_eq!(said, [(Namespaces::Only("a".to_owned()), day), (others, 7 * day)]);
    }

    #[test]
    fn nothing_set_asks_for_nothing() {
        assert!(rules(Retention::default()).is_empty());
    }
}
