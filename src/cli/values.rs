//! Values of flags, as people type them.

use std::{fmt::Display, ops::RangeInclusive};

use lrs_model::{
    MAX_STEP,
    typed::{self, bare},
};

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
    whole(least..=MAX_STEP.cast_signed())
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
