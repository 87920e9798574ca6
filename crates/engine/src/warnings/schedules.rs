//! Schedules that do not fit the training: seen on the curve itself, whatever words it was written in.

use lrs_model::{
    schedule::{ScheduleSpec, Unit},
    spec::Spec,
    violation::Violations,
};
use lrs_schedule::Schedule;
use serde_json::Value;

use crate::compiled::effective_schedule;

/// Steps at which a curve is looked at, beside its breakpoints.
const LOOKS: u64 = 64;
/// Of a training of fewer steps nothing is said.
const FEWEST: u64 = 10;

/// The curve of the job's schedule over the training, for the group with the highest base rate.
struct Curve {
    total: u64,
    /// Steps, rising from 0 to the last, and the rates there before any limit.
    points: Vec<(u64, f64)>,
}

impl Curve {
    /// `None` where the length of the training or the base rates are not known.
    fn of(spec: &Spec) -> Option<Self> {
        let total = spec.total_steps.filter(|total| *total >= FEWEST && spec.base_lr_from.is_none())?;
        let own = |group: &&lrs_model::spec::Group| group.schedule.is_none();
        let base_lrs = spec.groups.iter().filter(own).map(|group| group.base_lr);
        let base_lr = base_lrs.max_by(f64::total_cmp).filter(|base_lr| *base_lr > 0.0)?;
        let schedule = Schedule::try_new(&effective_schedule(spec), spec, &mut Violations::new())?;
        let mut steps = schedule.breakpoints(total - 1);
        steps.extend((0..LOOKS).map(|i| i * (total - 1) / LOOKS));
        steps.extend([total - 2, total - 1]);
        steps.sort_unstable();
        steps.dedup();
        let points = steps.into_iter().map(|step| (step, schedule.value_at(step, base_lr))).collect();
        Some(Self { total, points })
    }

    fn highest(&self) -> f64 {
        self.points.iter().map(|(_, rate)| *rate).fold(f64::NEG_INFINITY, f64::max)
    }

    fn last(&self) -> f64 {
        self.points.last().map_or(0.0, |(_, rate)| *rate)
    }

    /// The first step from which the rate stays as it is in the end.
    fn settled_at(&self) -> u64 {
        let same = |(_, rate): &&(u64, f64)| rate.to_bits() == self.last().to_bits();
        self.points.iter().rev().take_while(same).last().map_or(0, |(step, _)| *step)
    }
}

/// A warm-up that is longer than the training.
pub(super) fn rises_to_the_end(spec: &Spec, found: &mut Vec<String>) {
    let Some(curve) = Curve::of(spec) else { return };
    let never_falls = curve.points.windows(2).all(|pair| pair[0].1 <= pair[1].1);
    let [.., (_, before), (_, last)] = curve.points[..] else { return };
    if never_falls && before < last {
        found.push(format!(
            "schedule: the rate only rises, up to the last of {} steps: its warm-up may be longer than the training",
            curve.total
        ));
    }
}

/// A rate of 0 long before the end.
pub(super) fn is_zero_too_early(spec: &Spec, found: &mut Vec<String>) {
    let Some(curve) = Curve::of(spec).filter(|curve| curve.last() == 0.0) else { return };
    let (from, total) = (curve.settled_at(), curve.total);
    if total - from > (total / 10).max(2) {
        found.push(format!("schedule: the rate is 0 from step {from} of {total} on: the schedule may be too short"));
    }
}

/// A rate that has fallen for good before the training has properly begun, as with epochs that are read as steps.
pub(super) fn is_over_too_early(spec: &Spec, found: &mut Vec<String>) {
    let Some(curve) = Curve::of(spec).filter(|curve| curve.last() > 0.0) else { return };
    let (from, total) = (curve.settled_at(), curve.total);
    if from > 0 && from <= total / 20 && curve.last() <= 0.5 * curve.highest() {
        found.push(format!(
            "schedule: the rate has fallen for good by step {from} of {total}: its lengths may be in epochs, and read as steps"
        ));
    }
}

