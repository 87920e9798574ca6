//! One length in words: a number and a unit.

use lrs_model::spec::Spec;

use crate::JobSpec;

/// What a job says about its units.
#[derive(Clone, Copy, Debug, Default)]
pub struct Scale {
    pub(super) steps_per_epoch: Option<f64>,
    pub(super) total_steps: Option<f64>,
    pub(super) tokens_per_step: Option<f64>,
}

impl Scale {
    /// Any numbers at all, to see whether a text is a length.
    pub const ANY: Self = Self { steps_per_epoch: Some(1.0), total_steps: Some(1.0), tokens_per_step: Some(1.0) };

    /// What `spec` says.
    #[must_use]
    pub fn of(spec: &JobSpec) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "exact up to 2^53, where steps end")]
        let known = |count: Option<i64>| count.filter(|count| *count > 0).map(|count| count as f64);
        let steps_per_epoch = known(spec.steps_per_epoch);
        let of_epochs = spec.target_epochs.zip(steps_per_epoch).map(|(epochs, each)| (epochs * each).round());
        let total_steps = of_epochs.or_else(|| known(spec.total_steps));
        Self { steps_per_epoch, total_steps, tokens_per_step: known(spec.tokens_per_step) }
    }
}

impl From<&Spec> for Scale {
    fn from(spec: &Spec) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "exact up to 2^53, where steps end")]
        let known = |count: Option<u64>| count.map(|count| count as f64);
        Self {
            steps_per_epoch: known(spec.steps_per_epoch),
            total_steps: known(spec.total_steps),
            tokens_per_step: known(spec.tokens_per_step),
        }
    }
}

/// Whole numbers are exact up to here, and steps end here.
const MAX_STEPS: f64 = 9_007_199_254_740_991.0;

/// The number of steps that `text` says, rounded to a whole one; Composer's names of the units are read too.
///
/// # Errors
/// If it is no length, or the job does not say what it needs.
pub fn steps(text: &str, scale: Scale) -> Result<u64, String> {
    let not_a_length = || {
        format!("{text:?} is not a length: must be a number of steps, or in words such as 2000step, 90ep, 5% or 3e9tok")
    };
    let (number, unit) = split(text.trim()).ok_or_else(not_a_length)?;
    let needs = |field: &str| format!("{text:?} needs the job's `{field}`, which its spec does not say");
    let exact = match unit.to_lowercase().as_str() {
        "step" | "steps" | "ba" | "batch" | "batches" => number,
        "ep" | "epoch" | "epochs" => number * scale.steps_per_epoch.ok_or_else(|| needs("steps_per_epoch"))?,
        "%" => number / 100.0 * scale.total_steps.ok_or_else(|| needs("total_steps"))?,
        "dur" => number * scale.total_steps.ok_or_else(|| needs("total_steps"))?,
        "tok" | "token" | "tokens" => number / scale.tokens_per_step.ok_or_else(|| needs("tokens_per_step"))?,
        _ => return Err(not_a_length()),
    };
    if !(0.0..=MAX_STEPS).contains(&exact.round()) {
        return Err(format!("{text:?} is not allowed: must be from 0 to 2^53 - 1 steps"));
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole, and from 0 to 2^53 - 1")]
    let steps = exact.round() as u64;
    Ok(steps)
}

/// The finite number at the beginning, as long as it can be, and the unit after it.
fn split(text: &str) -> Option<(f64, &str)> {
    let ends = text.char_indices().map(|(i, _)| i).rev();
    ends.filter(|end| *end > 0).find_map(|end| {
        let (number, unit) = text.split_at(end);
        let number: f64 = number.trim_end().parse().ok()?;
        number.is_finite().then_some((number, unit.trim_start()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCALE: Scale =
        Scale { steps_per_epoch: Some(100.0), total_steps: Some(9000.0), tokens_per_step: Some(524_288.0) };

    #[test]
    fn every_unit_has_its_words() {
        for (word, expected) in [
            ("2000step", 2000),
            ("1 step", 1),
            ("500ba", 500),
            ("1e3steps", 1000),
            ("90ep", 9000),
            ("0.5 EP", 50),
            ("1e1epochs", 1000),
            ("5%", 450),
            ("0.05dur", 450),
            ("100 %", 9000),
            ("3e9tok", 5722),
            ("0ep", 0),
        ] {
            assert_eq!(steps(word, SCALE), Ok(expected), "{word}");
        }
    }

    #[test]
    fn what_is_no_length_is_refused() {
        for word in ["", "ep", "%", "90", "90parsecs", "9 0ep", "-1ep", "1e300ep", "five%", "nanep", "90eep"] {
            assert!(steps(word, SCALE).is_err(), "{word}");
        }
    }
}
