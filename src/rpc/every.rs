//! Tests that walk the descriptors: no layer lacks a method, a field, a form or a value.

use lrs_proto::reflect::{DynamicMessage, EnumDescriptor, FieldDescriptor, Kind, MapKey, MessageDescriptor, Value};

/// How deep messages that contain themselves are filled.
const MAX_DEPTH: usize = 8;

/// A message with a value in every field that is no short form of another; of a oneof, the first member.
pub(super) fn full(message: &MessageDescriptor) -> DynamicMessage {
    filled(message, 0)
}

fn filled(message: &MessageDescriptor, depth: usize) -> DynamicMessage {
    let mut filled = DynamicMessage::new(message.clone());
    for field in message.fields() {
        let is_taken = field.containing_oneof().is_some_and(|oneof| oneof.fields().any(|other| filled.has_field(&other)));
        if !is_taken && depth < MAX_DEPTH {
            filled.set_field(&field, value(&field, depth));
        }
    }
    filled
}

/// A value of a field that is not its default.
fn value(field: &FieldDescriptor, depth: usize) -> Value {
    if let Kind::Message(entry) = field.kind()
        && field.is_map()
    {
        let value = single(&entry.map_entry_value_field(), depth);
        return Value::Map([(MapKey::String("key".to_owned()), value)].into());
    }
    let value = single(field, depth);
    if field.is_list() { Value::List(vec![value]) } else { value }
}

fn single(field: &FieldDescriptor, depth: usize) -> Value {
    match field.kind() {
        Kind::Double => Value::F64(0.5),
        Kind::Float => Value::F32(0.5),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => Value::I32(2),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => Value::I64(2),
        Kind::Uint32 | Kind::Fixed32 => Value::U32(2),
        Kind::Uint64 | Kind::Fixed64 => Value::U64(2),
        Kind::Bool => Value::Bool(true),
        Kind::String => Value::String("text".to_owned()),
        Kind::Bytes => Value::Bytes(vec![1].into()),
        Kind::Enum(kind) => Value::EnumNumber(last(&kind)),
        Kind::Message(message) => Value::Message(filled(&message, depth + 1)),
    }
}

fn last(kind: &EnumDescriptor) -> i32 {
    kind.values().map(|value| value.number()).max().unwrap_or_default()
}
