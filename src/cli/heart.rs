//! The computations of `preview`, `replay` and `export`, in this process: the only file of the client commands that
//! uses the pure rooms.

use crate::rpc::convert;
use lrs_engine as engine;
use lrs_engine::{Curve, CurveSteps, Error};
use lrs_model::{
    decision::{Author, Decision, Effect, RateOverride},
    job::AttemptRow,
    library::unknown,
    schedule::ScheduleSpec,
    spec::Spec,
    telemetry::Sample,
    violation::Violations,
};
use lrs_proto as proto;
use lrs_schedule::compat;

/// The spec in `message`.
///
/// # Errors
/// All violations, with fields such as `groups[0].base_lr`.
pub fn spec(message: proto::JobSpec) -> Result<Spec, Violations> {
    let mut violations = Violations::new();
    let spec = convert::spec::from_proto(message, &mut violations);
    violations.into_result(spec)
}

/// The override in `message`.
///
/// # Errors
/// All violations.
pub fn rate_override(message: proto::RateOverride) -> Result<RateOverride, Violations> {
    let mut violations = Violations::new();
    let order = convert::decision::override_from_proto(message, &mut violations);
    violations.into_result(order)
}

/// The curve of `spec` without its controllers.
///
/// # Errors
/// If the spec is wrong, or there are too many steps.
pub fn curve(spec: &Spec, steps: CurveSteps) -> Result<Curve, Error> {
    engine::preview::preview(spec, steps)
}

/// What `--library` is for, with all libraries.
#[must_use]
pub fn libraries() -> String {
    let names: Vec<_> = compat::libraries().map(|(name, _)| name).collect();
    format!("Show a scheduler of this library, beside the files or without any: {}", names.join(", "))
}

/// `spec` with every learning rate schedule written as a scheduler of `library` that gives the same rates.
///
/// # Errors
/// If the library is unknown, or has no scheduler for one of the schedules.
pub fn in_words_of(spec: &Spec, library: &str) -> Result<proto::JobSpec, Violations> {
    let mut violations = Violations::new();
    let libraries: Vec<_> = compat::libraries().map(|(name, _)| name).collect();
    if !libraries.contains(&library) {
        violations.add("library", unknown("library", library, &libraries));
        return Err(violations);
    }
    let mut said = spec.clone();
    let groups = said.groups.iter_mut().enumerate();
    let schedules = groups.filter_map(|(i, group)| Some((format!("groups[{i}].schedule"), group.schedule.as_mut()?)));
    for (field, schedule) in std::iter::once(("schedule".to_owned(), &mut said.schedule)).chain(schedules) {
        if matches!(schedule, ScheduleSpec::Library(form) if form.call.library == library) {
            continue;
        }
        if let Some(words) = compat::in_words_of(schedule, library) {
            *schedule = ScheduleSpec::Library(words);
        } else {
            let known: Vec<_> = compat::libraries_with_words().collect();
            let problem = format_args!(
                "has no single scheduler that does the same: only named forms have one, with a length of their own \
                 (such as decay_steps) where they end, in the words of {}",
                known.join(" and ")
            );
            violations.add(field, problem);
        }
    }
    violations.into_result(convert::spec::to_proto(&said))
}

/// The message of a curve.
#[must_use]
pub fn curve_message(curve: &Curve) -> proto::PreviewScheduleResponse {
    convert::directive::curve_to_proto(curve)
}

/// The result of a replay.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Recomputed {
    /// The controllers' decisions, in order.
    pub decisions: Vec<Decision>,
    /// The steps at which the trainer used another rate for the first group than the directive's.
    pub strayed: Vec<Strayed>,
}

/// A step that was trained with another rate than the directive's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Strayed {
    /// The step.
    pub step: u64,
    /// The rate that the trainer reported.
    pub used_lr: f64,
    /// The rate of the directive.
    pub directive_lr: f64,
}

/// The decisions and rates of a run's own spec and of another spec on the same record.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Counterfactual {
    /// The decisions under its own spec, in order.
    pub own: Vec<Decision>,
    /// The decisions under the other one.
    pub other: Vec<Decision>,
    /// The first step whose rates differ. At later steps, the loss would have been different under the other spec.
    pub first_difference: Option<u64>,
    /// The first group's rates at some steps, those of the first difference and the last record among them.
    pub rates: Vec<RatePair>,
    /// How many of people's decisions are left out of the other spec's replay.
    pub left_out: usize,
}

/// A step's rate under two specs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RatePair {
    /// The step.
    pub step: u64,
    /// Under the run's own spec.
    pub own: f64,
    /// Under the other.
    pub other: f64,
}

