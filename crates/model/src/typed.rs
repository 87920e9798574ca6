//! What people type: numbers, sizes, and words of which one is chosen.
//!
//! Flags, variables, files and queries read their texts by these functions, so that what means the same is read the
//! same. A refusal says what was read and what to write instead.

use std::{
    fmt::{Debug, Display},
    ops::RangeInclusive,
};

/// Up to here a floating-point number says exactly which whole number is meant.
const LARGEST_EXACT: f64 = 9_007_199_254_740_992.0;

/// A text without what does not belong to it: spaces around it, the mark of a text's beginning (BOM), and a pair of
/// quotes, which some files of variables keep.
#[must_use]
pub fn bare(text: &str) -> &str {
    let text = text.trim_matches(|c: char| c.is_whitespace() || c == '\u{feff}');
    let unquoted = ['"', '\''].into_iter().find_map(|mark| text.strip_prefix(mark)?.strip_suffix(mark));
    unquoted.map_or(text, str::trim)
}

/// The refusal of a text, with what is allowed.
#[must_use]
pub fn refused(text: impl Debug, allowed: impl Display) -> String {
    format!("{text:?} is not allowed: must be {allowed}")
}

/// A whole number in a range: `1000`, `1_000` or `1e3`.
///
/// # Errors
/// If the text is another number, or none.
pub fn whole<T>(text: &str, allowed: RangeInclusive<T>) -> Result<T, String>
where
    T: Copy + PartialOrd + Display + TryFrom<i128>,
    i128: TryFrom<T>,
{
    let number = digits(text);
    let read = number.and_then(|number| T::try_from(number).ok()).filter(|number| allowed.contains(number));
    read.ok_or_else(|| {
        // Nobody can count as far as the end of a type.
        let is_open = i128::try_from(*allowed.end()).is_ok_and(|most| most >= i64::MAX.into());
        let range = if is_open {
            format!("of at least {}", allowed.start())
        } else {
            format!("from {} to {}", allowed.start(), allowed.end())
        };
        let example = if number.is_none() { ", such as 1000, 1_000 or 1e3" } else { "" };
        refused(text.trim(), format_args!("a whole number {range}{example}"))
    })
}

fn digits(text: &str) -> Option<i128> {
    let text = text.trim().replace('_', "");
    text.parse().ok().or_else(|| {
        let number: f64 = text.parse().ok()?;
        let is_exact = number.fract() == 0.0 && number.abs() <= LARGEST_EXACT;
        is_exact.then(|| format!("{number:.0}").parse().ok()).flatten()
    })
}

/// A finite number: `0.1`, `1e-3` or `1_000.5`.
///
/// # Errors
/// If the text is none.
pub fn number(text: &str) -> Result<f64, String> {
    let plain = text.trim().replace('_', "");
    let read = plain.parse().ok().filter(|number: &f64| number.is_finite());
    read.ok_or_else(|| {
        let share = plain.strip_suffix('%').and_then(|share| share.trim().parse::<f64>().ok());
        let example = match share.map(|share| share / 100.0).filter(|share| share.is_finite()) {
            Some(share) => format!("{share}"),
            None => "0.1 or 1e-3".to_owned(),
        };
        refused(text.trim(), format_args!("a number, such as {example}"))
    })
}

/// A number of bytes: `8388608`, `8MiB` or `8MB`.
///
/// # Errors
/// If the text is none. `8M` is none, because some mean `8MB` by it and some `8MiB`.
pub fn size(text: &str) -> Result<u64, String> {
    const UNITS: [(&str, u64); 10] = [
        ("b", 1),
        ("", 1),
        ("kib", 1 << 10),
        ("mib", 1 << 20),
        ("gib", 1 << 30),
        ("tib", 1 << 40),
        ("kb", 1_000),
        ("mb", 1_000_000),
        ("gb", 1_000_000_000),
        ("tb", 1_000_000_000_000),
    ];
    let text = text.trim();
    if let Ok(bytes) = whole(text, 0..=u64::MAX) {
        return Ok(bytes);
    }
    let (number, unit) = text.split_at(text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len()));
    let unit = unit.to_ascii_lowercase();
    let factor = UNITS.iter().find(|(name, _)| *name == unit).map(|(_, factor)| *factor);
    let bytes = factor.and_then(|factor| {
        let number = number.trim();
        match number.replace('_', "").parse::<u64>() {
            Ok(number) => number.checked_mul(factor),
            Err(_) => whole(&(self::number(number).ok()? * exact(factor)).to_string(), 0..=u64::MAX).ok(),
        }
    });
    bytes.ok_or_else(|| {
        let number = Some(number.trim()).filter(|number| self::number(number).is_ok());
        let number = number.filter(|number| !number.starts_with('-')).unwrap_or("8");
        let letter = match unit.as_str() {
            "k" | "g" | "t" => unit.to_ascii_uppercase(),
            _ => "M".to_owned(),
        };
        refused(text, format_args!("a number of bytes, such as 8388608, {number}{letter}iB or {number}{letter}B"))
    })
}

