//! Schedules, converted by way of plain values: this file names no form.

use super::plain;
use lrs_model::{schedule::ScheduleSpec, violation::Violations};
use lrs_proto as proto;

pub(in crate::rpc::convert) mod library;

/// A schedule as written. The engine checks the parameters of its form.
pub fn from_proto(schedule: &proto::Schedule, v: &mut Violations) -> ScheduleSpec {
    let value = plain::read(schedule, v);
    serde_json::from_value(value).unwrap_or_else(|problem| {
        v.add("", problem);
        ScheduleSpec::Missing
    })
}

/// A schedule on the wire.
///
/// # Panics
/// If `schedule` has parameters that its message lacks; it then neither came from the wire nor was checked.
#[must_use]
pub fn to_proto(schedule: &ScheduleSpec) -> proto::Schedule {
    let value = serde_json::to_value(schedule).expect("a schedule is JSON");
    plain::write(&value).expect("every parameter of a schedule is a field of its message")
}

#[cfg(test)]
mod tests;
