//! The difference of two arms over the seeds that both have.

use super::resample::{Interval, bootstrap, chance, sign_flip};
use lrs_stats::linear::{mean, variance};

/// The two values of a seed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MeasuredPair {
    /// The seed.
    pub seed: i64,
    /// The scheduled job's value, if it has one.
    pub scheduled: Option<f64>,
    /// The baseline job's.
    pub baseline: Option<f64>,
}

/// The difference of two arms, scheduled less baseline.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Difference {
    /// The number of pairs.
    pub pairs: usize,
    /// The mean of the scheduled arm.
    pub scheduled_mean: f64,
    /// The mean of the baseline.
    pub baseline_mean: f64,
    /// The mean of the differences.
    pub mean: f64,
    /// The mean difference relative to the baseline's mean; `None` if that is 0.
    pub relative: Option<f64>,
    /// The mean difference over the standard deviation of the differences (Cohen's d of pairs); `None` for one pair, or
    /// equal differences.
    pub effect_size: Option<f64>,
    /// The 95% interval of the mean: a percentile bootstrap over the pairs. `None` for one pair.
    pub interval: Option<Interval>,
    /// The share of sign flips whose mean lies at least as far from zero. `None` for one pair.
    pub p_value: Option<f64>,
}

impl Difference {
    /// The difference over `pairs`; `None` if no pair has a finite value on both sides. `text` seeds the resampling.
    pub(super) fn of(pairs: &[MeasuredPair], text: &str) -> Option<Self> {
        let finite = |value: Option<f64>| value.filter(|value| value.is_finite());
        let both: Vec<(f64, f64)> =
            pairs.iter().filter_map(|pair| Some((finite(pair.scheduled)?, finite(pair.baseline)?))).collect();
        if both.is_empty() {
            return None;
        }
        let (scheduled, baseline): (Vec<f64>, Vec<f64>) = both.iter().copied().unzip();
        let differences: Vec<f64> = both.iter().map(|(scheduled, baseline)| scheduled - baseline).collect();
        let (scheduled_mean, baseline_mean, mean) = (mean(&scheduled), mean(&baseline), mean(&differences));
        let deviation = variance(&differences, mean).sqrt();
        let mut chance = chance(text);
        let interval = bootstrap(&differences, &mut chance);
        Some(Self {
            pairs: both.len(),
            scheduled_mean,
            baseline_mean,
            mean,
            relative: (baseline_mean != 0.0).then(|| mean / baseline_mean.abs()),
            effect_size: (deviation > 0.0).then(|| mean / deviation),
            p_value: interval.and_then(|_| sign_flip(&differences, &mut chance)),
            interval,
        })
    }
}
