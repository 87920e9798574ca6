//! A message as a plain JSON value and back, by its descriptor: schedules and controllers reach the crates that
//! understand them in this form.
//!
//! The value has the fields that are set, under their names in the proto. A whole number is a JSON number. An enum's
//! value is a word, such as `max` for `MODE_MAX`; a zero value is left out, like a field that is not set. A message
//! that is only a choice (a `oneof`) is an object with the chosen field, or only the name of that field if the field
//! has no content, such as `cosine` for a shape. Fields beside a choice, such as `library` and those after it, form one
//! more choice, under the name of the first of them.
//!
//! The reader of the value checks its meaning. This file only notes what cannot be written as a value: numbers that are
//! not finite, whole numbers below 0 or above [`MAX_STEP`](lrs_model::MAX_STEP), enum values that do not exist, and
//! choices that were not made.

use pbjson_types::Struct;
use prost::{Message as _, Name};
use prost_reflect::{
    DynamicMessage, EnumDescriptor, EnumValueDescriptor, FieldDescriptor, Kind, MessageDescriptor, OneofDescriptor,
    ReflectMessage as _, Value as Wire,
};
use serde_json::{Map, Value};

use super::{schedule::library, step};
use lrs_model::violation::Violations;
use lrs_proto::reflect;

const STRUCT: &str = "google.protobuf.Struct";

/// The message as a plain value; null, with a violation, where a choice is missing.
pub(super) fn read<M: prost::Message + Name>(message: &M, v: &mut Violations) -> Value {
    if let Ok(message) = reflect::to_dynamic(message) {
        read_message(&message, v)
    } else {
        v.add("", "is nested too deeply");
        Value::Null
    }
}

/// Converts a plain value back into a message.
///
/// # Errors
/// If the value does not fit the message, so it was not made by [`read`] or by a reader of such a value.
pub(super) fn write<M: prost::Message + Name + Default>(value: &Value) -> Result<M, String> {
    reflect::from_dynamic(&write_message(&reflect::descriptor::<M>(), value)?).map_err(|error| error.to_string())
}

/// The `oneof` of a message, if it has one.
fn choice(message: &MessageDescriptor) -> Option<OneofDescriptor> {
    message.oneofs().find(|oneof| !oneof.is_synthetic())
}

/// The fields of a message beside its choice.
fn beside(message: &MessageDescriptor) -> Vec<FieldDescriptor> {
    message.fields().filter(|field| field.containing_oneof().is_none_or(|oneof| oneof.is_synthetic())).collect()
}

fn read_message(message: &DynamicMessage, v: &mut Violations) -> Value {
    let descriptor = message.descriptor();
    let Some(choice) = choice(&descriptor) else { return read_fields(message, descriptor.fields(), v).into() };
    let chosen = choice.fields().find(|field| message.has_field(field));
    let others = beside(&descriptor);
    if let Some(first) = others.first()
        && others.iter().any(|field| message.has_field(field))
    {
        if let Some(chosen) = chosen {
            let problem = format!("is not allowed beside `{}`: there is one or the other", chosen.name());
            v.add(first.name(), problem);
        }
        let fields = read_fields(message, others.iter().cloned(), v);
        return Map::from_iter([(first.name().to_owned(), fields.into())]).into();
    }
    match chosen {
        Some(field) if holds_nothing(&field) => field.name().into(),
        Some(field) => read_fields(message, [field], v).into(),
        None => {
            v.add("", format!("is required: exactly one of {}", names(&choice, others.first())));
            Value::Null
        }
    }
}

fn holds_nothing(field: &FieldDescriptor) -> bool {
    matches!(field.kind(), Kind::Message(message) if message.fields().len() == 0)
}

fn names(choice: &OneofDescriptor, besides: Option<&FieldDescriptor>) -> String {
    let fields: Vec<_> = choice.fields().chain(besides.cloned()).map(|field| format!("`{}`", field.name())).collect();
    fields.join(", ")
}

