//! Messages as people write them: what means the same is read the same, and what means nothing is named with its place,
//! what was read, and what to write instead.
//!
//! Beside canonical JSON this takes: `cosine` for `{cosine: {}}` where one of several forms is chosen, and `constant`
//! for the base rate; one element for a list of one; the short names of enums in any case (`scheduled` for
//! `ARM_SCHEDULED`) and of units (`ep`); names in kebab case; numbers and truth values as text, and the other way
//! round; whole numbers such as `1e5` or `1_000`. A field without a value is a field that is left out. The name of a
//! form without a value is refused: it may mean the form with its defaults, or no form.

use lrs_model::typed::{nearest, snake_case};
use prost_reflect::{EnumDescriptor, FieldDescriptor, Kind, MessageDescriptor};
use serde::Deserialize as _;
use serde_json::{Map, Value};

use crate::reflect;

/// The word that a short form takes.
const SHORTEST: &str = "auto";

/// Words for a form that needs a number: the message, the word, and what it stands for.
const PLAIN: [(&str, &str, &str, f64); 2] =
    [("lrs.v1.Schedule", "constant", "base", 1.0), ("lrs.v1.Schedule", "base", "base", 1.0)];
/// Other words for the values of an enum: the enum, the word, and the value.
const SYNONYMS: [(&str, &str, &str); 6] = [
    ("lrs.v1.Unit", "ep", "epoch"),
    ("lrs.v1.Unit", "epochs", "epoch"),
    ("lrs.v1.Unit", "steps", "step"),
    ("lrs.v1.Unit", "samples", "sample"),
    ("lrs.v1.Unit", "tok", "token"),
    ("lrs.v1.Unit", "tokens", "token"),
];

/// Fields that take some of the values of their enum, in short.
const SOME: [(&str, &[&str]); 1] = [("lrs.v1.CompleteJobRequest.outcome", &["completed", "failed", "cancelled"])];

/// Something in a value that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The way to it.
    pub path: Vec<Part>,
    /// Whether the name at the end of the path is wrong, not its value.
    pub is_name: bool,
    /// What was read, and what to write instead.
    pub said: String,
}

/// A part of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// The name of a field, as it is written.
    Name(String),
    /// The place in a list, from 0.
    Index(usize),
}

impl Problem {
    /// The same problem, in a value that is itself within others.
    #[must_use]
    pub fn within(mut self, names: &[&str]) -> Self {
        self.path.splice(..0, names.iter().map(|&name| Part::Name(name.to_owned())));
        self
    }

    /// The path in one text: `spec.groups[0].base_lr`; empty for the whole value.
    #[must_use]
    pub fn place(&self) -> String {
        let mut place = String::new();
        for part in &self.path {
            match part {
                Part::Name(name) if place.is_empty() => place += name,
                Part::Name(name) => place.extend([".", name]),
                Part::Index(index) => place.extend(["[", &index.to_string(), "]"]),
            }
        }
        place
    }

    /// What is wrong with the value at a place as [`place`](Self::place) writes it.
    #[must_use]
    pub fn at(place: &str, said: String) -> Self {
        let mut path = Vec::new();
        for part in place.split('.').filter(|part| !part.is_empty()) {
            let mut indices = part.split('[');
            path.extend(indices.next().map(|name| Part::Name(name.to_owned())));
            path.extend(indices.filter_map(|index| index.trim_end_matches(']').parse().ok()).map(Part::Index));
        }
        Self { path, is_name: false, said }
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.place() {
            place if place.is_empty() => formatter.write_str(&self.said),
            place => write!(formatter, "{place}: {}", self.said),
        }
    }
}

/// The canonical JSON of what was written as a message.
///
/// # Errors
/// The first thing that cannot be read.
pub fn read(message: &MessageDescriptor, value: &Value) -> Result<Value, Problem> {
    Reader { path: Vec::new() }.message(message, value)
}

struct Reader {
    path: Vec<Part>,
}

type Read = Result<Value, Problem>;

impl Reader {
    fn refuse(&self, found: impl std::fmt::Display, allowed: impl Into<String>) -> Problem {
        let said = format!("{found} is not allowed here: {}", allowed.into());
        Problem { path: self.path.clone(), is_name: false, said }
    }