/// Replays `records` under a run's own spec and another one (`specs`, in this order), with the rates at about `steps`
/// steps.
///
/// `decisions` are the recorded ones. Of people's decisions, pauses apply to both specs, all others to the run's own
/// spec only.
///
/// # Errors
/// If a spec, or a decision that changed it, is invalid.
pub fn counterfactual(
    specs: [&Spec; 2],
    attempts: &[AttemptRow],
    decisions: &[Decision],
    records: &[Sample],
    attempt: u32,
    steps: usize,
) -> Result<Counterfactual, Violations> {
    let people: Vec<Decision> =
        decisions.iter().filter(|decision| matches!(decision.author, Author::Person(_))).cloned().collect();
    let is_pause = |decision: &&Decision| matches!(decision.effect, Effect::Pause | Effect::Resume);
    let pauses: Vec<Decision> = people.iter().filter(is_pause).cloned().collect();
    let replay =
        |spec, people: &[Decision]| engine::replay::replay(spec, attempts, people, records.iter().cloned(), attempt);
    let (own, other) = (replay(specs[0], &people)?, replay(specs[1], &pauses)?);
    let rates = |step| {
        let bits = |replay: &engine::replay::Replay| -> Vec<u64> {
            replay.directive_at(step).rates.iter().map(|rate| rate.learning_rate.to_bits()).collect()
        };
        (bits(&own), bits(&other))
    };
    let differs = |record: &&Sample| {
        let (own, other) = rates(record.step);
        own != other
    };
    let first_difference = records.iter().find(differs).map(|record| record.step);
    let every = records.len().div_ceil(steps.max(1)).max(1);
    let mut shown: Vec<u64> = records.iter().step_by(every).chain(records.last()).map(|record| record.step).collect();
    shown.extend(first_difference);
    shown.sort_unstable();
    shown.dedup();
    let first = |replay: &engine::replay::Replay, step| {
        replay.directive_at(step).rates.first().map_or(f64::NAN, |rate| rate.learning_rate)
    };
    let pair = |step| RatePair { step, own: first(&own, step), other: first(&other, step) };
    Ok(Counterfactual {
        rates: shown.into_iter().map(pair).collect(),
        first_difference,
        left_out: people.len() - pauses.len(),
        own: own.decisions,
        other: other.decisions,
    })
}

/// The message of `spec`.
#[must_use]
pub fn message(spec: &Spec) -> proto::JobSpec {
    convert::spec::to_proto(spec)
}

/// Runs the job again over `records`, the telemetry in the history of `attempt`.
///
/// # Errors
/// If the spec, or what became of it, is wrong.
pub fn replay(
    initial_spec: &Spec,
    attempts: &[AttemptRow],
    people: &[Decision],
    records: &[Sample],
    attempt: u32,
) -> Result<Recomputed, Violations> {
    let replay = engine::replay::replay(initial_spec, attempts, people, records.iter().cloned(), attempt)?;
    let strayed = records.iter().filter_map(|record| {
        let used_lr = record.learning_rate?;
        let directive_lr = replay.directive_at(record.step).rates.first()?.learning_rate;
        (used_lr.to_bits() != directive_lr.to_bits()).then_some(Strayed { step: record.step, used_lr, directive_lr })
    });
    Ok(Recomputed { strayed: strayed.collect(), decisions: replay.decisions })
}

/// A job's directives, recomputed from its telemetry record by record, for histories that do not fit into memory.
#[derive(Debug)]
pub struct Rates(engine::replay::Replayer);

impl Rates {
    /// The rates of the history of `attempt`, before its first record.
    ///
    /// # Errors
    /// If the spec, or what became of it, is wrong.
    pub fn try_new(
        initial_spec: &Spec,
        attempts: &[AttemptRow],
        people: &[Decision],
        attempt: u32,
    ) -> Result<Self, Violations> {
        engine::replay::Replayer::try_new(initial_spec, attempts, people, attempt).map(Self)
    }

    /// Takes the next record, and returns the directive for its step.
    pub fn take(&mut self, record: &Sample) -> proto::Directive {
        self.0.take(record);
        self.at(record.step)
    }

    /// The directive for a later step, as far as it follows from the records taken.
    #[must_use]
    pub fn at(&self, step: u64) -> proto::Directive {
        convert::directive::to_proto(&self.0.timeline().directive_at(step), true)
    }
}

/// The recorded decisions by controllers that belong to the history of `attempt`, in the order of a replay.
#[must_use]
pub fn recorded<'a>(decisions: &'a [Decision], attempts: &[AttemptRow], attempt: u32) -> Vec<&'a Decision> {
    engine::replay::recorded(decisions, attempts, attempt)
}

/// Whether two decisions are the same, apart from the time they were stored.
#[must_use]
pub fn same_decision(a: &Decision, b: &Decision) -> bool {
    engine::replay::same_decision(a, b)
}
