//! Counts the jobs by state and health now and then, for `/metrics`.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep};

use lrs_engine::{Census, Engine};
use lrs_stats::Backend;

/// Time between two counts.
const PERIOD: Duration = Duration::from_secs(5);
/// After a count the chore rests for so many times as long as the count took, so that it has a small share of the
/// database at most.
const REST: u32 = 20;
const LONGEST_REST: Duration = Duration::from_mins(5);

/// Counts the jobs until it is dropped.
pub(super) async fn count(engine: Engine, statistics: Arc<dyn Backend>) {
    let mut census = Census::new(statistics);
    loop {
        if engine.ready().is_ok() {
            let begun = Instant::now();
            match engine.count_jobs(&mut census).await {
                Ok(()) => sleep((begun.elapsed() * REST).clamp(PERIOD, LONGEST_REST)).await,
                Err(problem) => {
                    tracing::debug!(%problem, "The jobs could not be counted, which is tried again");
                    sleep(PERIOD).await;
                }
            }
        } else {
            sleep(Duration::from_millis(100)).await;
        }
    }
}
