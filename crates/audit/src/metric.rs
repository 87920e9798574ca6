//! The figures of one metric.

use std::collections::VecDeque;

use lrs_model::controller::Mode;
use lrs_stats::order::median;

/// The most metrics of a job in a report.
pub const MAX_METRICS: usize = 64;
/// The most values at the end that make up a metric's final value.
const FINAL_VALUES: usize = 256;
/// A metric's final value is taken over one in this many of its values.
const FINAL_SHARE: u64 = 20;

/// The figures of a metric.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricFigures {
    /// Its name.
    pub name: String,
    /// How many values it has.
    pub count: u64,
    /// How many of them are NaN or infinite.
    pub not_finite: u64,
    /// The last value.
    pub last: f64,
    /// The step of the last value.
    pub last_step: u64,
    /// The final value: the median of the last twentieth of the values, of at least 1 and at most 256; the last value
    /// if that is not finite.
    pub final_value: f64,
    /// The least finite value and its first step.
    pub min: Option<(f64, u64)>,
    /// The greatest finite value and its first step.
    pub max: Option<(f64, u64)>,
}

impl MetricFigures {
    /// The best value and its first step.
    #[must_use]
    pub fn best(&self, mode: Mode) -> Option<(f64, u64)> {
        match mode {
            Mode::Min => self.min,
            Mode::Max => self.max,
        }
    }
}

/// The figures so far.
#[derive(Clone, Debug, Default)]
pub(super) struct MetricTally {
    count: u64,
    not_finite: u64,
    last: Option<(u64, f64)>,
    newest: VecDeque<f64>,
    min: Option<(f64, u64)>,
    max: Option<(f64, u64)>,
}

impl MetricTally {
    pub(super) fn push(&mut self, step: u64, value: f64) {
        self.count += 1;
        self.last = Some((step, value));
        if !value.is_finite() {
            self.not_finite += 1;
            return;
        }
        if self.newest.len() == FINAL_VALUES {
            self.newest.pop_front();
        }
        self.newest.push_back(value);
        if self.min.is_none_or(|(min, _)| value < min) {
            self.min = Some((value, step));
        }
        if self.max.is_none_or(|(max, _)| value > max) {
            self.max = Some((value, step));
        }
    }

    /// `None` if there was no value.
    pub(super) fn figures(&self, name: &str) -> Option<MetricFigures> {
        let (last_step, last) = self.last?;
        let wanted = usize::try_from(self.count / FINAL_SHARE).unwrap_or(FINAL_VALUES).clamp(1, FINAL_VALUES);
        let newest: Vec<f64> = self.newest.iter().rev().take(wanted).copied().collect();
        Some(MetricFigures {
            name: name.to_owned(),
            count: self.count,
            not_finite: self.not_finite,
            last,
            last_step,
            final_value: if last.is_finite() { median(&newest) } else { last },
            min: self.min,
            max: self.max,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(values: impl IntoIterator<Item = f64>) -> MetricFigures {
        let mut tally = MetricTally::default();
        for (step, value) in (0..).zip(values) {
            tally.push(step, value);
        }
        tally.figures("m").unwrap()
    }

    #[test]
    fn the_final_value_is_the_median_of_the_last_twentieth() {
        let found = figures((0..60).map(|i| if i == 59 { 100.0 } else { f64::from(i) }));
        assert_eq!((found.last, found.final_value), (100.0, 58.0));
        assert_eq!(figures([3.0, 1.0]).final_value.to_bits(), 1.0_f64.to_bits());
        assert!((figures((0..100_000).map(f64::from)).final_value - 99_871.5).abs() < 1e-9);
    }

    #[test]
    fn a_run_that_ends_in_nan_ends_in_nan() {
        let found = figures([3.0, 1.0, 1.0, f64::NAN]);
        assert!(found.final_value.is_nan());
        assert_eq!((found.count, found.not_finite, found.min, found.max), (4, 1, Some((1.0, 1)), Some((3.0, 0))));
        assert_eq!((found.best(Mode::Min), found.best(Mode::Max)), (found.min, found.max));
    }

    #[test]
    fn a_metric_without_a_value_has_no_figures() {
        assert_eq!(MetricTally::default().figures("m"), None);
    }
}
