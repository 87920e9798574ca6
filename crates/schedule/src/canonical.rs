//! A schedule with every default written out: how it is stored and shown.

use super::named;
use lrs_model::schedule::ScheduleSpec;

/// `schedule`, which has been checked, with the defaults of all named forms in it written out.
#[must_use]
pub fn canonical(mut schedule: ScheduleSpec) -> ScheduleSpec {
    write_out_defaults(&mut schedule);
    schedule
}

fn write_out_defaults(schedule: &mut ScheduleSpec) {
    if let ScheduleSpec::Named(form) = schedule {
        named::write_out_defaults(form, &write_out_defaults);
    } else {
        // Reading has written out those of the algebra.
        schedule.parts_mut().into_iter().for_each(write_out_defaults);
    }
}
