//! What a plateau controller counts: every reported value, or the mean over each epoch of training.
//!
//! Trainers of other libraries step a plateau scheduler once an epoch, mostly with the epoch's mean loss. A service gets
//! the loss of each step, so it must take that mean itself, or it counts steps where the user's patience means epochs.

use serde::{Deserialize, Serialize};

use lrs_model::{number::exact, schedule::Unit, violation::Violations};

/// The name of the parameter.
pub(crate) const UNIT: &str = "unit";

/// How a controller counts, for one job.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Counting {
    /// `None`: every value counts.
    steps_per_epoch: Option<u64>,
}

/// The part of an epoch that a controller has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct EpochState {
    /// The number of the epoch of the values below.
    epoch: u64,
    /// The values that have not been counted yet.
    values: u64,
    /// Those of them that are finite.
    finite: u64,
    /// The sum of the finite ones.
    sum: f64,
}

impl Counting {
    /// Checks `unit`, which is steps if it is not written.
    pub(crate) fn try_new(unit: Option<Unit>, steps_per_epoch: Option<u64>, v: &mut Violations) -> Self {
        match unit {
            None | Some(Unit::Step) => Self { steps_per_epoch: None },
            Some(Unit::Epoch) => {
                if steps_per_epoch.is_none() {
                    v.add(UNIT, "needs the job's `steps_per_epoch` to count epochs");
                }
                Self { steps_per_epoch }
            }
            Some(Unit::Sample | Unit::Token) => {
                v.refuse(UNIT, "a unit of samples or tokens", "UNIT_STEP, for every reported value, or UNIT_EPOCH");
                Self { steps_per_epoch: None }
            }
        }
    }

    /// Whether the values of a step count together, as part of an epoch.
    pub(crate) fn is_by_epoch(self) -> bool {
        self.steps_per_epoch.is_some()
    }

    /// The value to be judged at `step`, if there is one: the last reported of `values`, or the mean over an epoch at
    /// its end.
    ///
    /// An epoch ends with the record of its last step or, if that never comes, with the first record after it. A value
    /// that is not finite is left out of the mean; the mean of an epoch without a finite value is NaN.
    pub(crate) fn next(self, state: &mut EpochState, step: u64, values: impl IntoIterator<Item = f64>) -> Option<f64> {
        let Some(steps_per_epoch) = self.steps_per_epoch else { return values.into_iter().last() };
        let epoch = step / steps_per_epoch;
        let before = (state.values > 0 && state.epoch != epoch).then(|| state.take());
        for value in values {
            state.epoch = epoch;
            state.values += 1;
            if value.is_finite() {
                state.finite += 1;
                state.sum += value;
            }
        }
        let is_last = (step + 1).is_multiple_of(steps_per_epoch);
        // One mean a step: if the epoch before has just ended too, this one ends with the next record.
        before.or_else(|| (is_last && state.values > 0).then(|| state.take()))
    }
}

impl EpochState {
    /// The mean, with everything counted.
    fn take(&mut self) -> f64 {
        let Self { finite, sum, .. } = std::mem::take(self);
        if finite > 0 { sum / exact(finite) } else { f64::NAN }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const THREE: Counting = Counting { steps_per_epoch: Some(3) };

    /// The means, with the steps at which they are judged.
    fn means(counting: Counting, values: &[(u64, Option<f64>)]) -> Vec<(u64, f64)> {
        let mut state = EpochState::default();
        let judged = values.iter().filter_map(|&(step, value)| Some((step, counting.next(&mut state, step, value)?)));
        judged.collect()
    }

    #[test]
    fn an_epoch_counts_once_at_its_last_step() {
        let values: Vec<_> = [1.0, 2.0, 6.0, 4.0, 4.0, 1.0, 9.0].into_iter().map(Some).collect();
        let values: Vec<_> = (0..).zip(values).collect();
        assert_eq!(means(THREE, &values), [(2, 3.0), (5, 3.0)]);
        assert_eq!(means(Counting { steps_per_epoch: None }, &values).len(), 7);
    }

    #[test]
    fn several_values_of_an_epoch_s_last_step_count_together() {
        let mut state = EpochState::default();
        assert_eq!(THREE.next(&mut state, 1, [4.0]), None);
        assert_eq!(THREE.next(&mut state, 2, [1.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(THREE.next(&mut state, 3, []), None);
    }

    #[test]
    fn an_epoch_whose_last_step_has_no_record_ends_with_the_next_one() {
        assert_eq!(means(THREE, &[(1, Some(1.0)), (2, None), (3, None), (4, Some(5.0))]), [(2, 1.0)]);
        assert_eq!(
            means(THREE, &[(1, Some(1.0)), (5, Some(5.0)), (8, Some(7.0)), (9, None)]),
            [(5, 1.0), (8, 5.0), (9, 7.0)]
        );
    }

    #[test]
    fn one_value_that_is_not_finite_is_missing_and_an_epoch_of_them_is_nan() {
        let values = [(0, Some(f64::NAN)), (1, Some(4.0)), (2, Some(f64::INFINITY)), (5, Some(f64::NAN))];
        let means = means(THREE, &values);
        assert_eq!(means[0], (2, 4.0));
        assert!(means[1].0 == 5 && means[1].1.is_nan());
    }
}
