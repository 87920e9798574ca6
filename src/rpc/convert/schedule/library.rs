//! Schedulers in the words of another library.

use std::collections::HashMap;

use pbjson_types::{ListValue, Struct, Value as Wire, value::Kind};
use serde_json::{Map, Number, Value};

use crate::rpc::convert::{int64, whole};
use lrs_model::{
    MAX_STEP,
    library::LibraryCall,
    schedule::{LibrarySchedule, Unit},
    violation::Violations,
};
use lrs_proto as proto;

/// Whether a schedule is written in a library's words.
pub(super) fn is_named(schedule: &proto::Schedule) -> bool {
    let unset = proto::Schedule { form: schedule.form.clone(), ..Default::default() };
    *schedule != unset
}

/// A schedule that [`is_named`].
pub(super) fn from_proto(schedule: proto::Schedule, v: &mut Violations) -> LibrarySchedule {
    if schedule.form.is_some() {
        v.add("library", "is not allowed beside a form: a schedule is one or the other");
    }
    let unit = unit(schedule.unit, schedule.units_per_step, v);
    LibrarySchedule { call: call(schedule.library, schedule.scheduler, schedule.params, v), unit }
}

/// The same on the wire.
pub(super) fn to_proto(schedule: &LibrarySchedule) -> proto::Schedule {
    let (unit, units_per_step) = match schedule.unit {
        Unit::Step => (proto::Unit::Step, None),
        Unit::Epoch => (proto::Unit::Epoch, None),
        Unit::Sample(each) => (proto::Unit::Sample, Some(int64(each))),
        Unit::Token(each) => (proto::Unit::Token, Some(int64(each))),
    };
    proto::Schedule {
        form: None,
        library: schedule.call.library.clone(),
        scheduler: schedule.call.scheduler.clone(),
        params: params_to_proto(&schedule.call),
        unit: unit.into(),
        units_per_step,
    }
}

/// The name of a library and what follows.
pub(crate) fn call(library: String, scheduler: String, params: Option<Struct>, v: &mut Violations) -> LibraryCall {
    for (field, name) in [("library", &library), ("scheduler", &scheduler)] {
        if name.is_empty() {
            v.add(field, "is required: `library` and `scheduler` go together, as in \"torch\" and \"StepLR\"");
        }
    }
    let params = params.map(|params| v.within("params", |v| object(params.fields, v))).unwrap_or_default();
    LibraryCall { library, scheduler, params }
}

/// The arguments of a call on the wire.
pub(crate) fn params_to_proto(call: &LibraryCall) -> Option<Struct> {
    (!call.params.is_empty()).then(|| object_to_proto(&call.params))
}

fn unit(unit: i32, units_per_step: Option<i64>, v: &mut Violations) -> Unit {
    let mut each = |name: &str| {
        if units_per_step.is_none() {
            v.add("units_per_step", format!("is required: how many {name}s a step takes"));
        }
        whole(v, "units_per_step", units_per_step.unwrap_or(1), 1, MAX_STEP)
    };
    let unit = match proto::Unit::try_from(unit) {
        Ok(proto::Unit::Sample) => return Unit::Sample(each("sample")),
        Ok(proto::Unit::Token) => return Unit::Token(each("token")),
        Ok(proto::Unit::Unspecified | proto::Unit::Step) => Unit::Step,
        Ok(proto::Unit::Epoch) => Unit::Epoch,
        Err(_) => {
            v.refuse("unit", unit, "UNIT_STEP, UNIT_EPOCH, UNIT_SAMPLE or UNIT_TOKEN");
            Unit::Step
        }
    };
    if units_per_step.is_some() {
        v.add("units_per_step", "is not allowed: it is for the units sample and token");
    }
    unit
}

pub(in crate::rpc::convert) fn object(fields: HashMap<String, Wire>, v: &mut Violations) -> Map<String, Value> {
    fields
        .into_iter()
        .map(|(name, wire)| {
            let value = v.within(&name, |v| value(wire, v));
            (name, value)
        })
        .collect()
}

/// A whole number becomes an integer, so that it reads as it was written.
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
        // Those of a call came from the wire, or are within its range.
        Value::Number(number) => Kind::NumberValue(number.as_f64().unwrap_or_default()),
        Value::Object(object) => Kind::StructValue(object_to_proto(object)),
        Value::Array(values) => Kind::ListValue(ListValue { values: values.iter().map(value_to_proto).collect() }),
    };
    Wire { kind: Some(kind) }
}
