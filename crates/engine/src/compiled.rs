//! A spec that has been checked: every schedule and controller ready to be evaluated.

use std::{borrow::Cow, collections::HashSet, sync::Arc};

use super::api::GroupRate;
use lrs_control as control;
use lrs_control::{Controller, Opening, Setting, threshold};
use lrs_model::{
    MAX_STEP,
    controller::ThresholdAction,
    name::{check_group, check_part},
    schedule::ScheduleSpec,
    spec::{Group, RateLimits, Spec},
    telemetry::{GRAD_NORM, LOSS, is_metric_name},
    violation::Violations,
};
use lrs_schedule::{MAX_NODES, Schedule, compat};

/// The most parameter groups of a job: layer-wise decay has some for each layer.
const MAX_GROUPS: usize = 1024;
/// The most rates that controllers may have told ahead of what they observe: a move a step, over the decision lag.
const MAX_RATES_AHEAD: u64 = 64 * 4096;

/// A checked spec. Immutable; shared by every reader of the job's rates.
#[derive(Debug)]
pub struct CompiledSpec {
    spec: Arc<Spec>,
    groups: Vec<CompiledGroup>,
    controllers: Vec<Controller>,
    opening: Option<Opening>,
}

#[derive(Debug)]
struct CompiledGroup {
    name: Arc<str>,
    learning_rate: Arc<Schedule>,
    momentum: Option<(Arc<Schedule>, f64)>,
    weight_decay: Option<(Arc<Schedule>, f64)>,
}

impl CompiledSpec {
    /// Checks a spec.
    ///
    /// # Errors
    /// Every violation, with paths that begin at the spec.
    pub fn try_new(spec: Spec) -> Result<Self, Violations> {
        let mut violations = Violations::new();
        let v = &mut violations;
        check_texts(&spec, v);
        check_numbers(&spec, v);
        check_groups(&spec.groups, v);

        let default = v.within("schedule", |v| compile(&effective_schedule(&spec), &spec, v));
        check_opening(&spec, v);
        let mut cycled = |field: &str, schedule: &Option<_>| {
            let schedule = schedule.as_ref()?;
            v.within(field, |v| Schedule::try_new(schedule, &spec, v)).map(Arc::new)
        };
        let momentum = cycled("momentum_schedule", &spec.momentum_schedule);
        let weight_decay = cycled("weight_decay_schedule", &spec.weight_decay_schedule);
        // A library's scheduler may bring its own; they count unless the spec names others.
        let coming = |of: fn(&Rates) -> &Option<Arc<Schedule>>| default.as_ref().and_then(|rates| of(rates).clone());
        let momentum = momentum.or_else(|| coming(|rates| &rates.momentum));
        let weight_decay = weight_decay.or_else(|| coming(|rates| &rates.weight_decay));

        let mut groups = Vec::with_capacity(spec.groups.len());
        for (i, group) in spec.groups.iter().enumerate() {
            v.within(format!("groups[{i}]"), |v| {
                let own = group.schedule.as_ref();
                let own = own.map(|schedule| v.within("schedule", |v| compile(schedule, &spec, v)));
                let rates = own.unwrap_or_else(|| default.clone())?;
                for (field, own, jobs) in [
                    ("momentum_schedule", &rates.momentum, &momentum),
                    ("weight_decay_schedule", &rates.weight_decay, &weight_decay),
                ] {
                    if own.is_some() && jobs.is_none() {
                        let problem = "sets this value too, which is the job's: name it as the job's schedule, or set";
                        v.add("schedule", format_args!("{problem} `{field}`"));
                    }
                }
                groups.push(CompiledGroup {
                    name: group.name.as_str().into(),
                    learning_rate: rates.learning_rate,
                    momentum: with_base(v, "base_momentum", momentum.as_ref(), group.base_momentum),
                    weight_decay: with_base(v, "base_weight_decay", weight_decay.as_ref(), group.base_weight_decay),
                });
                Some(())
            });
        }

        let setting = Setting::of(&spec);
        let controllers = spec.controllers.iter().enumerate().filter_map(|(i, controller)| {
            v.within(format!("controllers[{i}]"), |v| Controller::try_new(controller, &setting, v))
        });
        let mut controllers: Vec<_> = controllers.collect();
        let target = control::all(&spec).nth(spec.controllers.len());
        // What is wrong with an objective has been found.
        let target = target.and_then(|target| Controller::try_new(&target, &setting, &mut Violations::new()));
        controllers.extend(target);
        let moving = controllers.iter().filter(|controller| controller.moves_rates()).count();
        let setting_rates = controllers.iter().filter(|one| one.moves_rates() && !one.only_cools()).count();
        let opening = controllers.iter().find_map(Controller::opening);
        if opening.is_some() && setting_rates > 1 {
            let is_of_target = spec.objective.as_ref().is_some_and(|one| one.on_target == ThresholdAction::Cut);
            let field = if is_of_target { "objective.on_target" } else { "controllers" };
            let problem = "move the same rates: `auto` and `range_test` do so alone, with none beside but `noise_scale` \
                and thresholds whose action is not a cut";
            v.add(field, problem);
        }
        let ahead = spec.decision_lag.saturating_mul(groups.len() as u64);
        if moving > 0 && ahead > MAX_RATES_AHEAD {
            let allowed =
                format_args!("at most {} with {} groups", MAX_RATES_AHEAD / groups.len() as u64, groups.len());
            v.refuse("decision_lag", spec.decision_lag, allowed);
        }
        if moving > 0 && !groups.is_empty() && !groups.iter().any(|g| g.learning_rate.uses_base()) {
            v.add(
                "controllers",
                "have nothing to move: no schedule of this job uses `base`, which is what controllers change",
            );
        }
        violations.into_result(Self { spec: Arc::new(spec), groups, controllers, opening })
    }