/// A milestone or a decay after the end.
pub(super) fn reaches_past_the_end(spec: &Spec, found: &mut Vec<String>) {
    let (Some(total), ScheduleSpec::Named(named)) = (spec.total_steps, &spec.schedule) else { return };
    let form = &named.form;
    let milestones = named.params.get("milestones").and_then(Value::as_array);
    let milestones = milestones.into_iter().flatten().filter_map(Value::as_u64);
    if let Some((i, milestone)) = milestones.enumerate().find(|(_, milestone)| *milestone >= total) {
        found.push(format!(
            "schedule.{form}.milestones[{i}] is {milestone}, and the training has {total} steps, so it is never reached"
        ));
    }
    let decay = named.params.get("decay_steps").and_then(Value::as_u64);
    if let Some(decay) = decay.filter(|decay| *decay > total) {
        found.push(format!(
            "schedule.{form}.decay_steps is {decay}, and the training has {total} steps, so the rate does not come down to \
             its end"
        ));
    }
}

/// Forms that do nothing, because what they are made of is not there: a warm-up of no steps, steps without a milestone.
pub(super) fn does_nothing(spec: &Spec, found: &mut Vec<String>) {
    let Ok(schedule) = serde_json::to_value(&spec.schedule) else { return };
    let groups = spec.groups.iter().enumerate().filter_map(|(i, group)| {
        let schedule = serde_json::to_value(group.schedule.as_ref()?).ok()?;
        Some((format!("groups[{i}].schedule"), schedule))
    });
    for (path, schedule) in std::iter::once(("schedule".to_owned(), schedule)).chain(groups) {
        look_into(&path, &schedule, found);
    }
}

fn look_into(path: &str, schedule: &Value, found: &mut Vec<String>) {
    match schedule {
        Value::Object(fields) => {
            for (name, value) in fields {
                let path = format!("{path}.{name}");
                let lacks =
                    |field: &str, none: &Value| value.is_object() && value.get(field).is_none_or(|is| is == none);
                if name == "warmup" && lacks("warmup_steps", &0.into()) {
                    found.push(format!("{path}.warmup_steps is 0, so there is no warm-up"));
                }
                if name == "multi_step" && lacks("milestones", &Value::Array(Vec::new())) {
                    found.push(format!("{path} has no milestones, so the rate never drops"));
                }
                look_into(&path, value, found);
            }
        }
        Value::Array(list) => list.iter().enumerate().for_each(|(i, value)| {
            look_into(&format!("{path}[{i}]"), value, found);
        }),
        _ => {}
    }
}

/// A schedule that is meant to change the rate, and changes nothing before the end.
pub(super) fn never_moves(spec: &Spec, found: &mut Vec<String>) {
    // What has been said of the schedule says why.
    let is_said = found.iter().any(|warning| warning.starts_with("schedule"));
    let is_plain = |schedule: &ScheduleSpec| matches!(schedule, ScheduleSpec::Base(_) | ScheduleSpec::Constant(_));
    let Some(curve) = Curve::of(spec).filter(|_| !is_said && !is_plain(&spec.schedule)) else { return };
    let native = lrs_schedule::expand(&spec.schedule, spec, &mut Violations::new());
    if !is_plain(&native) && curve.settled_at() == 0 {
        found.push(format!(
            "schedule: the rate is the same at all {} steps: what changes it may lie after the end",
            curve.total
        ));
    }
}

/// A library's scheduler that is given the number of epochs, and counts steps.
pub(super) fn counts_steps_for_epochs(spec: &Spec, found: &mut Vec<String>) {
    let (Some(total), Some(each), ScheduleSpec::Library(library)) =
        (spec.total_steps, spec.steps_per_epoch, &spec.schedule)
    else {
        return;
    };
    let epochs = total / each;
    let is_length = |name: &str| {
        let name = name.to_lowercase();
        ["t_max", "t_0", "t_initial"].contains(&&*name)
            || ["iters", "steps", "epochs", "size"].iter().any(|end| name.ends_with(end))
    };
    let mut numbers = library.call.params.iter().filter(|(name, _)| is_length(name));
    let same = numbers.find_map(|(name, value)| (value.as_u64()? == epochs).then_some(name));
    if let Some(name) = same.filter(|_| library.unit == Unit::Step && each > 1 && epochs > 1 && epochs < total) {
        found.push(format!(
            "schedule.params.{name} is {epochs}, the number of epochs, and counts steps: set unit: UNIT_EPOCH if epochs \
             are meant"
        ));
    }
}

