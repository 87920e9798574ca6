//! A schedule whose clock counts epochs, samples or tokens in place of the job's steps.

use super::{
    check,
    curve::{Curve, saturate},
    training::Training,
};
use lrs_model::{
    MAX_STEP,
    number::exact,
    schedule::{self as spec, Unit},
    violation::Violations,
};

/// `schedule` at `t * units / steps`, rounded down if only whole units count.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Pace<C> {
    pub(super) schedule: C,
    pub(super) units: u64, // at least 1
    pub(super) steps: u64, // at least 1
    pub(super) whole: bool,
}

/// Checks the two counts.
pub(super) fn check(spec: &spec::Pace, v: &mut Violations) {
    for (field, count) in [("units", spec.units), ("steps", spec.steps)] {
        check::that(field, exact(count), (1..=MAX_STEP).contains(&count), "1 to 2^53 - 1", v);
    }
}

/// How many units there are in how many steps: those that are written, or those of a unit that the job knows.
pub(super) fn clock(spec: &spec::Pace, training: Training, v: &mut Violations) -> (u64, u64) {
    let Some(unit) = spec.unit else { return (spec.units, spec.steps) };
    for (field, count) in [("units", spec.units), ("steps", spec.steps)] {
        if count != 1 {
            v.add(field, "is not allowed beside `unit`, which says it");
        }
    }
    let mut needs = |field: &str, known: Option<u64>| {
        known.filter(|count| (1..=MAX_STEP).contains(count)).unwrap_or_else(|| {
            v.add("unit", format_args!("needs the job's `{field}`"));
            1
        })
    };
    match unit {
        Unit::Step => (1, 1),
        Unit::Epoch => (1, needs("steps_per_epoch", training.steps_per_epoch)),
        Unit::Token => (needs("tokens_per_step", training.tokens_per_step), 1),
        Unit::Sample => {
            v.add("unit", "is not allowed to be UNIT_SAMPLE here: write the samples of a step as `units`");
            (1, 1)
        }
    }
}

impl<C: Curve> Pace<C> {
    pub(super) fn at(&self, t: f64, base: f64) -> f64 {
        self.schedule.at(self.time(t), base)
    }

    /// The time on the clock at `t`: exact if `t` is a whole number of steps and only whole units count.
    pub(super) fn time(&self, t: f64) -> f64 {
        if self.whole && t.fract() == 0.0 && t <= exact(MAX_STEP) {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole, and at most 2^53")]
            let step = t as u64;
            let units = u128::from(step) * u128::from(self.units) / u128::from(self.steps);
            #[expect(clippy::cast_precision_loss, reason = "exact up to 2^53, and rounded once past it")]
            return units as f64;
        }
        let time = saturate(t * exact(self.units) / exact(self.steps));
        if self.whole { time.floor() } else { time }
    }

    /// The first `t` at which the clock shows `time`, up to rounding.
    pub(super) fn step_of(&self, time: f64) -> f64 {
        saturate(time * exact(self.steps) / exact(self.units))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::Node;

    fn pace(units: u64, steps: u64, whole: bool) -> Pace<Node> {
        Pace { schedule: Node::BASE, units, steps, whole }
    }

    #[test]
    fn whole_units_are_counted_in_integers() {
        let epochs = pace(1, 49, true);
        for epoch in 0..200_u32 {
            assert!((epochs.time(f64::from(epoch * 49)) - f64::from(epoch)).abs() < f64::EPSILON);
            assert!((epochs.time(f64::from(epoch * 49 + 48)) - f64::from(epoch)).abs() < f64::EPSILON);
        }
    }

    #[test]
    fn a_unit_that_the_job_knows_is_the_clock_of_forms_without_a_length() {
        let training = Training { total_steps: Some(900), steps_per_epoch: Some(9), tokens_per_step: Some(1000) };
        let cosine = || spec::ScheduleSpec::named("cosine", serde_json::json!({}));
        let paced = |unit| spec::Pace { schedule: cosine(), unit: Some(unit), ..spec::Pace::default() };
        let compiled = |pace: spec::Pace, training: Training| {
            let mut wrong = Violations::new();
            let schedule = crate::Schedule::try_new(&spec::ScheduleSpec::Pace(Box::new(pace)), training, &mut wrong);
            schedule.ok_or_else(|| wrong.to_string())
        };
        let plain = crate::Schedule::try_new(&cosine(), training, &mut Violations::new()).unwrap();
        for unit in [Unit::Epoch, Unit::Token] {
            let schedule = compiled(paced(unit), training).unwrap();
            for step in [0, 1, 450, 899, 900, 5000] {
                assert!((schedule.value_at(step, 1.0) - plain.value_at(step, 1.0)).abs() < 1e-12, "step {step}");
            }
            let problem =
                compiled(paced(unit), Training { total_steps: Some(900), ..Training::default() }).unwrap_err();
            assert!(problem.starts_with("pace.unit: needs the job's"), "{problem}");
        }
        assert!(compiled(paced(Unit::Sample), training).is_err());
        assert!(compiled(spec::Pace { steps: 9, ..paced(Unit::Epoch) }, training).is_err());
    }

    #[test]
    fn samples_are_so_many_a_step() {
        assert_eq!(pace(256, 1, false).time(3.0).to_bits(), 768.0_f64.to_bits());
        assert_eq!(pace(256, 1, true).time(exact(MAX_STEP)).to_bits(), (exact(MAX_STEP) * 256.0).to_bits());
    }
}
