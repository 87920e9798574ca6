//! Calls of other libraries' schedulers, and how to read their arguments.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{typed, violation::Violations};

/// A library's name, the name of a scheduler in it, and the scheduler's keyword arguments. Not yet checked.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LibraryCall {
    /// The library, such as `torch`.
    pub library: String,
    /// The scheduler, such as `StepLR`.
    pub scheduler: String,
    /// The keyword arguments. Whole numbers are integers, whether they were written `3` or `3.0`.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub params: Map<String, Value>,
}

/// Reads the keyword arguments of one call. Every read names an argument that exists; [`finish`](Self::finish) refuses
/// all other arguments.
///
/// A wrong argument adds a violation, and reading goes on with an allowed value. The paths of violations start at the
/// arguments.
#[derive(Debug)]
pub struct Params<'a> {
    given: &'a Map<String, Value>,
    known: Vec<&'static str>,
    violations: &'a mut Violations,
}

/// The most entries in a list.
const MAX_LIST: usize = 4096;
/// Whole numbers are exact in `f64` up to here.
const MAX_WHOLE: f64 = 9_007_199_254_740_991.0;

impl<'a> Params<'a> {
    /// Starts to read `given`.
    pub fn new(given: &'a Map<String, Value>, violations: &'a mut Violations) -> Self {
        Self { given, known: Vec::new(), violations }
    }

    /// Refuses every argument that has not been read, and suggests the nearest argument that has.
    pub fn finish(self) {
        for name in self.given.keys().filter(|name| !self.known.contains(&name.as_str())) {
            self.violations.add(name, unknown("parameter", name, &self.known));
        }
    }

    /// Whether an argument is given and is not `null`.
    pub fn has(&mut self, name: &'static str) -> bool {
        self.value(name).is_some()
    }

    /// Whether an argument is given as a list.
    pub fn is_list(&mut self, name: &'static str) -> bool {
        self.value(name).is_some_and(Value::is_array)
    }

    /// Whether an argument is given as `null`.
    pub fn is_null(&mut self, name: &'static str) -> bool {
        !self.has(name) && self.given.contains_key(name)
    }

    /// A required number.
    pub fn number(&mut self, name: &'static str) -> f64 {
        self.optional_number(name).unwrap_or_else(|| self.missing(name, 1.0))
    }

    /// A number with a default.
    pub fn number_or(&mut self, name: &'static str, default: f64) -> f64 {
        self.optional_number(name).unwrap_or(default)
    }

    /// A number that may be left out.
    pub fn optional_number(&mut self, name: &'static str) -> Option<f64> {
        let value = self.value(name)?;
        let number = numeric(value);
        if number.is_none() {
            self.refuse(name, value, "a number");
        }
        number
    }

    /// A required whole number, at least `least`.
    pub fn whole(&mut self, name: &'static str, least: u64) -> u64 {
        self.optional_whole(name, least).unwrap_or_else(|| self.missing(name, least))
    }

    /// A whole number with a default, at least `least`.
    pub fn whole_or(&mut self, name: &'static str, least: u64, default: u64) -> u64 {
        self.optional_whole(name, least).unwrap_or(default)
    }

    /// A whole number that may be left out, at least `least`.
    pub fn optional_whole(&mut self, name: &'static str, least: u64) -> Option<u64> {
        let value = self.value(name)?;
        let number = numeric(value).and_then(whole).filter(|number| *number >= least);
        if number.is_none() {
            self.refuse(name, value, format!("a whole number of at least {least}"));
        }
        Some(number.unwrap_or(least))
    }

    /// `true` or `false`, with a default.
    pub fn flag_or(&mut self, name: &'static str, default: bool) -> bool {
        let Some(value) = self.value(name) else { return default };
        value.as_bool().unwrap_or_else(|| {
            self.refuse(name, value, "true or false");
            default
        })
    }

    /// A word from a closed set, with a default.
    pub fn choice_or(&mut self, name: &'static str, allowed: &[&'static str], default: &'static str) -> &'static str {
        let Some(value) = self.value(name) else { return default };
        let chosen = value.as_str().and_then(|text| allowed.iter().find(|allowed| **allowed == text));
        chosen.copied().unwrap_or_else(|| {
            match value.as_str() {
                Some(text) => self.violations.add(name, unknown("value", text, allowed)),
                None => self.refuse(name, value, format!("one of {}", allowed.join(", "))),
            }
            default
        })
    }

    /// A text with a default.
    pub fn text_or(&mut self, name: &'static str, default: &str) -> String {
        let Some(value) = self.value(name) else { return default.to_owned() };
        value.as_str().map_or_else(
            || {
                self.refuse(name, value, "a text");
                default.to_owned()
            },
            str::to_owned,
        )
    }

