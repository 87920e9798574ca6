//! Decides whether a value is better than the best so far, and explains a move of the rates.

use crate::{params::not_negative, words::Move};
use lrs_model::{
    controller::{Mode, ThresholdMode},
    violation::Violations,
};

/// The criterion for a better value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Judge {
    pub(super) mode: Mode,
    pub(super) threshold: f64,
    pub(super) threshold_mode: ThresholdMode,
}

impl Judge {
    /// The infinity that every value improves on.
    pub(super) fn worst(self) -> f64 {
        match self.mode {
            Mode::Min => f64::INFINITY,
            Mode::Max => f64::NEG_INFINITY,
        }
    }

    /// The operations are in PyTorch's order, because another order would decide differently at a tie. A NaN is never
    /// better.
    pub(super) fn is_better(self, value: f64, best: f64) -> bool {
        match (self.mode, self.threshold_mode) {
            (Mode::Min, ThresholdMode::Rel) => value < best * (1.0 - self.threshold),
            (Mode::Min, ThresholdMode::Abs) => value < best - self.threshold,
            (Mode::Max, ThresholdMode::Rel) => value > best * (self.threshold + 1.0),
            (Mode::Max, ThresholdMode::Abs) => value > best + self.threshold,
        }
    }

    /// What is wrong where even the `best` value itself would be better than the best: a relative threshold and a
    /// negative value.
    pub(super) fn misjudges(self, metric: &str, best: f64) -> String {
        if best.is_finite() && self.is_better(best, best) { misjudged(metric) } else { String::new() }
    }
}

/// What to say of a relative threshold on `metric`, which has been negative.
pub(super) fn misjudged(metric: &str) -> String {
    format!(
        "{metric} is below 0, where a relative threshold takes a value that is no better for an improvement, so the rate \
         is not cut: use an absolute threshold"
    )
}

/// `values` for `groups` groups: an empty list takes the default for each, and a single value holds for all.
pub(super) fn per_group(field: &str, values: &[f64], default: f64, groups: usize, v: &mut Violations) -> Vec<f64> {
    for (i, &value) in values.iter().enumerate() {
        not_negative(&format!("{field}[{i}]"), value, v);
    }
    let each = match values {
        [] => vec![default; groups],
        [for_all] => vec![*for_all; groups],
        each => each.to_vec(),
    };
    if each.len() != groups {
        let found = each.len();
        v.add(field, format!("{found} values are not allowed: must be none, one, or one for each of {groups} groups"));
    }
    each
}

/// The move that lowers the rates after `bad` observations in a row that did not improve on `best`.
pub(super) fn explain(
    metric: &str,
    best: f64,
    bad: u64,
    patience: u64,
    base_lrs: Vec<f64>,
    evidence: &[(&str, f64)],
) -> Move {
    let on = if best.is_finite() { format!(" on {best}") } else { String::new() };
    let plural = if bad == 1 { "" } else { "s" };
    let reason = format!("{metric} did not improve{on} for {bad} observation{plural} in a row (patience {patience})");
    let evidence = evidence.iter().map(|(name, x)| ((*name).to_owned(), *x)).collect();
    Move { base_lrs, reason, evidence, ..Move::default() }
}