fn read_fields(
    message: &DynamicMessage,
    fields: impl IntoIterator<Item = FieldDescriptor>,
    v: &mut Violations,
) -> Map<String, Value> {
    let set = fields.into_iter().filter(|field| message.has_field(field));
    set.filter_map(|field| {
        let value = v.within(field.name(), |v| match message.get_field(&field).as_ref() {
            Wire::List(list) => {
                let read = |(i, element)| v.within(format_args!("[{i}]"), |v| read_value(&field, element, v));
                Some(list.iter().enumerate().filter_map(read).collect())
            }
            // The missing choice has been noted.
            value => read_value(&field, value, v).filter(|value| !value.is_null()),
        });
        Some((field.name().to_owned(), value?))
    })
    .collect()
}

/// A value of a field; `None` for an enum value that is zero or unknown.
fn read_value(field: &FieldDescriptor, value: &Wire, v: &mut Violations) -> Option<Value> {
    Some(match value {
        Wire::Bool(flag) => (*flag).into(),
        Wire::String(text) => text.as_str().into(),
        Wire::I32(whole) => step(v, "", (*whole).into()).into(),
        Wire::I64(whole) => step(v, "", *whole).into(),
        Wire::F64(number) if number.is_finite() => (*number).into(),
        Wire::F64(number) => {
            v.refuse("", number, "finite");
            0.0.into()
        }
        Wire::EnumNumber(number) => return read_enum(field, *number, v),
        Wire::Message(message) if message.descriptor().full_name() == STRUCT => {
            let params = Struct::decode(message.encode_to_vec().as_slice()).unwrap_or_default();
            library::object(params.fields, v).into()
        }
        Wire::Message(message) => read_message(message, v),
        other => unreachable!("no schedule and no controller has a {other:?}"),
    })
}

fn read_enum(field: &FieldDescriptor, number: i32, v: &mut Violations) -> Option<Value> {
    let Kind::Enum(descriptor) = field.kind() else { return None };
    match descriptor.get_value(number) {
        Some(value) if number != 0 => Some(word(&descriptor, &value).into()),
        Some(_) => None,
        None => {
            let names: Vec<_> = descriptor.values().skip(1).map(|value| value.name().to_owned()).collect();
            v.refuse("", number, names.join(" or "));
            None
        }
    }
}

/// The name of an enum's value without the name of its type: `max` for `MODE_MAX`.
fn word(descriptor: &EnumDescriptor, value: &EnumValueDescriptor) -> String {
    let zero = descriptor.default_value();
    let prefix = zero.name().trim_end_matches("UNSPECIFIED");
    value.name().strip_prefix(prefix).unwrap_or(value.name()).to_lowercase()
}

fn write_message(descriptor: &MessageDescriptor, value: &Value) -> Result<DynamicMessage, String> {
    let mut message = DynamicMessage::new(descriptor.clone());
    let by_name = |name: &str| {
        let problem = || format!("{} has no field {name}", descriptor.name());
        descriptor.get_field_by_name(name).ok_or_else(problem)
    };
    let fields = match value {
        Value::Object(fields) => fields,
        // A choice that has only a name.
        Value::String(name) => {
            let field = by_name(name)?;
            message.set_field(&field, Wire::default_value_for_field(&field));
            return Ok(message);
        }
        other => return Err(format!("{other} is no {}", descriptor.name())),
    };
    // The fields beside a choice are one level deeper, under the name of the first of them.
    let first = choice(descriptor).and_then(|_| beside(descriptor).into_iter().next());
    let fields = match first.and_then(|first| fields.get(first.name())) {
        Some(Value::Object(beside)) => beside,
        _ => fields,
    };
    for (name, value) in fields {
        let field = by_name(name)?;
        let written = match value {
            Value::Null => continue,
            Value::Array(list) if field.is_list() => {
                Wire::List(list.iter().map(|element| write_value(&field, element)).collect::<Result<_, _>>()?)
            }
            value => write_value(&field, value)?,
        };
        message.set_field(&field, written);
    }
    Ok(message)
}