    /// A required list of texts.
    pub fn texts(&mut self, name: &'static str) -> Vec<String> {
        self.list(name, "a text", |value| value.as_str().map(str::to_owned))
    }

    /// A required list of numbers.
    pub fn numbers(&mut self, name: &'static str) -> Vec<f64> {
        self.list(name, "a number", numeric)
    }

    /// A required list of whole numbers.
    pub fn wholes(&mut self, name: &'static str) -> Vec<u64> {
        self.list(name, "a whole number of at least 0", |value| numeric(value).and_then(whole))
    }

    /// A dictionary from whole numbers to numbers, written as a list of pairs or as an object. Sorted by key.
    pub fn pairs(&mut self, name: &'static str) -> Vec<(u64, f64)> {
        let mut pairs = if let Some(Value::Object(object)) = self.value(name) {
            let read = |(key, value): (&String, &Value)| Some((key.parse().ok()?, numeric(value)?));
            let pairs: Option<Vec<_>> = object.iter().map(read).collect();
            pairs.unwrap_or_else(|| {
                self.violations.add(name, "is not allowed: must be from whole numbers to numbers");
                Vec::new()
            })
        } else {
            self.list(name, "a pair of a whole number and a number", |value| match value.as_array()?.as_slice() {
                [key, value] => Some((numeric(key).and_then(whole)?, numeric(value)?)),
                _ => None,
            })
        };
        pairs.sort_by_key(|(key, _)| *key);
        pairs
    }