    fn within<T>(&mut self, part: Part, read: impl FnOnce(&mut Self) -> T) -> T {
        self.path.push(part);
        let result = read(self);
        self.path.pop();
        result
    }

    fn message(&mut self, message: &MessageDescriptor, value: &Value) -> Read {
        if message.full_name().starts_with("google.protobuf.") {
            return self.well_known(message, value);
        }
        match value {
            Value::Object(fields) => self.fields(message, fields),
            Value::String(word) if !forms(message).is_empty() => self.form(message, word),
            other => Err(self.refuse(shown(other), example(message))),
        }
    }

    /// A message of Google's, whose canonical JSON is not that of its fields.
    fn well_known(&self, message: &MessageDescriptor, value: &Value) -> Read {
        let allowed = match message.name() {
            "Struct" if !value.is_object() => "write names and values, such as {gamma: 0.1}",
            "Duration" if pbjson_types::Duration::deserialize(value).is_err() => "write seconds, such as 1.5s",
            "Timestamp" if pbjson_types::Timestamp::deserialize(value).is_err() => {
                "write a time in UTC, such as 2026-01-31T12:00:00Z"
            }
            _ => return Ok(value.clone()),
        };
        Err(self.refuse(shown(value), allowed))
    }

    /// The form of this name, with its defaults.
    fn form(&self, message: &MessageDescriptor, word: &str) -> Read {
        let name = snake_case(word);
        let is_plain = |(of, word, ..): &&(&str, &str, &str, f64)| *of == message.full_name() && *word == name;
        if let Some((_, _, form, number)) = PLAIN.iter().find(is_plain) {
            return Ok(Map::from_iter([((*form).to_owned(), (*number).into())]).into());
        }
        match forms(message).into_iter().find(|form| form.name() == name) {
            Some(form) if matches!(form.kind(), Kind::Message(_)) && !form.is_list() => {
                Ok(Map::from_iter([(form.name().to_owned(), Value::Object(Map::new()))]).into())
            }
            Some(form) => Err(self.refuse(shown(&word.into()), format!("write {{{}: …}} with a value", form.name()))),
            None => {
                let names: Vec<String> = forms(message).iter().map(|form| form.name().to_owned()).collect();
                Err(self.refuse(format!("{word:?}"), choose(word, &names)))
            }
        }
    }

    fn fields(&mut self, message: &MessageDescriptor, written: &Map<String, Value>) -> Read {
        let mut fields = Map::new();
        for (name, value) in written {
            let part = Part::Name(name.clone());
            let known = reflect::field(message, name).or_else(|| reflect::field(message, &name.replace('-', "_")));
            let Some(mut field) = known else {
                let mut problem = self.refuse(format!("the field {name:?}"), choose_field(message, name));
                problem.path.push(part);
                problem.is_name = true;
                return Err(problem);
            };
            let mut value = value.clone();
            long_form(&mut field, &mut value);
            let others = || written.keys().filter_map(|other| reflect::field(message, &other.replace('-', "_")));
            let rival = field.containing_oneof().filter(|oneof| !oneof.is_synthetic()).and_then(|oneof| {
                others().find(|other| *other != field && other.containing_oneof().as_ref() == Some(&oneof))
            });
            let wrong_name = |allowed: String| {
                let mut problem = self.refuse(format!("the field {name:?}"), allowed);
                problem.path.push(part.clone());
                problem.is_name = true;
                problem
            };
            if let Some(rival) = rival.as_ref().filter(|rival| fields.contains_key(rival.name()) && !value.is_null()) {
                return Err(wrong_name(format!("{:?} is there already, and there may be one of them", rival.name())));
            }
            if fields.contains_key(field.name()) {
                return Err(wrong_name(format!("{:?} is there already", field.name())));
            }
            if value.is_null() {
                let is_form = field.containing_oneof().is_some_and(|oneof| !oneof.is_synthetic());
                if is_form && rival.is_none() {
                    return Err(self.within(part, |reader| reader.empty_form(&field)));
                }
                continue;
            }
            let value = self.within(part, |reader| reader.field(&field, &value))?;
            fields.insert(field.name().to_owned(), value);
        }
        Ok(fields.into())
    }

