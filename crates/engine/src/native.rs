//! A spec as it is stored: as it was written, with its defaults; and in the algebra alone, from which rates are
//! computed.
//!
//! Named forms and other libraries' schedulers are translated once, when a job is registered or its spec changes. The
//! native form is stored beside the written one, so that a later release that translates better changes no job's curve.

use super::compiled::{companions, effective_schedule};
use lrs_control as control;
use lrs_model::{
    spec::{Group, Spec},
    violation::Violations,
};
use lrs_schedule as schedule;

/// `spec`, which has been checked, with the defaults of its schedules written out: how it is stored and shown.
#[must_use]
pub fn canonical(spec: Spec) -> Spec {
    let group = |group: Group| Group { schedule: group.schedule.map(schedule::canonical), ..group };
    Spec {
        schedule: schedule::canonical(spec.schedule),
        momentum_schedule: spec.momentum_schedule.map(schedule::canonical),
        weight_decay_schedule: spec.weight_decay_schedule.map(schedule::canonical),
        groups: spec.groups.into_iter().map(group).collect(),
        ..spec
    }
}

/// `spec`, which has been checked, with every schedule and controller in its native form.
#[must_use]
pub fn native(spec: &Spec) -> Spec {
    // Violations have been found where the spec was checked.
    let mut found = Violations::new();
    let mut expand = |schedule: &_| schedule::expand(schedule, spec, &mut found);
    let (momentum, weight_decay) = companions(&spec.schedule, spec);
    Spec {
        schedule: expand(&effective_schedule(spec)),
        momentum_schedule: spec.momentum_schedule.as_ref().or(momentum.as_ref()).map(&mut expand),
        weight_decay_schedule: spec.weight_decay_schedule.as_ref().or(weight_decay.as_ref()).map(&mut expand),
        groups: spec
            .groups
            .iter()
            .map(|group| Group { schedule: group.schedule.as_ref().map(&mut expand), ..group.clone() })
            .collect(),
        controllers: spec
            .controllers
            .iter()
            .map(|controller| control::expand(controller, spec.steps_per_epoch))
            .collect(),
        ..spec.clone()
    }
}