    /// Checks a spec that comes from outside, with its size. A stored spec may be larger: an earlier release did not
    /// bound it.
    ///
    /// # Errors
    /// Every violation, with paths that begin at the spec.
    pub fn admit(spec: Spec) -> Result<Self, Violations> {
        let compiled = Self::try_new(spec)?;
        let parts = compiled.parts();
        let mut violations = Violations::new();
        if parts > MAX_NODES {
            let allowed = format_args!("at most {MAX_NODES} in all, named forms counted as they expand");
            violations.refuse("groups", format_args!("{parts} parts of schedules"), allowed);
        }
        violations.into_result(compiled)
    }

    /// How many parts the schedules have. A schedule that several groups share counts once.
    fn parts(&self) -> usize {
        let mut seen = HashSet::new();
        self.schedules().filter(|schedule| seen.insert(Arc::as_ptr(schedule))).map(|schedule| schedule.size()).sum()
    }

    /// Every schedule of every group.
    fn schedules(&self) -> impl Iterator<Item = &Arc<Schedule>> {
        self.groups.iter().flat_map(|group| {
            let others = [&group.momentum, &group.weight_decay].into_iter().flatten().map(|(schedule, _)| schedule);
            others.chain([&group.learning_rate])
        })
    }

    /// The spec as written.
    #[must_use]
    pub fn spec(&self) -> &Arc<Spec> {
        &self.spec
    }

    /// The controllers, in the order of the spec; the target of the objective is the last.
    #[must_use]
    pub fn controllers(&self) -> &[Controller] {
        &self.controllers
    }

    /// The base rates that a controller begins with, if it does not begin with the written ones.
    #[must_use]
    pub fn opening(&self) -> Option<&Opening> {
        self.opening.as_ref()
    }

    /// The values of every group when the schedule's clock shows `clock` and the base rates are `base_lrs`, before any
    /// override or limit. With `is_flat` the learning rates are the base rates themselves.
    pub fn rates_at<'a>(
        &'a self,
        clock: u64,
        base_lrs: impl Iterator<Item = f64> + 'a,
        is_flat: bool,
    ) -> impl Iterator<Item = GroupRate> + 'a {
        self.groups.iter().zip(base_lrs).map(move |(group, base_lr)| GroupRate {
            group: group.name.clone(),
            learning_rate: if is_flat { base_lr } else { group.learning_rate.value_at(clock, base_lr) },
            momentum: group.momentum.as_ref().map(|(schedule, base)| schedule.value_at(clock, *base)),
            weight_decay: group.weight_decay.as_ref().map(|(schedule, base)| schedule.value_at(clock, *base)),
        })
    }

    /// Steps in `0..=end` at and before every boundary of any of the schedules, rising.
    #[must_use]
    pub fn breakpoints(&self, end: u64) -> Vec<u64> {
        let mut steps: Vec<u64> = self.schedules().flat_map(|schedule| schedule.breakpoints(end)).collect();
        steps.sort_unstable();
        steps.dedup();
        steps
    }
}

/// Keeps a learning rate within the job's limits.
#[must_use]
pub fn limited(limits: &RateLimits, learning_rate: f64) -> f64 {
    let at_least = limits.min_lr.map_or(learning_rate, |min| learning_rate.max(min));
    limits.max_lr.map_or(at_least, |max| at_least.min(max))
}