    /// A required list of objects.
    pub fn objects(&mut self, name: &'static str) -> Vec<&'a Map<String, Value>> {
        let Some(Value::Array(entries)) = self.value(name) else { return self.missing(name, Vec::new()) };
        let mut objects = Vec::new();
        for (i, entry) in entries.iter().enumerate().take(MAX_LIST) {
            match entry {
                Value::Object(object) => objects.push(object),
                other => self.violations.refuse(format!("{name}[{i}]"), other, "an object"),
            }
        }
        objects
    }

    /// An object that may be left out.
    pub fn object(&mut self, name: &'static str) -> Option<&'a Map<String, Value>> {
        self.value(name)?.as_object()
    }

    /// Refuses the argument `name` unless its value is `allowed`; `range` says in words which values are.
    pub fn check(&mut self, name: &'static str, allowed: bool, range: &str) {
        if !allowed {
            let value = self.given.get(name).cloned().unwrap_or_default();
            self.refuse(name, &value, range);
        }
    }

    /// Refuses the argument `name` if given, unless its value is in `silent`, the values that change nothing.
    pub fn only(&mut self, name: &'static str, silent: &[Value], reason: &str) {
        if self.value(name).is_some_and(|value| !silent.contains(value)) {
            self.violations.add(name, reason);
        }
    }

    /// Adds a violation of `field`.
    pub fn wrong(&mut self, field: impl std::fmt::Display, description: impl std::fmt::Display) {
        self.violations.add(field, description);
    }

    /// Reads a value below `field`.
    pub fn within<T>(&mut self, field: impl std::fmt::Display, read: impl FnOnce(&mut Violations) -> T) -> T {
        self.violations.within(field, read)
    }

    /// Whether there is no violation so far, here or elsewhere.
    #[must_use]
    pub fn is_fine(&self) -> bool {
        self.violations.is_empty()
    }

    fn value(&mut self, name: &'static str) -> Option<&'a Value> {
        if !self.known.contains(&name) {
            self.known.push(name);
        }
        self.given.get(name).filter(|value| !value.is_null())
    }

    fn list<T>(&mut self, name: &'static str, what: &str, read: impl Fn(&Value) -> Option<T>) -> Vec<T> {
        let Some(Value::Array(entries)) = self.value(name) else { return self.missing(name, Vec::new()) };
        if entries.len() > MAX_LIST {
            self.violations.refuse(name, format!("{} entries", entries.len()), format!("at most {MAX_LIST}"));
            return Vec::new();
        }
        let mut list = Vec::with_capacity(entries.len());
        for (i, entry) in entries.iter().enumerate() {
            match read(entry) {
                Some(entry) => list.push(entry),
                None => self.violations.refuse(format!("{name}[{i}]"), entry, what),
            }
        }
        list
    }

    fn missing<T>(&mut self, name: &'static str, instead: T) -> T {
        match self.given.get(name) {
            // The value has been refused because of its type.
            Some(value) if value.is_number() => {}
            Some(Value::Null) | None => self.violations.add(name, "is required"),
            Some(other) if other.is_array() => {}
            Some(other) => self.violations.refuse(name, other, "a list or a number, as the library takes it"),
        }
        instead
    }

    fn refuse(&mut self, name: &'static str, value: &Value, allowed: impl std::fmt::Display) {
        let hint =
            if is_in_words(value) { ", counted in the schedule's `unit` (unit: epoch counts epochs)" } else { "" };
        self.violations.refuse(name, value, format_args!("{allowed}{hint}"));
    }
}

/// The number that a value is, or says as text.
fn numeric(value: &Value) -> Option<f64> {
    value.as_f64().or_else(|| typed::number(value.as_str()?).ok().filter(|number| number.is_finite()))
}

/// Whether a value is a length with the name of its unit, such as `5ep`.
fn is_in_words(value: &Value) -> bool {
    let text = value.as_str().unwrap_or_default().trim();
    let unit = text.trim_start_matches(|c: char| c.is_ascii_digit() || matches!(c, '.' | '_')).trim();
    unit.len() < text.len() && (unit == "%" || !unit.is_empty() && unit.chars().all(char::is_alphabetic))
}

/// A message that `name` is not among `known`; it gives the nearest known name, and all of them.
#[must_use]
pub fn unknown(kind: &str, name: &str, known: &[&str]) -> String {
    let nearest = known.iter().max_by(|a, b| {
        let likeness = |known: &str| strsim::jaro_winkler(&known.to_lowercase(), &name.to_lowercase());
        likeness(a).total_cmp(&likeness(b))
    });
    match nearest {
        None => format!("{name:?} is not a {kind}: there is none"),
        Some(nearest) => {
            format!("{name:?} is not a {kind}: did you mean {nearest}? There are {}", known.join(", "))
        }
    }
}

fn whole(number: f64) -> Option<u64> {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole and in range")]
    (number.fract() == 0.0 && (0.0..=MAX_WHOLE).contains(&number)).then_some(number as u64)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read<T>(params: &Value, read: impl FnOnce(&mut Params<'_>) -> T) -> (T, String) {
        let mut violations = Violations::new();
        let given = params.as_object().cloned().unwrap_or_default();
        let mut params = Params::new(&given, &mut violations);
        let result = read(&mut params);
        params.finish();
        (result, violations.to_string())
    }

    #[test]
    fn an_unknown_parameter_is_refused_with_the_nearest_one() {
        let (_, wrong) = read(&json!({"step_sise": 3}), |p| (p.whole_or("step_size", 1, 2), p.number_or("gamma", 0.1)));
        assert!(wrong.contains("step_sise: \"step_sise\" is not a parameter: did you mean step_size?"), "{wrong}");
    }

    #[test]
    fn a_whole_number_may_be_written_as_a_float_or_as_text_and_nothing_else_may() {
        for three in [json!(3.0), json!("3"), json!(" 3.0 ")] {
            assert_eq!(read(&json!({"n": three}), |p| p.whole("n", 1)), (3, String::new()));
        }
        for wrong in [json!(2.5), json!(-1), json!("three"), json!([3]), json!(true)] {
            assert!(read(&json!({"n": wrong}), |p| p.whole("n", 1)).1.contains("must be a whole number"), "{wrong}");
        }
    }

    #[test]
    fn a_length_in_words_is_told_of_the_unit() {
        for words in ["5ep", "10%", "3 epochs"] {
            let wrong = read(&json!({"n": words}), |p| p.whole("n", 1)).1;
            assert!(wrong.contains("counted in the schedule's `unit`"), "{wrong}");
        }
        let wrong = read(&json!({"n": "five"}), |p| p.whole("n", 1)).1;
        assert!(!wrong.contains("unit"), "{wrong}");
        assert_eq!(
            read(&json!({"x": "1e-3", "l": ["0.1", 0.2]}), |p| (p.number("x"), p.numbers("l"))).0,
            (1e-3, vec![0.1, 0.2])
        );
    }

    #[test]
    fn null_is_the_same_as_nothing() {
        assert_eq!(read(&json!({"x": null}), |p| p.number_or("x", 0.5)), (0.5, String::new()));
        assert!(read(&json!({"x": null}), |p| p.number("x")).1.contains("x: is required"));
    }

    #[test]
    fn a_dictionary_is_pairs_or_an_object() {
        for given in [json!({"b": [[7, 0.5], [3, 0.1]]}), json!({"b": {"7": 0.5, "3": 0.1}})] {
            assert_eq!(read(&given, |p| p.pairs("b")), (vec![(3, 0.1), (7, 0.5)], String::new()));
        }
    }
}
