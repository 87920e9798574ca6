//! What a comparison says, and no more than that.

use super::measure::{Difference, MeasureFigures};
use lrs_model::number::for_people;

/// The most that chance may do to what counts as evidence.
const SIGNIFICANCE: f64 = 0.05;
/// With fewer pairs no pattern of signs is rarer than that.
const MIN_PAIRS: usize = 6;

/// What a measure says about the arms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// No pair has a value on both sides.
    NothingToCompare,
    /// One pair, which is an example and no evidence.
    OnePair,
    /// The interval covers zero.
    NoEvidence,
    /// The interval leaves zero out, but flipped signs would do as well more often than once in 20.
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
}

/// The verdict in words.
pub(super) fn sentence(figures: &MeasureFigures) -> String {
    let Some(difference) = &figures.difference else { return nothing_to_compare(figures) };
    let count = difference.pairs;
    let seeds = format!("{count} seeds");
    let arm = if (difference.mean < 0.0) == figures.lower_is_better { "better" } else { "worse" };
    match figures.verdict {
        Verdict::NothingToCompare => nothing_to_compare(figures),
        Verdict::OnePair => format!(
            "one seed is an example and no evidence: {} scheduled, {} baseline",
            for_people(difference.scheduled_mean),
            for_people(difference.baseline_mean)
        ),
        Verdict::NoEvidence => format!("no evidence of a difference with {seeds}: the interval covers zero"),
        Verdict::Hint => {
            let p = for_people(difference.p_value.unwrap_or(1.0));
            let more = if count < MIN_PAIRS { format!("; it takes at least {MIN_PAIRS} seeds") } else { String::new() };
            format!(
                "a hint that the scheduled arm is {arm}, no evidence: the interval leaves zero out, but with {seeds} chance alone \
                 does as much (sign-flip p = {p}){more}"
            )
        }
        Verdict::Better | Verdict::Worse => {
            let (low, high) =
                difference.interval.map_or((f64::NAN, f64::NAN), |interval| (interval.low, interval.high));
            let unit = if figures.unit.is_empty() { String::new() } else { format!(" {}", figures.unit) };
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

fn nothing_to_compare(figures: &MeasureFigures) -> String {
    match (figures.better, figures.worse) {
        (0, 0) => "nothing to compare: no seed has a value in either arm".to_owned(),
        (better, worse) => format!(
            "no difference can be taken, as no seed has a value in both arms: the scheduled arm alone has one with {better}, the \
             baseline alone with {worse}"
        ),
    }
}