fn write_value(field: &FieldDescriptor, value: &Value) -> Result<Wire, String> {
    let problem = || format!("{value} is no value of {}", field.full_name());
    let written = match field.kind() {
        Kind::Bool => value.as_bool().map(Wire::Bool),
        Kind::String => value.as_str().map(|text| Wire::String(text.to_owned())),
        Kind::Int32 => value.as_i64().and_then(|whole| whole.try_into().ok()).map(Wire::I32),
        Kind::Int64 => value.as_i64().map(Wire::I64),
        Kind::Double => value.as_f64().map(Wire::F64),
        Kind::Enum(descriptor) => value.as_str().and_then(|text| {
            let found = descriptor.values().find(|value| word(&descriptor, value) == text)?;
            Some(Wire::EnumNumber(found.number()))
        }),
        Kind::Message(message) if message.full_name() == STRUCT => {
            let Value::Object(params) = value else { return Err(problem()) };
            let encoded = library::object_to_proto(params).encode_to_vec();
            DynamicMessage::decode(message, encoded.as_slice()).ok().map(Wire::Message)
        }
        Kind::Message(message) => return write_message(&message, value).map(Wire::Message),
        _ => None,
    };
    written.ok_or_else(problem)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use lrs_proto::{Controller, Schedule};

    fn plain<M: prost::Message + Name + for<'de> serde::Deserialize<'de>>(message: &Value) -> (Value, Vec<String>) {
        let mut v = Violations::new();
        let message: M = serde_json::from_value(message.clone()).unwrap();
        let value = read(&message, &mut v);
        (value, v.iter().map(|violation| violation.field.clone()).collect())
    }

    #[test]
    fn a_schedule_is_the_fields_that_are_set_and_survives() {
        let written = json!({"warmup": {"warmup_steps": "10", "shape": {"cosine": {}}, "schedule":
            {"product": {"factors": [{"base": 0.5}, {"cosine": {"floor": {"min_lr": 1e-9}}}]}}}});

        let (value, wrong) = plain::<Schedule>(&written);

        assert_eq!(wrong, [""; 0]);
        let expected = json!({"warmup": {"warmup_steps": 10, "shape": "cosine", "schedule":
            {"product": {"factors": [{"base": 0.5}, {"cosine": {"floor": {"min_lr": 1e-9}}}]}}}});
        assert_eq!(value, expected);
        assert_eq!(write::<Schedule>(&value).unwrap(), serde_json::from_value(written).unwrap());
    }

    #[test]
    fn what_stands_beside_a_choice_is_a_choice_too() {
        let written = json!({"library": "torch", "scheduler": "StepLR", "params": {"step_size": 3, "x": [true]},
            "unit": "UNIT_SAMPLE", "units_per_step": "4"});

        let (value, wrong) = plain::<Schedule>(&written);

        assert_eq!(wrong, [""; 0]);
        let inner = json!({"library": "torch", "scheduler": "StepLR", "params": {"step_size": 3, "x": [true]},
            "unit": "sample", "units_per_step": 4});
        assert_eq!(value, json!({"library": inner}));
        assert_eq!(write::<Schedule>(&value).unwrap(), serde_json::from_value(written).unwrap());
    }

    #[test]
    fn an_enum_is_the_word_behind_its_type() {
        let (value, _) = plain::<Controller>(&json!({"greedy": {"mode": "MODE_MAX", "patience": "3"}}));
        assert_eq!(value, json!({"greedy": {"mode": "max", "patience": 3}}));
    }

    #[test]
    fn everything_that_no_reader_could_be_given_is_noted_at_its_place() {
        let (_, wrong) = plain::<Schedule>(&json!({"sum": {"terms": [{}, {"ease": {"over": "NaN",
            "start": {"step": {"step_size": -1}}}}]}}));
        assert_eq!(wrong, ["sum.terms[0]", "sum.terms[1].ease.start.step.step_size", "sum.terms[1].ease.over"]);
        let mut v = Violations::new();
        read(&lrs_proto::Ease { past: 9, ..Default::default() }, &mut v);
        assert_eq!(v.to_string(), "past: 9 is not allowed: must be PAST_HOLD or PAST_CONTINUE");
        let (_, wrong) = plain::<Controller>(&json!({"auto": {}, "library": "torch"}));
        assert_eq!(wrong, ["library"]);
    }

    #[test]
    fn a_schedule_that_is_nested_deeper_than_the_wire_allows_is_refused() {
        let mut schedule = Schedule::default();
        for _ in 0..60 {
            let stair = lrs_proto::Stair { schedule: Some(Box::new(schedule)), every: 1.0 };
            schedule =
                Schedule { form: Some(lrs_proto::schedule::Form::Stair(Box::new(stair))), ..Schedule::default() };
        }
        let mut v = Violations::new();
        assert_eq!(read(&schedule, &mut v), Value::Null);
        assert!(v.to_string().contains("nested too deeply"), "{v}");
    }
}
