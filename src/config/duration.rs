//! Lengths of time as people write them: `10s`, `2ms`, `1h 30m`, `90d`; a day has 24 hours.

use std::{str::FromStr, time::Duration};

use jiff::{SignedDuration, Span, SpanRelativeTo};
use serde::{Deserialize, Deserializer, de::Error as _};

/// The longest length that is allowed: a million days. Longer lengths could not be shown in hours.
const LONGEST: Duration = Duration::from_hours(24_000_000);

/// A length of time with its unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Length(pub Duration);

impl FromStr for Length {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let span = text.parse::<Span>().ok();
        let length = span.and_then(|span| span.to_duration(SpanRelativeTo::days_are_24_hours()).ok());
        let length = length.and_then(|length| Duration::try_from(length).ok()).filter(|length| *length <= LONGEST);
        length
            .map(Self)
            .ok_or_else(|| format!("{text:?} is not allowed: must be a length of time, such as 10s, 2ms, 1h or 30d"))
    }
}

impl<'de> Deserialize<'de> for Length {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// As [`Length`] is written.
pub(crate) fn show(length: &Duration) -> String {
    SignedDuration::try_from(*length).map_or_else(|_| format!("{length:?}"), |length| format!("{length:#}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_has_a_unit_and_is_not_negative() {
        assert_eq!("2ms".parse(), Ok(Length(Duration::from_millis(2))));
        assert_eq!("1h 30m".parse(), Ok(Length(Duration::from_mins(90))));
        assert_eq!("2w 1d".parse(), Ok(Length(Duration::from_hours(15 * 24))));
        for bad in ["10", "-1s", "soon", "", "1mo", "1y"] {
            assert!(bad.parse::<Length>().unwrap_err().contains("must be a length of time"), "{bad}");
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