    /// The refusal of the name of a form without a value.
    fn empty_form(&self, field: &FieldDescriptor) -> Problem {
        let name = field.name();
        match field.kind() {
            Kind::Message(_) => {
                self.refuse("no value", format!("write {{{name}: {{}}}} for the defaults, or leave it out"))
            }
            _ => self.refuse("no value", format!("write {{{name}: …}} with a value, or leave it out")),
        }
    }

    fn field(&mut self, field: &FieldDescriptor, value: &Value) -> Read {
        if field.is_map() {
            let Value::Object(entries) = value else {
                return Err(self.refuse(shown(value), "write names and values, such as {team: vision}"));
            };
            let Kind::Message(entry) = field.kind() else { return Ok(value.clone()) };
            let of_value = entry.map_entry_value_field();
            let read = entries.iter().map(|(key, value)| {
                let part = Part::Name(key.clone());
                Ok((key.clone(), self.within(part, |reader| reader.element(&of_value, value))?))
            });
            return Ok(read.collect::<Result<Map<_, _>, _>>()?.into());
        }
        if !field.is_list() {
            return self.element(field, value);
        }
        let Value::Array(elements) = value else { return Ok(vec![self.element(field, value)?].into()) };
        let read = elements
            .iter()
            .enumerate()
            .map(|(index, element)| self.within(Part::Index(index), |reader| reader.element(field, element)));
        Ok(read.collect::<Result<Vec<_>, _>>()?.into())
    }

    fn element(&mut self, field: &FieldDescriptor, value: &Value) -> Read {
        if value.is_null() {
            return Err(self.refuse("no value", "write one, or leave the entry out"));
        }
        match field.kind() {
            Kind::Message(message) => self.message(&message, value),
            Kind::Enum(words) => self.word(field, &words, value),
            Kind::Bool => self.truth(value),
            Kind::Double | Kind::Float => self.number(value),
            Kind::String => self.text(value),
            Kind::Bytes => Ok(value.clone()),
            Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => self.whole(value, i32::MIN.into(), i32::MAX.into()),
            Kind::Uint32 | Kind::Fixed32 => self.whole(value, 0, u32::MAX.into()),
            Kind::Uint64 | Kind::Fixed64 => self.whole(value, 0, u64::MAX.into()),
            _ => self.whole(value, i64::MIN.into(), i64::MAX.into()),
        }
    }

    fn word(&self, field: &FieldDescriptor, words: &EnumDescriptor, value: &Value) -> Read {
        let prefix = prefix(words);
        let short = |name: &str| name.strip_prefix(&prefix).unwrap_or(name).to_lowercase();
        let plain = |word: &str| {
            let name = snake_case(word);
            let known = SYNONYMS.iter().find(|(of, other, _)| *of == words.full_name() && *other == name);
            known.map_or(name, |(_, _, plain)| (*plain).to_owned())
        };
        let found = match value {
            Value::String(word) => words
                .values()
                .find(|known| known.name().eq_ignore_ascii_case(word) || short(known.name()) == plain(word)),
            Value::Number(number) => number.as_i64().and_then(|number| words.get_value(i32::try_from(number).ok()?)),
            _ => None,
        };
        found.map(|word| word.name().into()).ok_or_else(|| {
            let names: Vec<String> =
                words.values().filter(|word| word.number() != 0).map(|word| short(word.name())).collect();
            let some = SOME.iter().find(|(name, _)| *name == field.full_name());
            let names = some.map_or(names, |(_, some)| some.iter().map(|&name| name.to_owned()).collect());
            let written = value.as_str().map(str::to_owned).unwrap_or_default();
            self.refuse(shown(value), choose(&written, &names))
        })
    }

    fn truth(&self, value: &Value) -> Read {
        match value {
            Value::Bool(_) => Ok(value.clone()),
            Value::String(text) if text.eq_ignore_ascii_case("true") => Ok(true.into()),
            Value::String(text) if text.eq_ignore_ascii_case("false") => Ok(false.into()),
            other => Err(self.refuse(shown(other), "write true or false")),
        }
    }

    fn number(&self, value: &Value) -> Read {
        match value {
            Value::Number(_) => Ok(value.clone()),
            Value::String(text) => match text.trim().replace('_', "").parse::<f64>() {
                Ok(number) if number.is_finite() => Ok(number.into()),
                Ok(number) if number.is_nan() => Ok("NaN".into()),
                Ok(number) => Ok(if number > 0.0 { "Infinity" } else { "-Infinity" }.into()),
                Err(_) => Err(self.refuse(shown(value), "write a number, such as 0.1 or 1e-3")),
            },
            other => Err(self.refuse(shown(other), "write a number, such as 0.1 or 1e-3")),
        }
    }