/// Whether two specs give the same rates on the same telemetry.
#[must_use]
pub fn same_rates(a: &Spec, b: &Spec) -> bool {
    let rates_only = |spec: &Spec| Spec {
        display_name: String::new(),
        // A controller may steer by the objective, and its target is a controller.
        objective: spec.objective.clone().filter(|one| one.target.is_some() || !spec.controllers.is_empty()),
        base_lr_from: None,
        experiment: String::new(),
        arm: None,
        seed: None,
        labels: std::collections::BTreeMap::new(),
        commit_ahead: 0,
        ..spec.clone()
    };
    rates_only(a) == rates_only(b)
}

/// What one schedule of a spec makes of a group.
#[derive(Clone)]
struct Rates {
    learning_rate: Arc<Schedule>,
    momentum: Option<Arc<Schedule>>,
    weight_decay: Option<Arc<Schedule>>,
}

/// Compiles a schedule. A library's scheduler may set momentum and weight decay too.
fn compile(schedule: &ScheduleSpec, spec: &Spec, v: &mut Violations) -> Option<Rates> {
    let learning_rate = Arc::new(Schedule::try_new(schedule, spec, v)?);
    let (momentum, weight_decay) = companions(schedule, spec);
    let mut compiled = |schedule: Option<ScheduleSpec>| Schedule::try_new(&schedule?, spec, v).map(Arc::new);
    Some(Rates { learning_rate, momentum: compiled(momentum), weight_decay: compiled(weight_decay) })
}

/// The momentum and the weight decay that come with a library's scheduler, in the algebra.
#[must_use]
pub fn companions(schedule: &ScheduleSpec, spec: &Spec) -> (Option<ScheduleSpec>, Option<ScheduleSpec>) {
    let ScheduleSpec::Library(named) = schedule else { return (None, None) };
    // Violations have been noted where its rate was compiled.
    let translation = compat::translate(named, spec.into(), &mut Violations::new());
    translation.map_or((None, None), |translation| (translation.momentum, translation.weight_decay))
}

/// The job's schedule: the written one or, if there is none, the warm-up that a library's controller begins with.
#[must_use]
pub fn effective_schedule(spec: &Spec) -> Cow<'_, ScheduleSpec> {
    match opening(spec) {
        Some((_, opening)) if spec.schedule == Spec::default().schedule => Cow::Owned(opening),
        _ => Cow::Borrowed(&spec.schedule),
    }
}

/// The first controller that begins with a warm-up, and that warm-up.
fn opening(spec: &Spec) -> Option<(usize, ScheduleSpec)> {
    let opening = |controller| control::compat::opening(controller, spec.steps_per_epoch);
    spec.controllers.iter().enumerate().find_map(|(i, controller)| Some((i, opening(controller)?)))
}

fn check_opening(spec: &Spec, v: &mut Violations) {
    if let Some((i, _)) = opening(spec)
        && spec.schedule != Spec::default().schedule
    {
        v.add(
            format!("controllers[{i}].params"),
            "begin with a warm-up, which is a schedule of its own: leave it out, and put it into the job's `schedule`",
        );
    }
}

fn with_base(
    v: &mut Violations,
    field: &str,
    schedule: Option<&Arc<Schedule>>,
    base: Option<f64>,
) -> Option<(Arc<Schedule>, f64)> {
    let schedule = schedule?;
    if base.is_none() && schedule.uses_base() {
        v.add(field, "is required: the schedule of this value uses `base`");
    }
    Some((schedule.clone(), base.unwrap_or(0.0)))
}

fn check_texts(spec: &Spec, v: &mut Violations) {
    check_length(v, "display_name", &spec.display_name, 200);
    check_length(v, "experiment", &spec.experiment, 200);
    if spec.labels.len() > 64 {
        v.refuse("labels", format_args!("{} labels", spec.labels.len()), "at most 64");
    }
    for (key, value) in &spec.labels {
        if let Err(error) = check_part(key) {
            v.add(format_args!("labels[{key:?}]"), error);
        }
        check_length(v, &format!("labels[{key:?}]"), value, 200);
    }
    if let Some(objective) = &spec.objective {
        v.within("objective", |v| {
            if !is_metric_name(&objective.metric) {
                let allowed = format!("1 to 100 characters without spaces, such as {LOSS}, {GRAD_NORM} or val_loss");
                v.refuse("metric", format_args!("{:?}", objective.metric), allowed);
            }
            if objective.target.is_some_and(|target| !target.is_finite()) {
                v.refuse("target", objective.target.unwrap_or_default(), "finite");
            }
            threshold::check_objective(objective, spec.total_steps, v);
        });
    }
}

