//! How much of the job is left where a form begins: the length of forms that are given none.

use super::check;
use lrs_model::{MAX_STEP, number::exact, violation::Violations};

/// The time from where a form begins to the end of the job; `None` where the job is open-ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Horizon(Option<f64>);

impl Horizon {
    /// One cycle: all the time that the body of a `repeat` has.
    pub(super) const CYCLE: Self = Self(Some(1.0));
    /// No known end.
    pub(super) const OPEN: Self = Self(None);

    /// At the beginning of a job of `total_steps`.
    pub(super) fn new(total_steps: Option<u64>) -> Self {
        Self(total_steps.map(|steps| exact(steps.min(MAX_STEP))))
    }

    /// For a form that begins `steps` later (earlier if negative).
    pub(super) fn later(self, steps: f64) -> Self {
        Self(self.0.map(|left| left - steps))
    }

    /// For a form whose clock counts `units` in `steps` steps.
    pub(super) fn paced(self, units: u64, steps: u64) -> Self {
        Self(self.0.map(|left| left * exact(units) / exact(steps)))
    }

    /// The length of a form: the one `given` in `field`, or else all that is left.
    ///
    /// At least `least`, which must not be 0. If there is no such length, adds a violation and answers `least`.
    pub(super) fn length(self, field: &str, given: Option<u64>, least: u64, v: &mut Violations) -> f64 {
        match (given, self.0) {
            (Some(given), _) => check::steps(field, given, least, v),
            (None, Some(left)) if left >= exact(least) => left,
            (None, Some(left)) => {
                v.add(
                    field,
                    format!(
                        "must be set: {} of total_steps is left here, and it takes at least {least}",
                        left.max(0.0)
                    ),
                );
                exact(least)
            }
            (None, None) => {
                v.add(field, "must be set where there is no total_steps to take it from");
                exact(least)
            }
        }
    }
}
