//! Waits between tries: each failure makes the next wait longer, up to a limit.

use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};

/// Waits that double from the first to the longest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The wait after the first failure.
    pub first: Duration,
    /// The longest wait.
    pub longest: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { first: Duration::from_millis(50), longest: Duration::from_secs(2) }
    }
}

impl Backoff {
    /// For repeating a database call that somebody waits for.
    pub const DATABASE: Self = Self { first: Duration::from_millis(20), longest: Duration::from_secs(1) };

    /// The waits of a single caller.
    #[must_use]
    pub fn regular(self) -> Waits {
        Waits(doubling(self.first, self.longest).build())
    }

    /// The waits of one of many callers. Each wait is random within the upper half of its range, so that the callers do
    /// not all come at once.
    #[must_use]
    pub fn scattered(self) -> Waits {
        // The jitter adds up to the same time again.
        Waits(doubling(self.first / 2, self.longest / 2).with_jitter().build())
    }
}

fn doubling(first: Duration, longest: Duration) -> ExponentialBuilder {
    ExponentialBuilder::new().with_min_delay(first).with_max_delay(longest).without_max_times()
}

/// The waits after consecutive failures, without end.
#[derive(Debug)]
pub struct Waits(ExponentialBackoff);

impl Waits {
    /// Waits after a failure. Cancel safe.
    pub async fn sleep(&mut self) {
        if let Some(wait) = self.0.next() {
            tokio::time::sleep(wait).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    async fn measured(mut waits: Waits, count: usize) -> Vec<Duration> {
        let mut measured = Vec::new();
        for _ in 0..count {
            let begun = Instant::now();
            waits.sleep().await;
            measured.push(begun.elapsed());
        }
        measured
    }

    #[tokio::test(start_paused = true)]
    async fn waits_double_up_to_the_longest_and_never_end() {
        let backoff = Backoff { first: Duration::from_millis(10), longest: Duration::from_millis(65) };
        let waits: Vec<u128> = measured(backoff.regular(), 5).await.iter().map(Duration::as_millis).collect();
        assert_eq!(waits, [10, 20, 40, 65, 65]);
        assert_eq!(measured(backoff.regular(), 1000).await.pop(), Some(backoff.longest));
    }

    #[tokio::test(start_paused = true)]
    async fn jitter_takes_away_at_most_half() {
        let backoff = Backoff { first: Duration::from_millis(100), longest: Duration::from_millis(650) };
        let mut distinct = std::collections::HashSet::new();
        for _ in 0..100 {
            let waits: Vec<u128> = measured(backoff.scattered(), 5).await.iter().map(Duration::as_millis).collect();
            for (wait, full) in waits.iter().zip([100, 200, 400, 650, 650]) {
                // A timer may be a millisecond late.
                assert!((full / 2..=full + 1).contains(wait), "{waits:?}");
            }
            distinct.insert(waits);
        }
        assert!(distinct.len() > 10);
    }
}
