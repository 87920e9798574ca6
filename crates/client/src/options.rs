//! The settings of a trainer.

use std::time::Duration;

use lrs_runtime::backoff::Backoff;

/// The settings of a trainer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The reporting rank.
    pub rank: u32,
    /// The longest that [`Trainer::directive`](super::Trainer::directive) waits for a step's final rates.
    pub deadline: Duration,
    /// The number of steps that a plan reaches ahead, at least 1.
    pub plan_steps: u16,
    /// The most samples that may wait to become durable; [`Trainer::report`](super::Trainer::report) refuses more.
    pub max_unacknowledged: usize,
    /// The longest that [`Trainer::connect`](super::Trainer::connect) tries to reach the service.
    pub start_timeout: Duration,
    /// The longest that [`Trainer::finish`](super::Trainer::finish) waits for everything to become durable.
    pub finish_timeout: Duration,
    /// The longest that a single call may take.
    pub call_timeout: Duration,
    /// The waits between attempts to reach the service.
    pub backoff: Backoff,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            rank: 0,
            deadline: Duration::from_millis(50),
            plan_steps: 4096,
            max_unacknowledged: 100_000,
            start_timeout: Duration::from_secs(30),
            finish_timeout: Duration::from_secs(30),
            call_timeout: Duration::from_secs(5),
            backoff: Backoff::default(),
        }
    }
}