    fn whole(&self, value: &Value, least: i128, most: i128) -> Read {
        let text = match value {
            Value::Number(number) => number.to_string(),
            Value::String(text) => text.trim().replace('_', ""),
            other => return Err(self.refuse(shown(other), "write a whole number, such as 1000")),
        };
        // Up to 2^53 a floating-point number says exactly which whole number is meant.
        let exact = |number: &f64| number.fract() == 0.0 && number.abs() <= 9_007_199_254_740_992.0;
        let whole = || text.parse::<f64>().ok().filter(exact).and_then(|number| format!("{number:.0}").parse().ok());
        match text.parse::<i128>().ok().or_else(whole) {
            Some(number) if (least..=most).contains(&number) => Ok(number.to_string().into()),
            Some(_) => Err(self.refuse(shown(value), format!("write a whole number from {least} to {most}"))),
            None => Err(self.refuse(shown(value), "write a whole number, such as 1000")),
        }
    }

    fn text(&self, value: &Value) -> Read {
        match value {
            Value::String(_) => Ok(value.clone()),
            Value::Number(_) | Value::Bool(_) => Ok(value.to_string().into()),
            other => Err(self.refuse(shown(other), "write a text")),
        }
    }
}

/// Turns a short form into its long form where it is written as that: `{auto: {}}`, or the name of another form.
fn long_form(field: &mut FieldDescriptor, value: &mut Value) {
    let Some(long) = reflect::long_form(field) else { return };
    let Kind::Message(message) = long.kind() else { return };
    if let Value::String(word) = value {
        let name = snake_case(word);
        if name == SHORTEST || forms(&message).iter().all(|form| form.name() != name) {
            *word = name;
            return;
        }
    }
    if !value.is_null() {
        *field = long;
    }
}

/// The forms of which one is chosen in a message.
fn forms(message: &MessageDescriptor) -> Vec<FieldDescriptor> {
    let oneof = message.oneofs().find(|oneof| !oneof.is_synthetic());
    oneof.map(|oneof| oneof.fields().collect()).unwrap_or_default()
}

/// What the names of an enum's values begin with: `ARM_` of `Arm`.
fn prefix(words: &EnumDescriptor) -> String {
    let first = words.values().next().map(|word| word.name().to_owned()).unwrap_or_default();
    first.strip_suffix("UNSPECIFIED").map(str::to_owned).unwrap_or_default()
}

