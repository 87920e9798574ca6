//! Whether callers are refused because others use up all there is. Then who keeps the server waiting has less time.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How long a refusal counts.
const LASTS: Duration = Duration::from_secs(5);
/// How long a caller may keep the server waiting while others are refused, or while the process is about to end.
const PATIENCE: Duration = Duration::from_secs(2);

/// Notes refusals. All parts of a server share it: what is used up at one of its limits is given back at the others.
#[derive(Clone, Debug)]
pub struct Pressure {
    refused: Arc<Mutex<Option<Instant>>>,
    drain: CancellationToken,
}

impl Pressure {
    /// No pressure, until something is refused or `drain` is cancelled.
    #[must_use]
    pub fn new(drain: CancellationToken) -> Self {
        Self { refused: Arc::default(), drain }
    }

    /// Notes that something was refused, or has to wait, because there is no room for it.
    pub fn note(&self) {
        *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// The time that a caller has who usually has `usual`.
    pub(super) fn patience(&self, usual: Duration) -> Duration {
        let refused = *self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        let is_high = self.is_draining() || refused.is_some_and(|at| at.elapsed() < LASTS);
        if is_high { usual.min(PATIENCE) } else { usual }
    }

    /// Whether the process is about to end.
    pub(super) fn is_draining(&self) -> bool {
        self.drain.is_cancelled()
    }

    /// Waits until the process is about to end.
    pub(super) async fn drained(&self) {
        self.drain.cancelled().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_refusal_shortens_the_time_of_those_who_keep_the_server_waiting() {
        let pressure = Pressure::new(CancellationToken::new());
        let usual = Duration::from_secs(30);
        assert_eq!(pressure.patience(usual), usual);
        pressure.note();
        assert_eq!(pressure.patience(usual), PATIENCE);
        assert_eq!(pressure.patience(Duration::from_secs(1)), Duration::from_secs(1));
        tokio::time::advance(LASTS).await;
        assert_eq!(pressure.patience(usual), usual);
        pressure.drain.cancel();
        assert_eq!(pressure.patience(usual), PATIENCE);
    }
}