fn exact(factor: u64) -> f64 {
    crate::number::exact(factor)
}

/// A name or word in lower case with underscores: `baseLr`, `base-lr` and `BASE_LR` are `base_lr`.
#[must_use]
pub fn snake_case(name: &str) -> String {
    let mut snake = String::with_capacity(name.len());
    let mut after_lower = false;
    for letter in name.trim().chars() {
        if letter.is_uppercase() && after_lower {
            snake.push('_');
        }
        after_lower = letter.is_lowercase() || letter.is_ascii_digit();
        match letter {
            '-' | ' ' => snake.push('_'),
            other => snake.extend(other.to_lowercase()),
        }
    }
    snake
}

/// Which of `known` may have been meant, if any is near to what was written.
#[must_use]
pub fn nearest<'a>(written: &str, known: &[&'a str]) -> Option<&'a str> {
    let written = snake_case(written);
    let likeness = |name: &str| strsim::jaro_winkler(&written, &snake_case(name));
    let nearest = known.iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
    nearest.copied().filter(|name| likeness(name) > 0.75)
}

/// Which of `known` may have been meant, and all of them, in a sentence that follows a colon.
#[must_use]
pub fn choice(written: &str, known: &[&str]) -> String {
    let all = known.join(", ");
    match nearest(written, known) {
        Some(nearest) => format!("did you mean {nearest}? There are {all}"),
        None => format!("there are {all}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_means_the_same_number_is_read_the_same() {
        for text in ["1000", " 1000\n", "1_000", "1e3", "1000.0", "+1000"] {
            assert_eq!(whole(text, 1_i64..=2000), Ok(1000), "{text}");
        }
        assert_eq!(whole("18446744073709551615", 0..=u64::MAX), Ok(u64::MAX));
        for (text, value) in [("0.1", 0.1), ("1e-1", 0.1), (".1", 0.1), ("1_000.5", 1000.5), ("-2 ", -2.0)] {
            assert_eq!(number(text).map(f64::to_bits), Ok(f64::to_bits(value)), "{text}");
        }
        for (text, bytes) in [
            ("8388608", 8 << 20),
            ("8MiB", 8 << 20),
            ("8 mib", 8 << 20),
            ("1.5kB", 1500),
            ("1e6", 1_000_000),
            ("7B", 7),
        ] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in ["a b", " a b\n", "\"a b\"", "'a b'\r\n", "\u{feff}a b"] {
            assert_eq!(bare(text), "a b", "{text:?}");
        }
        assert_eq!((bare("\""), bare(""), bare("'a\"")), ("\"", "", "'a\""));
        for name in ["base_lr", "base-lr", "baseLr", "BASE_LR", "Base LR"] {
            assert_eq!(snake_case(name), "base_lr", "{name}");
        }
    }

    #[test]
    fn a_refusal_says_what_was_read_and_what_to_write() {
        for (problem, says) in [
            (
                whole("four", 1_u32..=9).unwrap_err(),
                "\"four\" is not allowed: must be a whole number from 1 to 9, such as",
            ),
            (whole("", 1_u32..=9).unwrap_err(), "\"\" is not allowed"),
            (whole("1.5", 1_u32..=9).unwrap_err(), "a whole number from 1 to 9"),
            (whole("-1", 0_u64..=u64::MAX).unwrap_err(), "\"-1\" is not allowed: must be a whole number of at least 0"),
            (whole("99999999999999999999999", 0_u32..=7).unwrap_err(), "a whole number from 0 to 7"),
            (whole("inf", 0_u32..=7).unwrap_err(), "a whole number from 0 to 7"),
            (number("fast").unwrap_err(), "\"fast\" is not allowed: must be a number, such as 0.1 or 1e-3"),
            (number("nan").unwrap_err(), "must be a number"),
            (number("1,5").unwrap_err(), "must be a number, such as 0.1"),
            (number("50%").unwrap_err(), "must be a number, such as 0.5"),
            (size("8M").unwrap_err(), "\"8M\" is not allowed: must be a number of bytes, such as 8388608, 8MiB or 8MB"),
            (size("2g").unwrap_err(), "2GiB or 2GB"),
            (size("-1").unwrap_err(), "8MiB or 8MB"),
            (size("1e300TiB").unwrap_err(), "a number of bytes"),
            (choice("statee", &["state", "arm"]), "did you mean state? There are state, arm"),
            (choice("colour", &["state", "arm"]), "there are state, arm"),
        ] {
            assert!(problem.contains(says), "{problem}");
        }
    }
}
