//! Notices a metric that a controller needs but that is never reported.

use serde::{Deserialize, Serialize};

/// Counts the steps before a metric is first reported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Sighting {
    seen: bool,
    steps_without: u64,
}

impl Sighting {
    /// Notes a step, with or without the metric.
    pub(super) fn note(&mut self, is_there: bool) {
        self.seen |= is_there;
        if !self.seen {
            self.steps_without = self.steps_without.saturating_add(1);
        }
    }

    /// Whether `window` steps have passed and the metric was never reported. A metric need not be reported at every
    /// step.
    pub(super) fn is_missing(self, window: u64) -> bool {
        !self.seen && self.steps_without >= window
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_is_missing_after_a_window_without_it_until_it_comes() {
        let mut sighting = Sighting::default();
        for _ in 0..3 {
            assert!(!sighting.is_missing(3));
            sighting.note(false);
        }
        assert!(sighting.is_missing(3));
        sighting.note(true);
        sighting.note(false);
        assert!(!sighting.is_missing(3));
    }
}
