//! How long to wait before the next try: longer each time, and never together with everyone else.

use std::time::Duration;

/// Exponential waits between a first and a longest one.
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
    /// The wait after so many failures in a row, somewhere in the upper half of its range: `luck` is in `[0, 1]`.
    #[must_use]
    pub fn wait(&self, failures: u32, luck: f64) -> Duration {
        let doublings = failures.saturating_sub(1).min(31);
        let full = self.first.saturating_mul(1_u32 << doublings).min(self.longest);
        full.mul_f64(0.5 + 0.5 * luck.clamp(0.0, 1.0))
    }

    /// Waits after so many failures in a row.
    pub async fn sleep(&self, failures: u32) {
        tokio::time::sleep(self.wait(failures, rand::random())).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest() {
        let backoff = Backoff { first: Duration::from_millis(10), longest: Duration::from_millis(65) };
        let waits: Vec<u128> = (1..=5).map(|failures| backoff.wait(failures, 1.0).as_millis()).collect();
        assert_eq!(waits, [10, 20, 40, 65, 65]);
        assert_eq!(backoff.wait(u32::MAX, 1.0), backoff.longest);
    }

    #[test]
    fn jitter_takes_away_at_most_half() {
        let backoff = Backoff { first: Duration::from_millis(10), longest: Duration::from_secs(1) };
        assert_eq!(backoff.wait(1, 0.0), Duration::from_millis(5));
        assert_eq!(backoff.wait(1, 0.5), Duration::from_micros(7500));
    }
}
