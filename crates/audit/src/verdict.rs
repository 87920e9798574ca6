//! How strong the evidence of a comparison is, and that in words.

use super::difference::Difference;
use lrs_model::number::for_people;

/// The greatest p-value that counts as evidence.
const SIGNIFICANCE: f64 = 0.05;
/// With fewer pairs, no sign-flip p-value is below [`SIGNIFICANCE`].
const MIN_PAIRS: usize = 6;

/// What a measure shows about the arms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// No pair has a value on both sides.
    NothingToCompare,
    /// There is one pair: an example, not evidence.
    OnePair,
    /// The interval covers zero.
    NoEvidence,
    /// The interval does not cover zero, but the sign-flip test does not reject chance at 5%.
    Hint,
    /// The scheduled arm is better.
    Better,
    /// The scheduled arm is worse.
    Worse,
}

impl Verdict {
    pub(super) fn of(difference: Option<&Difference>, lower_is_better: bool) -> Self {
        let Some(difference) = difference else { return Self::NothingToCompare };
        let (Some(interval), Some(p_value)) = (difference.interval, difference.p_value) else { return Self::OnePair };
        if interval.covers_zero() {
            Self::NoEvidence
        } else if p_value > SIGNIFICANCE {
            Self::Hint
        } else if (difference.mean < 0.0) == lower_is_better {
            Self::Better
        } else {
            Self::Worse
        }
    }
    /// The verdict on `difference` in words.
    pub(super) fn sentence(self, difference: &Difference, lower_is_better: bool, unit: &str) -> String {
        let count = difference.pairs;
        let seeds = format!("{count} seeds");
        let arm = if (difference.mean < 0.0) == lower_is_better { "better" } else { "worse" };
        match self {
            Self::NothingToCompare | Self::OnePair => format!(
                "one seed is an example and no evidence: {} scheduled, {} baseline",
                for_people(difference.scheduled_mean),
                for_people(difference.baseline_mean)
            ),
            Self::NoEvidence => format!("no evidence of a difference with {seeds}: the interval covers zero"),
            Self::Hint => {
                let p = for_people(difference.p_value.unwrap_or(1.0));
                let more =
                    if count < MIN_PAIRS { format!("; it takes at least {MIN_PAIRS} seeds") } else { String::new() };
                format!(
                    "a hint that the scheduled arm is {arm}, no evidence: the interval leaves zero out, but with {seeds} chance alone \
                     does as much (sign-flip p = {p}){more}"
                )
            }
            Self::Better | Self::Worse => {
                let (low, high) =
                    difference.interval.map_or((f64::NAN, f64::NAN), |interval| (interval.low, interval.high));
                let unit = if unit.is_empty() { String::new() } else { format!(" {unit}") };
                format!(
                    "evidence that the scheduled arm is {arm} with {seeds}: by {}{unit} on average (95% interval of the difference {} to {}, \
                     sign-flip p = {})",
                    for_people(difference.mean.abs()),
                    for_people(low),
                    for_people(high),
                    for_people(difference.p_value.unwrap_or(f64::NAN)),
                )
            }
        }
    }
}
