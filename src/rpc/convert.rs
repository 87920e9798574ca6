//! Conversions between the wire and the model, a file for each noun: `from_proto` and `to_proto`.
//!
//! `from_proto` takes [`Violations`] and always returns a value: where the wire is wrong, it notes a violation and goes
//! on with the nearest allowed value, so that all errors in a request are found at once. The caller must not use the
//! result if a violation was noted. This module checks structure (required fields, whole numbers and their ranges,
//! known enum values, lengths); the engine checks meaning.

use std::{borrow::Cow, fmt::Display};

use lrs_model::{MAX_STEP, violation::Violations};

pub mod attempt;
pub mod change;
pub mod controller;
pub mod decision;
pub mod directive;
pub mod job;
mod plain;
pub mod report;
pub mod schedule;
pub mod spec;
pub mod telemetry;
pub mod time;

/// `value` if it lies in `min..=max`; otherwise the nearest number in that range, with a violation.
pub(crate) fn whole(violations: &mut Violations, field: impl Display, value: i64, min: u64, max: u64) -> u64 {
    match u64::try_from(value) {
        Ok(value) if (min..=max).contains(&value) => value,
        converted => {
            violations.refuse(field, value, format_args!("from {min} to {}", limit(max)));
            converted.map_or(min, |value| value.clamp(min, max))
        }
    }
}

/// The same for a field that may be unset.
pub(crate) fn optional_whole(
    violations: &mut Violations,
    field: impl Display,
    value: Option<i64>,
    min: u64,
    max: u64,
) -> Option<u64> {
    value.map(|value| whole(violations, field, value, min, max))
}

/// A step: from 0 to [`MAX_STEP`].
pub(crate) fn step(violations: &mut Violations, field: impl Display, value: i64) -> u64 {
    whole(violations, field, value, 0, MAX_STEP)
}

/// `text`, or its first `max` characters.
pub(crate) fn shortened(text: &str, max: usize) -> Cow<'_, str> {
    match text.char_indices().nth(max) {
        Some((end, _)) => format!("{}…", &text[..end]).into(),
        None => text.into(),
    }
}

/// Notes a violation if `text` has more than `max` characters.
pub(crate) fn at_most_chars(violations: &mut Violations, field: impl Display, text: &str, max: usize) {
    let count = text.chars().count();
    if count > max {
        violations.refuse(
            field,
            format_args!("a text of {count} characters"),
            format_args!("at most {max} characters"),
        );
    } else if text.contains('\0') {
        // PostgreSQL's texts cannot hold a NUL character.
        violations.refuse(field, "a text with a NUL character", "free of NUL characters");
    }
}

/// A number of the model on the wire. Numbers of the model fit into an `int64`; a larger number is cut to its maximum.
pub(crate) fn int64(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn limit(max: u64) -> String {
    if max == MAX_STEP { "2^53 - 1".to_owned() } else { max.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_out_of_range_is_refused_with_its_field_its_value_and_the_range() {
        let mut violations = Violations::new();
        assert_eq!(whole(&mut violations, "a", -1, 1, 10), 1);
        assert_eq!(whole(&mut violations, "b", 11, 1, 10), 10);
        assert_eq!(step(&mut violations, "c", 1 << 53), MAX_STEP);
        assert_eq!(step(&mut violations, "d", (1 << 53) - 1), MAX_STEP);
        let text = violations.to_string();
        assert_eq!(violations.len(), 3, "{text}");
        assert!(text.contains("a: -1 is not allowed: must be from 1 to 10"), "{text}");
        assert!(text.contains("c: 9007199254740992 is not allowed: must be from 0 to 2^53 - 1"), "{text}");
    }

    #[test]
    fn a_text_is_measured_in_characters() {
        let mut violations = Violations::new();
        at_most_chars(&mut violations, "a", "ÄÖÜ", 3);
        assert!(violations.is_empty());
        at_most_chars(&mut violations, "a", "ÄÖÜß", 3);
        assert!(violations.to_string().contains("a text of 4 characters"));
    }
}
