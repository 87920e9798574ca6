//! Whether a metric that a controller needs comes at all.

use serde::{Deserialize, Serialize};

/// How many steps have gone by before a metric was first reported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Sighting {
    seen: bool,
    steps_without: u64,
}

impl Sighting {
    /// Takes note of one step.
    pub(super) fn note(&mut self, is_there: bool) {
        self.seen |= is_there;
        if !self.seen {
            self.steps_without = self.steps_without.saturating_add(1);
        }
    }

    /// Whether `window` steps have gone by and it has never been there. Metrics may be reported now and then only.
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