/// A library's scheduler with rates of its own beside base rates that are others.
pub(super) fn has_rates_of_its_own(spec: &Spec, found: &mut Vec<String>) {
    let ScheduleSpec::Library(library) = &spec.schedule else { return };
    let [group] = &spec.groups[..] else { return };
    let own = library.call.params.get("initial_learning_rate").and_then(Value::as_f64);
    if let Some(own) = own.filter(|own| spec.base_lr_from.is_none() && own.to_bits() != group.base_lr.to_bits()) {
        found.push(format!(
            "schedule.params.initial_learning_rate is {own}, and the base_lr of group {:?} is {}: the scheduler's is \
             used",
            group.name, group.base_lr
        ));
    }
}

/// A group that learns nothing, as its base rate was left out.
pub(super) fn has_no_base_rate(spec: &Spec, found: &mut Vec<String>) {
    if spec.base_lr_from.is_some() {
        return;
    }
    for (i, group) in spec.groups.iter().enumerate().filter(|(_, group)| group.base_lr == 0.0) {
        let written = group.schedule.clone().unwrap_or_else(|| effective_schedule(spec).into_owned());
        let Some(schedule) = Schedule::try_new(&written, spec, &mut Violations::new()) else { continue };
        let last = spec.total_steps.unwrap_or(LOOKS).saturating_sub(1);
        let mut steps = schedule.breakpoints(last);
        steps.extend([0, last / 2, last]);
        if steps.into_iter().all(|step| schedule.value_at(step, 0.0) == 0.0) {
            found.push(format!(
                "groups[{i}].base_lr is 0 or was left out, so the rate of group {:?} is always 0",
                group.name
            ));
        }
    }
}

