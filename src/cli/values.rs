//! Values of flags, as people type them.

use std::{fmt::Display, ops::RangeInclusive};

use lrs_model::{
    MAX_STEP,
    typed::{self, bare},
};
use lrs_proto::lengths::{self, Scale};

/// Reads a whole number in a range.
pub fn whole<T>(allowed: RangeInclusive<T>) -> impl Fn(&str) -> Result<T, String> + Clone + Send + Sync + 'static
where
    T: Copy + PartialOrd + Display + TryFrom<i128> + Send + Sync + 'static,
    i128: TryFrom<T>,
{
    move |text| typed::whole(text, allowed.clone())
}

/// Reads a step from `least` on.
pub fn step(least: i64) -> impl Fn(&str) -> Result<i64, String> + Clone + Send + Sync + 'static {
    move |text| {
        let in_words = || match lengths::steps(bare(text), Scale::ANY) {
            Ok(_) => "; a length in words is not read here",
            Err(_) => "",
        };
        typed::whole(text, least..=MAX_STEP.cast_signed()).map_err(|problem| format!("{problem}{}", in_words()))
    }
}

/// A length or a position in steps, or in words that name their unit, such as `90ep`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Length {
    text: String,
    least: u64,
}

impl Length {
    /// The number of steps, by what a job says about its units.
    ///
    /// # Errors
    /// If the job does not say what the words need, or the number is out of range.
    pub fn in_steps(&self, scale: Scale) -> Result<u64, String> {
        let Self { text, least } = self;
        if let Ok(steps) = typed::whole(text, *least..=MAX_STEP) {
            return Ok(steps);
        }
        let steps = lengths::steps(bare(text), scale)?;
        if steps < *least {
            Err(typed::refused(text, format_args!("at least {least} steps, and is {steps}")))
        } else {
            Ok(steps)
        }
    }
}

impl Display for Length {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.text)
    }
}

/// Reads a length of at least `least` steps.
pub fn length(least: u64) -> impl Fn(&str) -> Result<Length, String> + Clone + Send + Sync + 'static {
    move |text| match typed::whole(text, least..=MAX_STEP) {
        Err(problem) if lengths::steps(bare(text), Scale::ANY).is_err() => Err(problem),
        _ => Ok(Length { text: text.to_owned(), least }),
    }
}

/// Reads a number: a rate, a factor, a metric's value.
///
/// # Errors
/// If the text is none.
pub fn number(text: &str) -> Result<f64, String> {
    typed::number(text)
}

/// Reads a text that may come from the environment, in quotes.
///
/// # Errors
/// None.
pub fn text(text: &str) -> Result<String, String> {
    Ok(bare(text).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use lrs_proto::JobSpec;

    #[test]
    fn a_length_is_a_number_of_steps_or_is_measured_by_the_job() {
        let scale = Scale::of(&JobSpec { steps_per_epoch: Some(10), ..JobSpec::default() });
        let read = |text: &str| length(1)(text).and_then(|length| length.in_steps(scale));
        assert_eq!((read("5"), read("1_000"), read("5ep"), read("1e2")), (Ok(5), Ok(1000), Ok(50), Ok(100)));
        for (text, says) in
            [("0", "0"), ("many", "many"), ("0.001ep", "at least 1 steps, and is 0"), ("5%", "total_steps")]
        {
            let problem = read(text).unwrap_err();
            assert!(problem.contains(says), "{text}: {problem}");
        }
        let problem = step(0)("5ep").unwrap_err();
        assert!(problem.contains("a length in words is not read here"), "{problem}");
    }
}