/// A value as it was written, or its beginning.
fn shown(value: &Value) -> String {
    const MOST: usize = 60;
    let text = value.to_string();
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// How a message may be written.
fn example(message: &MessageDescriptor) -> String {
    if message.full_name() == "lrs.v1.JobSpec" || message.full_name() == "lrs.v1.Job" {
        let spec = "{groups: [{base_lr: 0.1}], total_steps: 1000, schedule: cosine}";
        return match message.name() {
            "Job" => format!("write a job, such as {{name: namespaces/vision/jobs/cifar, spec: {spec}}}"),
            _ => format!("write a spec, such as {spec}"),
        };
    }
    let names: Vec<String> = message.fields().map(|field| field.name().to_owned()).collect();
    match forms(message).first() {
        Some(form) => format!(
            "write a form with its parameters, such as {{{}: {{}}}}; the forms are {}",
            form.name(),
            list(&names)
        ),
        None => format!(
            "write its fields, such as {{{}: …}}; the fields are {}",
            names.first().map_or("", String::as_str),
            list(&names)
        ),
    }
}

/// Which field of a message may have been meant: one of its own, or of a message in one of them.
fn choose_field(message: &MessageDescriptor, written: &str) -> String {
    let within = message.fields().filter(|field| !field.is_list() && !field.is_map()).find_map(|field| {
        let Kind::Message(part) = field.kind() else { return None };
        let inner = reflect::field(&part, written).or_else(|| reflect::field(&part, &snake_case(written)))?;
        Some(format!("{}.{}", field.name(), inner.name()))
    });
    let names: Vec<String> = message.fields().map(|field| field.name().to_owned()).collect();
    match within {
        Some(meant) => format!("did you mean {meant:?}? There are {}", list(&names)),
        None => choose(written, &names),
    }
}

/// Which of `names` may have been meant, and all of them.
#[must_use]
pub fn choose(written: &str, names: &[String]) -> String {
    let known: Vec<&str> = names.iter().map(String::as_str).collect();
    match nearest(written, &known) {
        Some(meant) => format!("did you mean {meant:?}? There are {}", list(names)),
        None => format!("there are {}", list(names)),
    }
}

fn list(names: &[String]) -> String {
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{Job, JobSpec};

    fn spec(value: &Value) -> JobSpec {
        let value = read(&reflect::descriptor::<JobSpec>(), value).unwrap_or_else(|problem| panic!("{problem}"));
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn what_means_the_same_is_read_the_same() {
        let canonical = json!({
            "schedule": {"cosine": {}}, "controllers": [{"auto": {}}], "total_steps": "100000", "seed": "7",
            "groups": [{"name": "1", "base_lr": 0.1}], "arm": "ARM_SCHEDULED", "labels": {"year": "2026"},
            "objective": {"metric": "val_loss", "mode": "MODE_MAX"}
        });
        let written = json!({
            "schedule": "Cosine", "controllers": "auto", "total-steps": "1e5", "seed": 7.0,
            "groups": {"name": 1, "base-lr": "1e-1"}, "arm": "scheduled", "labels": {"year": 2026},
            "objective": {"metric": "val_loss", "mode": "max"}
        });
        for controller in [json!("Auto"), json!(" auto "), json!({"auto": {}}), json!(["auto"])] {
            let spec = spec(&json!({"controller": controller}));
            assert!(spec.controller == "auto" || spec.controllers.len() == 1, "{controller}");
        }
        assert_eq!(spec(&json!({"controller": "greedy"})), spec(&json!({"controllers": [{"greedy": {}}]})));
        let expected: JobSpec = serde_json::from_value(canonical.clone()).unwrap();
        assert_eq!(spec(&canonical), expected);
        assert_eq!(spec(&written), expected);
        assert_eq!(spec(&json!({"controllers": ["auto", {"greedy": {}}]})).controllers.len(), 2);
        assert_eq!(spec(&json!({"totalSteps": "1_000"})).total_steps, Some(1000));
    }

    #[test]
    fn what_means_nothing_is_named_with_its_place_and_what_to_write() {
        for (written, place, says) in [
            (json!({"schedule": "cosin"}), "schedule", "\"cosin\" is not allowed here: did you mean \"cosine\"?"),
            (json!({"schedule": {"cosine": {}, "linear": {}}}), "schedule.linear", "\"cosine\" is there already"),
            (json!({"schedule": 5}), "schedule", "5 is not allowed here: write a form"),
            (json!({"groups": [{"base_rl": 1}]}), "groups[0].base_rl", "did you mean \"base_lr\"?"),
            (
                json!({"groups": [{"base_lr": "fast"}]}),
                "groups[0].base_lr",
                "\"fast\" is not allowed here: write a number",
            ),
            (json!({"groups": [{"base_lr": [1]}]}), "groups[0].base_lr", "[1] is not allowed here: write a number"),
            (json!({"total_steps": 1.5}), "total_steps", "1.5 is not allowed here: write a whole number"),
            (json!({"total_steps": "many"}), "total_steps", "\"many\" is not allowed here"),
            (json!({"tier": 5_000_000_000_u64}), "tier", "write a whole number from -2147483648 to 2147483647"),
            (json!({"total_steps": 1e30}), "total_steps", "write a whole number"),
            (json!({"arm": "control"}), "arm", "there are scheduled, baseline"),
            (json!({"max_lr": 1}), "max_lr", "did you mean \"rate_limits.max_lr\"?"),
            (json!({"labels": [1]}), "labels", "write names and values"),
            (json!({"total_steps": 1, "totalSteps": 1}), "total_steps", "is there already"),
            (json!([]), "", "[] is not allowed here: write a spec, such as {groups: [{base_lr: 0.1}]"),
        ] {
            let problem = read(&reflect::descriptor::<JobSpec>(), &written).unwrap_err();
            assert_eq!(problem.place(), place, "{problem}");
            assert!(problem.to_string().contains(says), "{problem}");
        }
    }

    #[test]
    fn of_an_enum_only_what_the_field_takes_is_offered() {
        let request = reflect::descriptor::<crate::CompleteJobRequest>();
        let problem = read(&request, &json!({"outcome": "done"})).unwrap_err().to_string();
        assert_eq!(problem, "outcome: \"done\" is not allowed here: there are completed, failed, cancelled");
        for (name, some) in SOME {
            let (message, field) = name.rsplit_once('.').unwrap();
            let field = reflect::pool().get_message_by_name(message).unwrap().get_field_by_name(field).unwrap();
            let message = field.parent_message().clone();
            for word in some {
                assert!(read(&message, &Map::from_iter([(field.name().to_owned(), (*word).into())]).into()).is_ok());
            }
        }
    }

    #[test]
    fn a_name_alone_means_the_same_everywhere() {
        assert_eq!(spec(&json!({"schedule": "constant"})), spec(&json!({"schedule": {"base": 1}})));
        assert_eq!(spec(&json!({"schedule": "Base"})), spec(&json!({"schedule": {"base": 1}})));
        assert_eq!(spec(&json!({"schedule": "wsd"})), spec(&json!({"schedule": {"wsd": {}}})));
        let with = |unit: &str| spec(&json!({"controllers": {"reduce_lr_on_plateau": {"unit": unit}}}));
        for (word, unit) in [("ep", "UNIT_EPOCH"), ("Epochs", "UNIT_EPOCH"), ("steps", "UNIT_STEP")] {
            assert_eq!(with(word), with(unit), "{word}");
        }
    }

    #[test]
    fn what_has_no_value_is_left_out_or_refused_with_what_to_write() {
        for (empty, same) in [
            (json!({"groups": null, "controllers": null, "total_steps": null, "display_name": null}), json!({})),
            (json!({"groups": [{"base_lr": null}]}), json!({"groups": [{}]})),
            (json!({"schedule": {"multi_step": {"milestones": null}}}), json!({"schedule": {"multi_step": {}}})),
            (json!({"schedule": null, "labels": null, "arm": null, "controller": null}), json!({})),
            (json!({"schedule": {"cosine": {}, "linear": null}}), json!({"schedule": "cosine"})),
            (json!({"schedule": {"linear": null, "cosine": {}}}), json!({"schedule": "cosine"})),
            (
                json!({"schedule": {"library": "torch", "scheduler": "StepLR", "params": null}}),
                json!({"schedule": {"library": "torch", "scheduler": "StepLR"}}),
            ),
        ] {
            assert_eq!(spec(&empty), spec(&same), "{empty}");
        }
        for (written, said) in [
            (
                json!({"schedule": {"cosine": null}}),
                "schedule.cosine: no value is not allowed here: write {cosine: {}} for the defaults, or leave it out",
            ),
            (
                json!({"schedule": {"base": null}}),
                "schedule.base: no value is not allowed here: write {base: …} with a value",
            ),
            (
                json!({"controllers": [{"auto": null}]}),
                "controllers[0].auto: no value is not allowed here: write {auto: {}}",
            ),
            (json!({"controllers": [null]}), "controllers[0]: no value is not allowed here"),
            (json!({"labels": {"a": null}}), "labels.a: no value is not allowed here"),
            (
                json!({"schedule": {"multi_step": {"milestones": [1, null]}}}),
                "schedule.multi_step.milestones[1]: no value",
            ),
        ] {
            let problem = read(&reflect::descriptor::<JobSpec>(), &written).unwrap_err().to_string();
            assert!(problem.starts_with(said), "{written}: {problem}");
        }
    }

    #[test]
    fn a_canonical_message_stays_as_it_is() {
        let job = json!({
            "name": "namespaces/a/jobs/b", "create_time": "2026-01-31T12:00:00Z", "state": "STATE_RUNNING",
            "spec": {"schedule": {"library": "torch", "scheduler": "StepLR", "params": {"step_size": 5}},
                     "controllers": [{"reduce_lr_on_plateau": {"min_lr": [0.1, 0.2]}}]}
        });
        let typed: Job = serde_json::from_value(job.clone()).unwrap();
        let read: Job = serde_json::from_value(read(&reflect::descriptor::<Job>(), &job).unwrap()).unwrap();
        assert_eq!(read, typed);
    }
}
