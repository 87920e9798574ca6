//! The arguments of another library's scheduler: JSON in the model, a `Struct` on the wire.

use std::collections::HashMap;

use pbjson_types::{ListValue, Struct, Value as Wire, value::Kind};
use serde_json::{Map, Number, Value};

use lrs_model::violation::Violations;

pub(in crate::rpc::convert) fn object(fields: HashMap<String, Wire>, v: &mut Violations) -> Map<String, Value> {
    fields
        .into_iter()
        .map(|(name, wire)| {
            let value = v.within(&name, |v| value(wire, v));
            (name, value)
        })
        .collect()
}

/// Turns a whole number into an integer, so that it reads as it was written.
fn value(wire: Wire, v: &mut Violations) -> Value {
    match wire.kind {
        None | Some(Kind::NullValue(_)) => Value::Null,
        Some(Kind::BoolValue(flag)) => Value::Bool(flag),
        Some(Kind::StringValue(text)) => Value::String(text),
        Some(Kind::StructValue(Struct { fields })) => Value::Object(object(fields, v)),
        Some(Kind::ListValue(ListValue { values })) => {
            let read = |(i, wire)| v.within(format_args!("[{i}]"), |v| value(wire, v));
            Value::Array(values.into_iter().enumerate().map(read).collect())
        }
        Some(Kind::NumberValue(number)) => match Number::from_f64(number) {
            #[expect(clippy::cast_possible_truncation, reason = "whole and within the integers that are exact")]
            Some(_) if number.fract() == 0.0 && number.abs() < 9e15 => Value::Number((number as i64).into()),
            Some(number) => Value::Number(number),
            None => {
                v.refuse("", number, "finite");
                Value::Null
            }
        },
    }
}

pub(in crate::rpc::convert) fn object_to_proto(object: &Map<String, Value>) -> Struct {
    Struct { fields: object.iter().map(|(name, value)| (name.clone(), value_to_proto(value))).collect() }
}

fn value_to_proto(value: &Value) -> Wire {
    let kind = match value {
        Value::Null => Kind::NullValue(0),
        Value::Bool(flag) => Kind::BoolValue(*flag),
        Value::String(text) => Kind::StringValue(text.clone()),
        // The numbers of a call came from the wire, or are in its range.
        Value::Number(number) => Kind::NumberValue(number.as_f64().unwrap_or_default()),
        Value::Object(object) => Kind::StructValue(object_to_proto(object)),
        Value::Array(values) => Kind::ListValue(ListValue { values: values.iter().map(value_to_proto).collect() }),
    };
    Wire { kind: Some(kind) }
}
