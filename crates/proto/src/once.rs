//! JSON in which every name is there once, and what is wrong with a text that is no JSON.

use std::{collections::HashSet, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{self, DeserializeSeed, MapAccess, SeqAccess, Visitor},
};
use serde_json::error::Category;

/// Any JSON in which no object has a name twice: of two values one would be lost without a word.
pub(crate) struct Once;

impl<'de> Deserialize<'de> for Once {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self.deserialize(deserializer)
    }
}

impl<'de> DeserializeSeed<'de> for Once {
    type Value = Self;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Once {
    type Value = Self;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("any value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self, A::Error> {
        let mut names = HashSet::new();
        while let Some(name) = map.next_key::<String>()? {
            map.next_value::<Self>()?;
            if names.contains(&name) {
                return Err(de::Error::custom(format!("{name:?} is there already: each name may be there once")));
            }
            names.insert(name);
        }
        Ok(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self, A::Error> {
        while list.next_element::<Self>()?.is_some() {}
        Ok(self)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_unit<E>(self) -> Result<Self, E> {
        Ok(self)
    }
}

/// What is wrong with a text that is no such JSON, and where.
pub(crate) fn in_words(problem: &serde_json::Error) -> serde_json::Error {
    let place = format!("line {}, column {}", problem.line(), problem.column());
    let said = problem.to_string();
    let said = said.rsplit_once(" at line ").map_or(said.as_str(), |(said, _)| said);
    let words = match problem.classify() {
        Category::Eof => format!("the JSON ends too early, at {place}: a bracket, a quote or a value is missing"),
        Category::Syntax => format!(
            "{place} is no JSON ({said}): write {{\"name\": value, …}}, with names and texts in double quotes and no \
             comma at the end"
        ),
        Category::Data | Category::Io => format!("{place}: {said}"),
    };
    de::Error::custom(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_json_is_said_with_its_place_and_what_to_write() {
        for (json, says) in [
            (r#"{"a": 1, "b": {"c": 1, "c": 2}}"#, "line 1, column 30: \"c\" is there already"),
            (r#"{"a": [1, 2"#, "the JSON ends too early, at line 1, column 11"),
            ("", "the JSON ends too early"),
            ("{\n a: 1}", "line 2, column 2 is no JSON (key must be a string): write {\"name\": value, …}"),
            (r#"{"a": 1,}"#, "no comma at the end"),
            (r#"{"a": NaN}"#, "is no JSON"),
            ("a: 1", "is no JSON"),
        ] {
            let problem = serde_json::from_str::<Once>(json).map(|Once| ()).unwrap_err();
            let words = in_words(&problem).to_string();
            assert!(words.contains(says), "{json}: {words}");
        }
        for json in [r#"{"a": {"b": 1}, "c": {"b": [1, -2, 0.5, null, true, "x"]}}"#, "1"] {
            assert!(serde_json::from_str::<Once>(json).is_ok(), "{json}");
        }
    }
}