/// Limits that the rate never leaves.
pub(super) fn is_held_by_the_limits(spec: &Spec, found: &mut Vec<String>) {
    let Some(curve) = Curve::of(spec) else { return };
    let (limits, rates) = (spec.rate_limits, || curve.points.iter().map(|(_, rate)| *rate));
    if let Some(min) = limits.min_lr.filter(|min| rates().all(|rate| rate < *min)) {
        found.push(format!(
            "rate_limits.min_lr, {min}, is above every rate of the schedule, so the rate is always that"
        ));
    }
    if let Some(max) = limits.max_lr.filter(|max| rates().all(|rate| rate > *max)) {
        found.push(format!(
            "rate_limits.max_lr, {max}, is below every rate of the schedule, so the rate is always that"
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::super::{tests::group, warnings};
    use super::*;
    use lrs_model::spec::RateLimits;
    use serde_json::json;

    fn of(form: &str, params: serde_json::Value) -> Vec<String> {
        let schedule = ScheduleSpec::named(form, params);
        warnings(&Spec { schedule, groups: vec![group(0.1)], total_steps: Some(1000), ..Spec::default() })
    }

    #[test]
    fn usual_schedules_are_not_warned_of() {
        for (form, params) in [
            ("cosine", json!({})),
            ("linear", json!({})),
            ("one_cycle", json!({})),
            ("wsd", json!({"warmup_steps": 50, "decay_steps": 200})),
            ("multi_step", json!({"milestones": [300, 600]})),
            ("warmup", json!({"warmup_steps": 100, "schedule": {"cosine": {}}})),
            ("warmup", json!({"warmup_steps": 500})),
        ] {
            assert_eq!(of(form, params.clone()), [""; 0], "{form} {params}");
        }
    }

    #[test]
    fn a_warm_up_that_is_longer_than_the_training_is_named_in_any_words() {
        for warmup in [json!({"warmup_steps": 1000}), json!({"warmup_steps": 5000})] {
            let found = of("warmup", warmup);
            assert!(found[0].starts_with("schedule: the rate only rises, up to the last of 1000 steps"), "{found:?}");
        }
    }

    #[test]
    fn a_schedule_that_is_over_too_early_is_named() {
        let found = of("cosine", json!({"decay_steps": 100}));
        assert_eq!(found, ["schedule: the rate is 0 from step 100 of 1000 on: the schedule may be too short"]);
        let found = of("multi_step", json!({"milestones": [3, 6, 9]}));
        assert!(found[0].starts_with("schedule: the rate has fallen for good by step 9 of 1000"), "{found:?}");
    }

    #[test]
    fn what_lies_past_the_end_is_named() {
        let found = of("multi_step", json!({"milestones": [300, 1000]}));
        assert!(
            found[0].starts_with("schedule.multi_step.milestones[1] is 1000, and the training has 1000"),
            "{found:?}"
        );
        let found = of("cosine", json!({"decay_steps": 2000}));
        assert!(found[0].starts_with("schedule.cosine.decay_steps is 2000"), "{found:?}");
    }

    #[test]
    fn a_schedule_that_does_nothing_is_named() {
        for (form, params, says) in [
            (
                "warmup",
                json!({"schedule": {"cosine": {}}}),
                "schedule.warmup.warmup_steps is 0, so there is no warm-up",
            ),
            ("warmup", json!({"warmup_steps": 0}), "schedule.warmup.warmup_steps is 0, so there is no warm-up"),
            ("multi_step", json!({}), "schedule.multi_step has no milestones, so the rate never drops"),
            ("step", json!({"step_size": 5000}), "schedule: the rate is the same at all 1000 steps"),
            ("exponential", json!({"gamma": 1.0}), "schedule: the rate is the same at all 1000 steps"),
        ] {
            let found = of(form, params.clone());
            assert!(found.len() == 1 && found[0].starts_with(says), "{form} {params}: {found:?}");
        }
        let nested = of("warmup", json!({"warmup_steps": 10, "schedule": {"multi_step": {"milestones": []}}}));
        assert_eq!(nested, ["schedule.warmup.schedule.multi_step has no milestones, so the rate never drops"]);
    }

    #[test]
    fn a_librarys_scheduler_in_the_wrong_unit_or_at_other_rates_is_named() {
        let of = |library: &str, scheduler: &str, unit: &str, params: serde_json::Value| {
            let schedule =
                json!({"library": {"library": library, "scheduler": scheduler, "unit": unit, "params": params}});
            let schedule = serde_json::from_value(schedule).unwrap();
            let spec = Spec { schedule, groups: vec![group(0.1)], total_steps: Some(10_000), ..Spec::default() };
            warnings(&Spec { steps_per_epoch: Some(100), ..spec })
        };
        let found = of("torch", "CosineAnnealingLR", "step", json!({"T_max": 100}));
        assert!(
            found[0].starts_with("schedule.params.T_max is 100, the number of epochs, and counts steps"),
            "{found:?}"
        );
        assert_eq!(of("torch", "CosineAnnealingLR", "epoch", json!({"T_max": 100})), [""; 0]);
        assert_eq!(of("torch", "CosineAnnealingLR", "step", json!({"T_max": 10_000})), [""; 0]);
        let keras =
            |rate| of("keras", "CosineDecay", "step", json!({"initial_learning_rate": rate, "decay_steps": 10_000}));
        assert_eq!(keras(0.1), [""; 0]);
        assert!(keras(0.5)[0].starts_with("schedule.params.initial_learning_rate is 0.5, and the base_lr of group"));
    }

    #[test]
    fn a_group_without_a_base_rate_is_named() {
        let with = |schedule: ScheduleSpec| {
            warnings(&Spec { schedule, groups: vec![group(0.1), group(0.0)], ..Spec::default() })
        };
        let found = with(ScheduleSpec::Base(1.0));
        assert_eq!(found, ["groups[1].base_lr is 0 or was left out, so the rate of group \"default\" is always 0"]);
        assert_eq!(with(ScheduleSpec::Constant(0.1)), [""; 0]);
    }

    #[test]
    fn limits_that_are_always_in_force_are_named() {
        let of = |min_lr, max_lr| {
            let rate_limits = RateLimits { min_lr, max_lr };
            warnings(&Spec { groups: vec![group(0.1)], total_steps: Some(1000), rate_limits, ..Spec::default() })
        };
        assert!(of(Some(0.2), None)[0].starts_with("rate_limits.min_lr, 0.2, is above every rate"));
        assert!(of(None, Some(0.01))[0].starts_with("rate_limits.max_lr, 0.01, is below every rate"));
        assert_eq!(of(Some(0.1), Some(0.1)), [""; 0]);
    }
}
