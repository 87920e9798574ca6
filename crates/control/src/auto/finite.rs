//! Losses that are not finite: missing data, unless they go on and on after an update that may have caused them.
//!
//! A bad sample makes a loss NaN, and mixed precision leaves updates out by design: neither says anything about the
//! rate. Weights that an update has ruined give no finite loss any more. So a run of losses that are not finite counts
//! against the rate only if it is long, and if an update was made at or after the last finite loss: weights that gave a
//! finite loss and have not changed since are not to blame.

use serde::{Deserialize, Serialize};

/// So many losses in a row that are not finite are no accident. Of 1000 steps whose losses are NaN at random, one in
/// five, some such row has a probability of 1 in 10,000.
const PERSISTENT: u64 = 10;

/// What is remembered of the losses that were not finite.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FiniteState {
    /// Whether any loss was finite.
    has_been: bool,
    /// The losses in a row that were not finite, and the step of the first of them.
    in_a_row: u64,
    since: u64,
    /// Whether an update was made at the last finite loss or after it.
    is_updated: bool,
}

/// What a loss says by being finite or not.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Seen {
    /// A finite loss.
    Loss(f64),
    /// No loss to go by.
    Missing,
    /// No loss has been finite since this step, and an update may be to blame. Seen once in each such row of losses of
    /// a certain length.
    Lost { since: u64 },
    /// No loss has been finite since this step, and no update is to blame. Seen once.
    NeverFinite { since: u64 },
}

impl FiniteState {
    /// Takes in the loss of a step, and whether its update was left out.
    pub(super) fn observe(&mut self, step: u64, loss: f64, is_skipped: bool) -> Seen {
        if loss.is_finite() {
            *self = Self { has_been: true, in_a_row: 0, since: 0, is_updated: !is_skipped };
            return Seen::Loss(loss);
        }
        if self.in_a_row == 0 {
            self.since = step;
        }
        self.in_a_row += 1;
        self.is_updated |= !is_skipped;
        match (self.has_been && self.is_updated, self.in_a_row) {
            (true, length) if length.is_multiple_of(PERSISTENT) => Seen::Lost { since: self.since },
            (false, PERSISTENT) => Seen::NeverFinite { since: self.since },
            _ => Seen::Missing,
        }
    }

    /// The step since which no loss has been finite, if that is no accident.
    pub(super) fn lost_since(&self) -> Option<u64> {
        (self.in_a_row >= PERSISTENT).then_some(self.since)
    }

    /// The losses to come are of another state.
    pub(super) fn begin_again(&mut self) {
        self.in_a_row = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(losses: impl IntoIterator<Item = (f64, bool)>) -> Vec<(u64, Seen)> {
        let mut state = FiniteState::default();
        let seen = (0..).zip(losses).map(|(step, (loss, is_skipped))| (step, state.observe(step, loss, is_skipped)));
        seen.filter(|(_, seen)| !matches!(seen, Seen::Loss(_) | Seen::Missing)).collect()
    }

    #[test]
    fn weights_that_an_update_has_ruined_are_lost_and_a_bad_sample_is_not() {
        let ruined = (0..40).map(|step| (if step < 5 { 1.0 } else { f64::NAN }, false));
        let lost = Seen::Lost { since: 5 };
        assert_eq!(seen(ruined), [(14, lost), (24, lost), (34, lost)]);
        // The trainer leaves out each update whose loss is NaN, and so the one before is to blame.
        let guarded = (0..20).map(|step| if step < 5 { (1.0, false) } else { (f64::INFINITY, true) });
        assert_eq!(seen(guarded), [(14, lost)]);
        let samples = (0..1000).map(|step| (if step % 10 < 9 { f64::NAN } else { 1.0 }, false));
        assert_eq!(seen(samples), []);
    }

    #[test]
    fn weights_that_have_not_changed_since_a_finite_loss_are_not_to_blame() {
        let skipped = (0..100).map(|step| if step < 5 { (1.0, step == 4) } else { (f64::NAN, true) });
        assert_eq!(seen(skipped), [(14, Seen::NeverFinite { since: 5 })]);
        assert_eq!(seen([(f64::NAN, false); 100]), [(9, Seen::NeverFinite { since: 0 })]);
    }
}
