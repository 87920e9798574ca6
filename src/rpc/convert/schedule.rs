//! Schedules, by way of plain values: no form is named here.

use super::plain;
use lrs_model::{schedule::ScheduleSpec, violation::Violations};
use lrs_proto as proto;

pub(in crate::rpc::convert) mod library;

/// A schedule as it is written. The engine checks what its form makes of the parameters.
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
/// If `schedule` neither came from the wire nor was checked, and has parameters that its message lacks.
#[must_use]
pub fn to_proto(schedule: &ScheduleSpec) -> proto::Schedule {
    let value = serde_json::to_value(schedule).expect("a schedule is JSON");
    plain::write(&value).expect("every parameter of a schedule is a field of its message")
}

#[cfg(test)]
mod tests;
