//! Lengths of time as people write them: `10s`, `2ms`, `1h 30m`, `1.5h`, `90d`; a day has 24 hours.

use std::{str::FromStr, time::Duration};

use jiff::{SignedDuration, Span, SpanRelativeTo};

use lrs_model::typed::{self, refused};

/// The longest length that is allowed: a million days. Longer lengths could not be shown in hours.
const LONGEST: Duration = Duration::from_hours(24_000_000);
const EXAMPLES: &str = "such as 500ms, 90s, 5m, 1.5h or 30d";

/// A length of time with its unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Length(pub Duration);

impl FromStr for Length {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let length = read(text.trim()).and_then(|length| Duration::try_from(length).ok());
        length.filter(|length| *length <= LONGEST).map(Self).ok_or_else(|| refused(text, allowed(text.trim())))
    }
}

fn read(text: &str) -> Option<SignedDuration> {
    if text == "0" {
        return Some(SignedDuration::ZERO);
    }
    let span: Option<Span> = text.parse().ok();
    let length = span.and_then(|span| span.to_duration(SpanRelativeTo::days_are_24_hours()).ok());
    length.or_else(|| days(text))
}

/// Parts of days and weeks: `1.5d`.
fn days(text: &str) -> Option<SignedDuration> {
    let (number, unit) = parts(text);
    let days = match unit {
        "d" | "day" | "days" => 1.0,
        "w" | "week" | "weeks" => 7.0,
        _ => return None,
    };
    SignedDuration::try_from_secs_f64(typed::number(number).ok()? * days * 86_400.0).ok()
}

/// What is allowed in place of a text that is no length.
fn allowed(text: &str) -> String {
    let (number, unit) = parts(text);
    let is_number = |number| typed::number(number).is_ok_and(|number| number >= 0.0);
    if text.starts_with('-') && (typed::number(number).is_ok() || read(text).is_some()) {
        "a length of time of at least 0".to_owned()
    } else if unit.is_empty() && is_number(number) {
        format!(
            "a length of time with its unit: write {number}s for seconds, or {number}ms, {number}m, {number}h, {number}d"
        )
    } else if unit == "M" && is_number(number) {
        format!("a length of time: write {number}m for minutes, or days such as 30d for months")
    } else if ["mo", "month", "months", "y", "year", "years"].contains(&unit) && is_number(number) {
        "a length of time in days, such as 30d or 365d: not all months and years are of one length".to_owned()
    } else if read(text).is_some() {
        "a length of time of at most 1000000d".to_owned()
    } else if read(&text.to_lowercase()).is_some() {
        format!("a length of time with its unit in lower case: write {}", text.to_lowercase())
    } else {
        format!("a length of time, {EXAMPLES}")
    }
}

/// A number and the unit after it.
fn parts(text: &str) -> (&str, &str) {
    let end = text.find(char::is_alphabetic).unwrap_or(text.len());
    (text[..end].trim(), text[end..].trim())
}

/// As [`Length`] is written.
pub(crate) fn show(length: &Duration) -> String {
    SignedDuration::try_from(*length).map_or_else(|_| format!("{length:?}"), |length| format!("{length:#}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_means_the_same_length_is_read_the_same() {
        for (lengths, milliseconds) in [
            (&["2ms", "0.002s", " 2 ms\n"][..], 2),
            (&["90s", "1m 30s", "1m30s", "1.5m", "90 seconds", "PT90S", "0.025h"], 90_000),
            (&["1h 30m", "1.5h", "90m", "1 hour 30 minutes", "90min"], 5_400_000),
            (&["2w 1d", "15d", "360h", "15 days"], 15 * 86_400_000),
            (&["1.5d", "36h"], 36 * 3_600_000),
            (&["0", "0s", "0ms", "0d"], 0),
        ] {
            for text in lengths {
                assert_eq!(text.parse(), Ok(Length(Duration::from_millis(milliseconds))), "{text:?}");
            }
        }
    }

    #[test]
    fn a_refusal_says_what_to_write() {
        for (text, says) in [
            (
                "10",
                "\"10\" is not allowed: must be a length of time with its unit: write 10s for seconds, or 10ms, 10m",
            ),
            ("1.5", "write 1.5s for seconds"),
            ("-1s", "a length of time of at least 0"),
            ("-1", "a length of time of at least 0"),
            ("soon", "a length of time, such as 500ms, 90s, 5m, 1.5h or 30d"),
            ("", "a length of time, such as"),
            ("1mo", "in days, such as 30d"),
            ("1y", "in days, such as 30d"),
            ("5M", "write 5m for minutes"),
            ("5S", "write 5s"),
            ("5 parsecs", "a length of time, such as"),
            ("10000000d", "at most 1000000d"),
        ] {
            let problem = text.parse::<Length>().unwrap_err();
            assert!(problem.contains("must be a length of time") && problem.contains(says), "{problem}");
        }
    }

    #[test]
    fn a_length_is_shown_as_it_is_read() {
        for text in ["20s", "2ms", "1h"] {
            let Length(length) = text.parse().unwrap();
            assert_eq!(show(&length).parse(), Ok(Length(length)), "{}", show(&length));
        }
    }
}
