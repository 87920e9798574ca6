//! YAML, of which JSON is a part, as plain values.
//!
//! A name is a text and stands once; numbers that JSON does not have become texts, as in canonical JSON; tags of
//! anything but the plain types are refused, as nothing would come of them.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{self, DeserializeOwned, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Value};
use serde_saphyr::{Error, NonFiniteFloatPolicy, Options, Tagged, UserMessageFormatter};

/// How many values may come from aliases.
const MAX_FROM_ALIASES: usize = 100_000;

/// The documents of a text.
///
/// # Errors
/// If it is no such YAML.
pub(super) fn documents(text: &str) -> Result<Vec<Value>, Error> {
    let documents: Vec<Plain> = serde_saphyr::from_multiple_with_options(text, options())?;
    Ok(documents.into_iter().map(|Plain(value)| value).collect())
}

/// The only document of a text; nothing is null.
///
/// # Errors
/// If it is no such YAML.
pub(super) fn document(text: &str) -> Result<Value, Error> {
    serde_saphyr::from_str_with_options(text, options()).map(|Plain(value)| value)
}

/// What is read of the documents of a text.
///
/// # Errors
/// If the text cannot be read so.
pub(super) fn read_all<T: DeserializeOwned>(text: &str) -> Result<Vec<T>, Error> {
    serde_saphyr::from_multiple_with_options(text, options())
}

fn options() -> Options {
    serde_saphyr::options! {
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: MAX_FROM_ALIASES },
        non_finite_float_policy: NonFiniteFloatPolicy::PassThrough,
    }
}

/// What is wrong with a text that is no YAML, or not the YAML that is needed: in words about the text.
pub(super) fn syntax(error: &Error) -> String {
    let said = match innermost(error) {
        Error::DuplicateMappingKey { key, .. } => {
            format!("{:?} is there already: each name may be there once", key.as_deref().unwrap_or("a name"))
        }
        Error::Budget { .. } | Error::AliasExpansionLimitExceeded { .. } | Error::AliasReplayLimitExceeded { .. } => {
            "the text is too large once its aliases are written out, or nested too deeply".to_owned()
        }
        other => {
            let message = other.render_with_formatter(&UserMessageFormatter);
            message.lines().next().unwrap_or_default().to_owned()
        }
    };
    // Whatever the reader calls them, these are about what stands before a colon.
    if said.contains("string scalar") { "a name must be a text, such as `total_steps:`".to_owned() } else { said }
}

/// The error itself, without what is around it.
fn innermost(error: &Error) -> &Error {
    match error.without_snippet() {
        Error::AliasError { error, .. } => innermost(error),
        other => other,
    }
}

struct Plain(Value);

impl<'de> Deserialize<'de> for Plain {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        const PLAIN: [&str; 7] = ["str", "int", "float", "bool", "null", "map", "seq"];
        let Tagged(Untagged(value), tag) = Tagged::deserialize(deserializer)?;
        let foreign = tag.filter(|tag| {
            let plain = tag.strip_prefix("tag:yaml.org,2002:").or_else(|| tag.strip_prefix("!!"));
            !plain.is_some_and(|tag| PLAIN.contains(&tag)) && tag != "!"
        });
        match foreign {
            Some(tag) => Err(de::Error::custom(format!("the tag {tag} is not allowed here: leave it out"))),
            None => Ok(Self(value)),
        }
    }
}

/// A value without its own tag.
struct Untagged(Value);

impl<'de> Deserialize<'de> for Untagged {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Values).map(Self)
    }
}

struct Values;

impl<'de> Visitor<'de> for Values {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("any value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut fields = Map::new();
        while let Some((name, Plain(value))) = map.next_entry::<String, Plain>()? {
            fields.insert(name, value);
        }
        Ok(fields.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut elements = Vec::new();
        while let Some(Plain(element)) = list.next_element()? {
            elements.push(element);
        }
        Ok(elements.into())
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Value, E> {
        Ok(flag.into())
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_i128<E>(self, number: i128) -> Result<Value, E> {
        Ok(number.to_string().into())
    }

    fn visit_u128<E>(self, number: u128) -> Result<Value, E> {
        Ok(number.to_string().into())
    }

    fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
        Ok(match number {
            _ if number.is_finite() => number.into(),
            _ if number.is_nan() => "NaN".into(),
            _ if number > 0.0 => "Infinity".into(),
            _ => "-Infinity".into(),
        })
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(text.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use serde_json::json;

    use super::*;

    #[test]
    fn every_kind_of_value_is_read() {
        let text = "{a: [1, -2, 1.5, 1e-3, true, ~, x, 1_0], 2026: '7', c: .nan, d: -.inf, e: !!str 5}";
        let expected = json!({"a": [1, -2, 1.5, 1e-3, true, null, "x", 10], "2026": "7", "c": "NaN", "d": "-Infinity",
            "e": "5"});
        assert_eq!(document(text).unwrap(), expected);
        assert_eq!(documents("a: 1\n---\n{\"b\": [2]}\n").unwrap(), [json!({"a": 1}), json!({"b": [2]})]);
        assert_eq!(document("x: &a {b: 1}\ny: *a").unwrap(), json!({"x": {"b": 1}, "y": {"b": 1}}));
        assert_eq!(document("").unwrap(), Value::Null);
    }

    #[test]
    fn what_would_be_lost_or_is_no_yaml_is_refused_in_our_words() {
        for (text, says) in [
            ("a: !foo 1", "the tag !foo is not allowed here: leave it out"),
            ("!job {a: 1}", "the tag !job is not allowed here"),
            ("{? [a] : b}", "a name must be a text"),
            ("a: 1\na: 2", "\"a\" is there already"),
        ] {
            let problem = syntax(&document(text).unwrap_err());
            assert!(problem.contains(says), "{text}: {problem}");
        }
    }

    #[test]
    fn a_text_that_grows_without_bound_is_refused_soon() {
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for i in 1..12 {
            let before = vec![format!("*a{}", i - 1); 10].join(", ");
            writeln!(text, "a{i}: &a{i} [{before}]").unwrap();
        }
        let problem = syntax(&documents(&text).unwrap_err());
        assert!(problem.starts_with("the text is too large once its aliases are written out"), "{problem}");
    }
}