fn check_length(v: &mut Violations, field: &str, text: &str, most: usize) {
    let length = text.chars().count();
    if length > most {
        v.refuse(field, format_args!("a text of {length} characters"), format_args!("at most {most} characters"));
    }
    if text.chars().any(char::is_control) {
        v.refuse(field, format_args!("{text:?}"), "free of control characters");
    }
}

fn check_numbers(spec: &Spec, v: &mut Violations) {
    let mut range = |field: &str, value: u64, allowed: std::ops::RangeInclusive<u64>| {
        if !allowed.contains(&value) {
            v.refuse(field, value, format_args!("from {} to {}", allowed.start(), allowed.end()));
        }
    };
    range("total_steps", spec.total_steps.unwrap_or(1), 1..=MAX_STEP);
    range("steps_per_epoch", spec.steps_per_epoch.unwrap_or(1), 1..=MAX_STEP);
    range("tokens_per_step", spec.tokens_per_step.unwrap_or(1), 1..=MAX_STEP);
    range("decision_lag", spec.decision_lag, 1..=4096);
    range("commit_ahead", spec.commit_ahead, 1..=1024);
    range("reporting_ranks", spec.reporting_ranks.into(), 1..=65_536);
    if spec.controllers.len() > 8 {
        v.refuse("controllers", format_args!("{} controllers", spec.controllers.len()), "at most 8");
    }
    let RateLimits { min_lr, max_lr } = spec.rate_limits;
    v.within("rate_limits", |v| {
        if min_lr.is_some_and(|min| !min.is_finite() || min < 0.0) {
            v.refuse("min_lr", min_lr.unwrap_or_default(), "finite and at least 0");
        }
        if max_lr.is_some_and(|max| !max.is_finite() || max < min_lr.unwrap_or(0.0)) {
            v.refuse("max_lr", max_lr.unwrap_or_default(), "finite, at least 0 and at least min_lr");
        }
    });
}

fn check_groups(groups: &[Group], v: &mut Violations) {
    if groups.is_empty() || groups.len() > MAX_GROUPS {
        let allowed = format_args!("from 1 to {MAX_GROUPS}, each with a base_lr");
        v.refuse("groups", format_args!("{} groups", groups.len()), allowed);
        return;
    }
    let mut names = HashSet::new();
    for (i, group) in groups.iter().enumerate() {
        v.within(format!("groups[{i}]"), |v| {
            if let Err(error) = check_group(&group.name) {
                v.add("name", error);
            } else if !names.insert(&group.name) {
                v.refuse("name", format_args!("{:?} again", group.name), "different in each group");
            }
            if !group.base_lr.is_finite() || group.base_lr < 0.0 {
                v.refuse("base_lr", group.base_lr, "finite and at least 0");
            }
            for (field, base) in
                [("base_momentum", group.base_momentum), ("base_weight_decay", group.base_weight_decay)]
            {
                if let Some(base) = base.filter(|base| !base.is_finite()) {
                    v.refuse(field, base, "finite");
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// A spec with so many groups, each with 157 parts of its own.
    fn with_stairs(groups: usize) -> Spec {
        let stairs =
            ScheduleSpec::named("multi_step", json!({"milestones": (1..=155).collect::<Vec<_>>(), "gamma": 0.999}));
        let group = |number| Group {
            name: format!("g{number}"),
            base_lr: 0.1,
            base_momentum: None,
            base_weight_decay: None,
            schedule: Some(stairs.clone()),
        };
        Spec { groups: (0..groups).map(group).collect(), ..Spec::default() }
    }

    #[test]
    fn the_schedules_of_a_new_spec_are_bounded_in_all_and_those_of_a_stored_one_are_not() {
        assert!(CompiledSpec::admit(with_stairs(63)).is_ok());
        let wrong = CompiledSpec::admit(with_stairs(64)).unwrap_err();
        assert_eq!(
            wrong.to_string(),
            "groups: 10048 parts of schedules is not allowed: must be at most 10000 in all, named forms counted as they expand"
        );
        assert!(CompiledSpec::try_new(with_stairs(64)).is_ok());
    }

    #[test]
    fn a_schedule_that_groups_share_counts_once() {
        let Spec { mut groups, .. } = with_stairs(64);
        let schedule = groups.iter_mut().filter_map(|group| group.schedule.take()).last();
        let spec = Spec { groups, schedule: schedule.unwrap(), ..Spec::default() };
        assert_eq!(CompiledSpec::admit(spec).unwrap().parts(), 157);
    }
}
