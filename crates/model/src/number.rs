//! Numbers: in JSON, as text for people, and whole numbers as `f64`.
//!
//! JSON has no NaN and no infinities, so they are written as the strings `"NaN"`, `"Infinity"` and `"-Infinity"`. A
//! field of type `f64` gets this form with `#[serde(with = "crate::number")]`; [`map`] does the same for the values of
//! a map.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Text {
    Finite(f64),
    Other(String),
}

impl From<f64> for Text {
    fn from(value: f64) -> Self {
        if value.is_finite() {
            Self::Finite(value)
        } else if value.is_nan() {
            Self::Other("NaN".to_owned())
        } else if value > 0.0 {
            Self::Other("Infinity".to_owned())
        } else {
            Self::Other("-Infinity".to_owned())
        }
    }
}

impl TryFrom<Text> for f64 {
    type Error = String;

    fn try_from(text: Text) -> Result<Self, String> {
        match text {
            Text::Finite(value) => Ok(value),
            Text::Other(text) => match text.as_str() {
                "NaN" => Ok(f64::NAN),
                "Infinity" => Ok(f64::INFINITY),
                "-Infinity" => Ok(f64::NEG_INFINITY),
                other => Err(format!("{other:?} is not a number")),
            },
        }
    }
}

/// Writes a number.
///
/// # Errors
/// Those of the serializer.
pub fn serialize<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    Text::from(*value).serialize(serializer)
}

/// Reads a number.
///
/// # Errors
/// If the input is not a number.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Text::deserialize(deserializer)?.try_into().map_err(D::Error::custom)
}

/// Reads and writes a number that may be missing.
pub mod option {
    use super::{Deserialize as _, Deserializer, Serialize as _, Serializer, Text};

    /// Writes the number, or null.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(value: &Option<f64>, serializer: S) -> Result<S::Ok, S::Error> {
        value.map(Text::from).serialize(serializer)
    }

    /// Reads the number, or null.
    ///
    /// # Errors
    /// If the input is neither a number nor null.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
        let text = Option::<Text>::deserialize(deserializer)?;
        text.map(|text| text.try_into().map_err(serde::de::Error::custom)).transpose()
    }
}

/// Reads and writes a list of numbers.
pub mod list {
    use super::{Deserialize as _, Deserializer, Serializer, Text};

    /// Writes the list.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(list: &[f64], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(list.iter().map(|value| Text::from(*value)))
    }

    /// Reads the list.
    ///
    /// # Errors
    /// If an element is not a number.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<f64>, D::Error> {
        let list = Vec::<Text>::deserialize(deserializer)?;
        list.into_iter().map(|text| text.try_into().map_err(serde::de::Error::custom)).collect()
    }
}

/// Reads and writes a list of pairs of name and number, as an object.
pub mod named {
    use std::{collections::BTreeMap, sync::Arc};

    use super::{Deserialize, Deserializer, Serialize, Serializer, Text};

    /// The number of a name, or its numbers.
    #[derive(Serialize, Deserialize)]
    #[serde(untagged)]
    enum Numbers {
        One(Text),
        Many(Vec<Text>),
    }

    /// Writes the pairs, which are by rising name, as an object. The numbers of a name that repeats become a list.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(pairs: &[(Arc<str>, f64)], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(pairs.chunk_by(|(a, _), (b, _)| a == b).map(|pairs| {
            let numbers = match pairs {
                [(_, number)] => Numbers::One(Text::from(*number)),
                many => Numbers::Many(many.iter().map(|(_, number)| Text::from(*number)).collect()),
            };
            (&*pairs[0].0, numbers)
        }))
    }

    /// Reads an object into pairs by rising name.
    ///
    /// # Errors
    /// If a value is not a number.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<(Arc<str>, f64)>, D::Error> {
        let mut pairs = Vec::new();
        for (name, numbers) in BTreeMap::<String, Numbers>::deserialize(deserializer)? {
            let name: Arc<str> = name.into();
            let texts = match numbers {
                Numbers::One(text) => vec![text],
                Numbers::Many(texts) => texts,
            };
            for text in texts {
                pairs.push((name.clone(), text.try_into().map_err(serde::de::Error::custom)?));
            }
        }
        Ok(pairs)
    }
}

/// Reads and writes a map from names to numbers.
pub mod map {
    use std::collections::BTreeMap;

    use super::{Deserialize as _, Deserializer, Serializer, Text};

    /// Writes the map.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(map: &BTreeMap<String, f64>, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(map.iter().map(|(name, value)| (name, Text::from(*value))))
    }

    /// Reads the map.
    ///
    /// # Errors
    /// If a value is not a number.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, f64>, D::Error> {
        let map = BTreeMap::<String, Text>::deserialize(deserializer)?;
        map.into_iter().map(|(name, text)| Ok((name, text.try_into().map_err(serde::de::Error::custom)?))).collect()
    }
}

/// A whole number, as [`exact`] takes it.
pub trait Whole: Copy {
    /// The nearest `f64`.
    fn nearest(self) -> f64;
}

macro_rules! whole {
    ($($type:ty)+) => {
        $(impl Whole for $type {
            #[inline]
            #[allow(clippy::cast_precision_loss, reason = "the one place for it; exact up to 2^53")]
            fn nearest(self) -> f64 {
                self as f64
            }
        })+
    };
}

whole!(u64 usize i64);

/// A step, a count or another whole number as an `f64`: exact up to 2^53, and the nearest `f64` above that.
#[inline]
pub fn exact(whole: impl Whole) -> f64 {
    whole.nearest()
}

/// A number as text for people, with six significant digits.
#[must_use]
pub fn for_people(value: f64) -> String {
    rounded(value, 6)
}

/// A number as text for people, with `digits` significant digits, at least one.
#[must_use]
pub fn rounded(value: f64, digits: usize) -> String {
    let rounded: f64 = format!("{value:.*e}", digits.saturating_sub(1)).parse().unwrap_or(value);
    if rounded == 0.0 || !rounded.is_finite() || (1e-4..1e7).contains(&rounded.abs()) {
        rounded.to_string()
    } else {
        format!("{rounded:e}")
    }
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};

    #[derive(Serialize, Deserialize)]
    struct Holder(#[serde(with = "super")] f64);

    #[test]
    fn every_number_survives_json() {
        for value in [0.1 + 0.2, -0.0, f64::MAX, 5e-324, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let text = serde_json::to_string(&Holder(value)).unwrap();
            assert_eq!(serde_json::from_str::<Holder>(&text).unwrap().0.to_bits(), value.to_bits(), "{text}");
        }
    }

    #[test]
    fn whole_numbers_are_exact_up_to_the_largest_step() {
        assert_eq!(super::exact(crate::MAX_STEP).to_bits(), 9_007_199_254_740_991.0_f64.to_bits());
        assert_eq!(super::exact(-3_i64).to_bits(), (-3.0_f64).to_bits());
        assert_eq!(super::exact(u64::MAX).to_bits(), 18_446_744_073_709_551_616.0_f64.to_bits());
    }

    #[test]
    fn a_number_is_rounded_for_people() {
        for (value, text) in [
            (0.1, "0.1"),
            (0.097_552_825_814_757_69, "0.0975528"),
            (0.0, "0"),
            (1e-5, "1e-5"),
            (123_456_789.0, "1.23457e8"),
            (f64::NAN, "NaN"),
            (f64::NEG_INFINITY, "-inf"),
        ] {
            assert_eq!(super::for_people(value), text);
        }
    }
}
