//! `--set spec.groups[0].base_lr=0.1`: a field of a message and its new value.

use std::str::FromStr;

use serde_json::{Map, Value};

use super::{failure::Failure, yaml};
use lrs_proto::{
    Job,
    reflect::{self, FieldDescriptor, Kind, MessageDescriptor},
};

/// A value for one field.
#[derive(Clone, Debug, PartialEq)]
pub struct Assignment {
    path: Vec<Part>,
    value: Value,
    text: String,
}

/// One part of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Field(String),
    Index(usize),
}

/// Why an assignment is invalid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAssignment {
    /// No equals sign.
    #[error("{0:?} is not allowed: must be PATH=VALUE, such as spec.groups[0].base_lr=0.1")]
    Shape(String),
    /// No value, as when a variable of the shell is empty.
    #[error("{0:?} has no value: write null to go back to the default")]
    Empty(String),
    /// The path cannot be read.
    #[error("the path {0:?} is not allowed: must be such as spec.groups[0].base_lr")]
    Path(String),
    /// The value cannot be read.
    #[error("the value {0:?} is not allowed: must be YAML or JSON, such as 0.1, cosine or {{cosine: {{}}}}")]
    Value(String),
}

impl FromStr for Assignment {
    type Err = InvalidAssignment;

    fn from_str(text: &str) -> Result<Self, InvalidAssignment> {
        let (path, value) = text.split_once('=').ok_or_else(|| InvalidAssignment::Shape(text.to_owned()))?;
        let parts = parse_path(path).ok_or_else(|| InvalidAssignment::Path(path.to_owned()))?;
        if value.trim().is_empty() {
            return Err(InvalidAssignment::Empty(text.to_owned()));
        }
        let value = yaml::document(value).map_err(|_| InvalidAssignment::Value(value.to_owned()))?;
        Ok(Self { path: parts, value, text: text.to_owned() })
    }
}

impl Assignment {
    /// Sets the field in `document`, the JSON of a `message`; missing objects on the path are created.
    ///
    /// # Errors
    /// If the path leads through a value that has no fields, or beyond the end of a list.
    pub fn apply(&self, message: &MessageDescriptor, document: &mut Value) -> Result<(), Failure> {
        let mut place = document;
        for part in &self.path_in(message) {
            place = step_into(place, part)
                .map_err(|problem| Failure::invalid(format!("--set {}: {problem}", self.text)))?;
        }
        *place = self.value.clone();
        Ok(())
    }

    /// The path, with the names of fields as they are in the proto. A field that only the spec has is the spec's.
    fn path_in(&self, message: &MessageDescriptor) -> Vec<Part> {
        let mut path = self.path.clone();
        if let Some(Part::Field(name)) = path.first()
            && known(message, name).is_none()
            && let Some(spec) = message.get_field_by_name("spec")
            && let Kind::Message(below) = spec.kind()
            && known(&below, name).is_some()
        {
            path.insert(0, Part::Field(spec.name().to_owned()));
        }
        let mut message = Some(message.clone());
        for part in &mut path {
            let (Part::Field(name), Some(of)) = (part, &message) else { continue };
            let field = known(of, name);
            message = field.as_ref().and_then(|field| match field.kind() {
                Kind::Message(message) if !field.is_map() => Some(message),
                _ => None,
            });
            if let Some(field) = field {
                field.name().clone_into(name);
            }
        }
        path
    }

    /// The field of the spec that this changes, as an update mask names it.
    ///
    /// # Errors
    /// If it is not a field of the spec.
    pub fn mask_path(&self) -> Result<String, Failure> {
        match &self.path_in(&reflect::descriptor::<Job>())[..] {
            [Part::Field(spec), Part::Field(field), ..] if spec == "spec" => Ok(format!("spec.{field}")),
            _ => Err(Failure::invalid(format!("--set {}: only fields of the spec can be changed", self.text))
                .with_hint("paths begin with `spec.`, such as spec.total_steps=2000")),
        }
    }
}

/// The field of a message by its name, in any spelling.
fn known(message: &MessageDescriptor, name: &str) -> Option<FieldDescriptor> {
    reflect::field(message, name).or_else(|| reflect::field(message, &name.replace('-', "_")))
}

/// `a.b[0].c` in its parts.
fn parse_path(path: &str) -> Option<Vec<Part>> {
    let sections = path.split('.').map(parse_section).collect::<Option<Vec<_>>>()?;
    Some(sections.concat())
}

