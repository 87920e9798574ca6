//! Tests that walk the descriptors: every layer has every method, field, form and value.

use lrs_model::{
    job::{Idle, State},
    violation::Violations,
};
use lrs_proto::{
    JobSpec,
    reflect::{
        self, DynamicMessage, EnumDescriptor, FieldDescriptor, Kind, MapKey, MessageDescriptor, ReflectMessage as _,
        Value, descriptor, from_dynamic, to_dynamic,
    },
};

use super::convert;

/// How deep a message that contains itself is filled.
const MAX_DEPTH: usize = 8;

/// A message with a value in every field, except short forms of other fields; of a oneof, the first member.
pub(super) fn full(message: &MessageDescriptor) -> DynamicMessage {
    filled(message, 0)
}

fn filled(message: &MessageDescriptor, depth: usize) -> DynamicMessage {
    let mut filled = DynamicMessage::new(message.clone());
    for field in message.fields() {
        // A schedule or controller is either ours (in the oneof) or in a library's words (in the other fields).
        let is_library = message.get_field_by_name("library").is_some() && !is_choice(&field);
        let is_other = is_library || reflect::long_form(&field).is_some();
        let is_taken =
            field.containing_oneof().is_some_and(|oneof| oneof.fields().any(|other| filled.has_field(&other)));
        if !is_taken && !is_other && depth < MAX_DEPTH {
            filled.set_field(&field, value(&field, depth));
        }
    }
    filled
}

/// Whether the field belongs to a oneof in the proto; an `optional` field makes a oneof of its own, which does not
/// count.
fn is_choice(field: &FieldDescriptor) -> bool {
    field.containing_oneof().is_some_and(|oneof| !oneof.is_synthetic())
}

/// A value of the field that differs from its default.
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
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => Value::I64(64),
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

/// Messages that together have every member of every oneof and every value of every enum below `message`.
fn variants(message: &MessageDescriptor, above: &[MessageDescriptor]) -> Vec<DynamicMessage> {
    let base = full(message);
    let above: Vec<MessageDescriptor> = above.iter().cloned().chain([message.clone()]).collect();
    let mut variants = vec![base.clone()];
    let mut add = |field: &FieldDescriptor, value: Value| {
        let mut variant = base.clone();
        variant.set_field(field, value);
        variants.push(variant);
    };
    for field in message.fields().filter(|field| base.has_field(field) || is_choice(field)) {
        let within = |value: Value| if field.is_list() { Value::List(vec![value]) } else { value };
        match field.kind() {
            Kind::Message(inner) if !field.is_map() && !above.contains(&inner) => {
                for message in self::variants(&inner, &above) {
                    add(&field, within(Value::Message(message)));
                }
            }
            Kind::Enum(kind) => {
                let said = kind.values().filter(|value| value.number() != 0);
                said.for_each(|said| add(&field, within(Value::EnumNumber(said.number()))));
            }
            _ => add(&field, value(&field, 0)),
        }
    }
    variants
}

#[test]
fn every_field_form_kind_and_value_of_a_spec_survives_the_model() {
    let variants = variants(&descriptor::<JobSpec>(), &[]);
    assert!(variants.len() > 100, "{}", variants.len());
    let mut lost = Vec::new();
    for variant in variants {
        let spec: JobSpec = from_dynamic(&variant).unwrap();
        let mut violations = Violations::new();
        let back = to_dynamic(&convert::spec::to_proto(&convert::spec::from_proto(spec, &mut violations))).unwrap();
        for field in variant.descriptor().fields() {
            // Only one of the two sources may have a suggestion; both name jobs, and this text is not a job's name.
            let is_refused =
                field.name() == "base_lr_from" && violations.iter().any(|v| v.field.starts_with("base_lr_from"));
            if variant.get_field(&field) != back.get_field(&field) && !is_refused {
                lost.push(format!("{}: {} became {}", field.name(), variant.get_field(&field), back.get_field(&field)));
            }
        }
    }
    lost.sort();
    lost.dedup();
    assert!(lost.is_empty(), "{} are lost:\n{}", lost.len(), lost.join("\n"));
}

#[test]
fn every_state_of_a_job_is_a_state_on_the_wire() {
    use State::{Cancelled, Completed, Failed, Paused, Pending, Running};
    let states = [Pending, Running, Paused, Completed, Failed, Cancelled];
    let told = states.into_iter().flat_map(|state| {
        [Idle::Active, Idle::Stale, Idle::Abandoned].map(|idle| convert::job::state_to_proto(state, idle))
    });
    let told: std::collections::BTreeSet<i32> = told.map(i32::from).collect();
    let wire = reflect::pool().get_enum_by_name("lrs.v1.Job.State").unwrap();
    assert_eq!(told, wire.values().map(|value| value.number()).filter(|number| *number != 0).collect());
}
