//! Every form that the wire has is understood, with every field and every choice: read off the descriptors.

use lrs::rpc::convert::schedule::{from_proto, to_proto};
use lrs_model::violation::Violations;
use lrs_proto::{Schedule as Wire, reflect};
use lrs_schedule::{Schedule, canonical};
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, OneofDescriptor, Value};

/// The most choices that there are of anything but forms: the shapes.
const CHOICES: usize = 9;

fn choice(message: &MessageDescriptor) -> Option<OneofDescriptor> {
    message.oneofs().find(|oneof| !oneof.is_synthetic())
}

fn forms() -> Vec<FieldDescriptor> {
    choice(&reflect::descriptor::<Wire>()).expect("a schedule is a choice of forms").fields().collect()
}

/// A schedule of this form and nothing else.
fn of_form(form: &FieldDescriptor, value: Value) -> DynamicMessage {
    let mut schedule = DynamicMessage::new(form.parent_message().clone());
    schedule.set_field(form, value);
    schedule
}

/// A value that is no default; a message has every field, and of each choice number `chosen`.
fn filled(field: &FieldDescriptor, chosen: usize) -> Value {
    match field.kind() {
        Kind::Bool => Value::Bool(true),
        Kind::Int64 => Value::I64(7),
        Kind::Double => Value::F64(0.5),
        Kind::Enum(values) => Value::EnumNumber(values.values().last().expect("an enum has values").number()),
        Kind::Message(inner) if inner.full_name() == "lrs.v1.Schedule" => {
            let base = inner.get_field_by_name("base").expect("the base rate is a form");
            Value::Message(of_form(&base, Value::F64(0.25)))
        }
        Kind::Message(inner) => {
            let choices: Vec<_> =
                choice(&inner).into_iter().flat_map(|choice| choice.fields().collect::<Vec<_>>()).collect();
            let mut message = DynamicMessage::new(inner.clone());
            for field in inner.fields() {
                let other = choices.iter().position(|other| *other == field);
                if other.is_none_or(|number| number == chosen % choices.len()) {
                    let value = filled(&field, chosen);
                    let value = if field.is_list() { Value::List(vec![value.clone(), value]) } else { value };
                    message.set_field(&field, value);
                }
            }
            Value::Message(message)
        }
        other => panic!("{} is a {other:?}, which no form had before", field.full_name()),
    }
}

#[test]
fn every_field_of_every_form_gets_from_the_wire_to_the_algebra_and_back() {
    for form in forms() {
        for chosen in 0..CHOICES {
            let name = form.name();
            let written: Wire = reflect::from_dynamic(&of_form(&form, filled(&form, chosen))).expect("a schedule");

            let mut violations = Violations::new();
            let spec = from_proto(&written, &mut violations);
            assert!(violations.is_empty(), "{name}: {violations}");
            assert_eq!(to_proto(&spec), written, "{name}");
            assert_eq!(to_proto(&canonical(spec.clone())), written, "{name} with its defaults written out");

            // Its values may be out of range; but the form and all of its fields are known.
            let mut violations = Violations::new();
            Schedule::try_new(&spec, Some(1000), &mut violations);
            let unknown = violations.iter().find(|violation| violation.field == name);
            assert_eq!(unknown, None, "no row of lrs_schedule knows {name} with these fields");
        }
    }
}

#[test]
fn every_form_without_fields_has_its_defaults_written_out_once_and_for_all() {
    for form in forms() {
        let Kind::Message(inner) = form.kind() else { continue };
        let empty = of_form(&form, Value::Message(DynamicMessage::new(inner)));
        let read = |wire: &Wire| canonical(from_proto(wire, &mut Violations::new()));

        let once = read(&reflect::from_dynamic(&empty).expect("a schedule"));

        // Those that are 0 are not on the wire, and are written out again.
        assert_eq!(read(&to_proto(&once)), once, "{}", form.name());
        let stored = serde_json::to_string(&once).expect("a schedule is JSON");
        assert_eq!(
            serde_json::from_str::<lrs_model::schedule::ScheduleSpec>(&stored).unwrap(),
            once,
            "{}",
            form.name()
        );
    }
}