/// `b[0][1]` in its parts: a field, then any indices.
fn parse_section(section: &str) -> Option<Vec<Part>> {
    let (field, indices) = section.split_once('[').map_or((section, None), |(field, rest)| (field, Some(rest)));
    if field.is_empty() || field.contains(']') {
        return None;
    }
    let mut parts = vec![Part::Field(field.to_owned())];
    if let Some(indices) = indices {
        for index in indices.strip_suffix(']')?.split("][") {
            parts.push(Part::Index(index.parse().ok()?));
        }
    }
    Some(parts)
}

fn step_into<'a>(place: &'a mut Value, part: &Part) -> Result<&'a mut Value, String> {
    if place.is_null() {
        *place = match part {
            Part::Field(_) => Value::Object(Map::new()),
            Part::Index(_) => Value::Array(Vec::new()),
        };
    }
    match (part, place) {
        (Part::Field(field), Value::Object(fields)) => Ok(fields.entry(field).or_insert(Value::Null)),
        (Part::Field(field), _) => Err(format!("there is nothing named {field:?} here")),
        (Part::Index(index), Value::Array(items)) => {
            let len = items.len();
            if *index == len {
                items.push(Value::Null);
            }
            items.get_mut(*index).ok_or_else(|| format!("[{index}] is beyond the end: there are {len}"))
        }
        (Part::Index(index), _) => Err(format!("[{index}] is not in a list")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn set(document: &Value, assignment: &str) -> Result<Value, Failure> {
        let mut changed = document.clone();
        assignment.parse::<Assignment>().unwrap().apply(&reflect::descriptor::<Job>(), &mut changed)?;
        Ok(changed)
    }

    #[test]
    fn a_value_is_put_in_its_place() {
        let document = json!({"spec": {"groups": [{"base_lr": 0.1}]}});
        assert_eq!(
            set(&document, "spec.groups[0].base_lr=0.2").unwrap(),
            json!({"spec": {"groups": [{"base_lr": 0.2}]}})
        );
        assert_eq!(
            set(&document, "spec.groups[1].name=head").unwrap(),
            json!({"spec": {"groups": [{"base_lr": 0.1}, {"name": "head"}]}})
        );
        assert_eq!(
            set(&json!({}), "spec.schedule={cosine: {decay_steps: 10}}").unwrap(),
            json!({"spec": {"schedule": {"cosine": {"decay_steps": 10}}}})
        );
        assert_eq!(
            set(&document, "spec.groups[0].base-lr=0.2").unwrap(),
            set(&document, "spec.groups[0].baseLr=0.2").unwrap()
        );
        assert_eq!(set(&json!({}), "spec.labels.my-key=1").unwrap(), json!({"spec": {"labels": {"my-key": 1}}}));
        assert_eq!(set(&json!({}), "name=a=b").unwrap(), json!({"name": "a=b"}));
        assert_eq!(set(&json!({}), "total_steps=5").unwrap(), set(&json!({}), "spec.totalSteps=5").unwrap());
    }

    #[test]
    fn a_path_to_nowhere_is_refused() {
        let document = json!({"spec": {"groups": [{"base_lr": 0.1}]}});
        for (assignment, problem) in [
            ("spec.groups[2].base_lr=1", "beyond the end: there are 1"),
            ("spec.groups.base_lr=1", "nothing named"),
            ("spec[0]=1", "not in a list"),
        ] {
            let failure = set(&document, assignment).unwrap_err();
            assert!(failure.message.contains(problem), "{failure}");
        }
    }

    #[test]
    fn what_is_no_assignment_is_refused() {
        for text in
            ["spec.total_steps", "=1", "a..b=1", "a[x]=1", "a[0=1", "a]=1", "a[]=1", "a={", "a=", "a= ", "a=!tag 1"]
        {
            assert!(text.parse::<Assignment>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_mask_names_the_field_of_the_spec() {
        let mask = |text: &str| text.parse::<Assignment>().unwrap().mask_path();
        assert_eq!(mask("spec.groups[0].base_lr=1").unwrap(), "spec.groups");
        assert_eq!(mask("spec.total-steps=1").unwrap(), "spec.total_steps");
        assert_eq!(mask("spec.totalSteps=1").unwrap(), "spec.total_steps");
        assert_eq!(mask("total-steps=1").unwrap(), "spec.total_steps");
        assert!(mask("name=a").is_err());
        assert!(mask("spec={}").is_err());
    }
}
