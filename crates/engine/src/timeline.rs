//! The rate as a function of the step: people's decisions and what controllers told, laid out over the steps.
//!
//! A [`Timeline`] is immutable and shared: the shard that owns a job publishes it, every reader evaluates it.

mod segments;

use std::{ops::Range, sync::Arc};

use super::{
    api::{Directive, Source},
    compiled::{CompiledSpec, limited},
    lineage::Standing,
    steering::{BaseMove, Steering},
};
use lrs_control as control;
use lrs_control::{Controller, shape};
use lrs_model::{
    decision::{Decision, DecisionId, Effect, OverrideSetting, RateShape, Topic},
    spec::Spec,
    violation::Violations,
};
use segments::{Kind, Ordered, Segment, lay_out};

/// What is in force from step to step of one attempt.
#[derive(Clone, Debug)]
pub struct Timeline {
    segments: Arc<[Segment]>,
    /// Stretches of steps under specs with controllers that steer, apart from each other.
    controlled: Arc<[Range<u64>]>,
    steering: Arc<Steering>,
}

/// The base rates at a step, and how they run there.
struct Bases<'a> {
    moved: Option<&'a BaseMove>,
    segment: &'a Segment,
    /// How the base rates run, and from which step on.
    shape: RateShape,
    since: u64,
}

impl<'a> Bases<'a> {
    fn new(segment: &'a Segment, moved: Option<&'a BaseMove>) -> Self {
        let counts = |moved: &&BaseMove| segment.base_since.iter().any(|&since| moved.effective_step >= since);
        let (shape, since) = match (moved.filter(counts), segment.spec.opening()) {
            (Some(moved), _) => (moved.shape, moved.effective_step),
            (None, Some(opening)) => (opening.shape, segment.opened_at),
            (None, None) => (RateShape::default(), 0),
        };
        Self { moved, segment, shape, since }
    }

    fn iter(&self) -> impl Iterator<Item = f64> {
        let (segment, moved) = (self.segment, self.moved);
        segment.spec.spec().groups.iter().enumerate().map(move |(i, group)| match (moved, segment.spec.opening()) {
            (Some(moved), _) if moved.effective_step >= segment.base_since[i] => moved.base_lrs[i],
            // A group that was added later begins with its own rate.
            (_, Some(opening)) if segment.base_since[i] <= segment.opened_at => opening.base_lrs[i],
            _ => group.base_lr,
        })
    }
}

impl Timeline {
    /// Lays out people's `decisions` of a job's first attempt. See [`Timeline::of_attempt`].
    ///
    /// # Errors
    /// If a spec is wrong.
    pub fn try_new<'a>(
        initial_spec: &Spec,
        decisions: impl IntoIterator<Item = &'a Decision>,
    ) -> Result<Self, Violations> {
        Self::of_attempt(initial_spec, decisions, &Standing::new(&[], u32::MAX))
    }

    /// Lays out people's `decisions` over the history of an attempt. They come in any order; others are passed over.
    ///
    /// # Errors
    /// If a spec is wrong.
    pub fn of_attempt<'a>(
        initial_spec: &Spec,
        decisions: impl IntoIterator<Item = &'a Decision>,
        standing: &Standing,
    ) -> Result<Self, Violations> {
        let mut orders =
            vec![Ordered { step: 0, seq: 0, kind: Kind::Spec(Arc::new(CompiledSpec::try_new(initial_spec.clone())?)) }];
        for decision in decisions {
            let DecisionId::Person { seq } = decision.id else { continue };
            let Some(effective_step) = standing.effective_step(decision) else { continue };
            let kind = match &decision.effect {
                Effect::Override(order) => Kind::Override(Some(Arc::new(order.clone()))),
                Effect::ClearOverride => Kind::Override(None),
                Effect::Pause => Kind::Paused(true),
                Effect::Resume => Kind::Paused(false),
                Effect::Spec(spec) => Kind::Spec(Arc::new(CompiledSpec::try_new((**spec).clone())?)),
                Effect::Advice(Topic::Stop) => Kind::Stop(Some(decision.reason.as_str().into())),
                Effect::WithdrawAdvice(Topic::Stop) => Kind::Stop(None),
                Effect::BaseRates(_) | Effect::Advice(_) | Effect::WithdrawAdvice(_) => continue,
            };
            if let Kind::Override(Some(order)) = &kind
                && let Some(end) = order.end_step.filter(|&end| end > effective_step)
            {
                orders.push(Ordered { step: end, seq, kind: Kind::OverrideEnds });
            }
            orders.push(Ordered { step: effective_step, seq, kind });
        }
        orders.sort_by_key(|order| (order.step, order.seq));
        let segments: Arc<[Segment]> = lay_out(orders).into();
        let mut controlled: Vec<Range<u64>> = Vec::new();
        let ends = segments.iter().skip(1).map(|next| next.start).chain([u64::MAX]);
        let is_steered = |segment: &Segment| segment.spec.controllers().iter().any(Controller::steers);
        for (segment, end) in segments.iter().zip(ends).filter(|(segment, _)| is_steered(segment)) {
            match controlled.last_mut().filter(|last| last.end == segment.start) {
                Some(last) => last.end = end,
                None => controlled.push(segment.start..end),
            }
        }
        Ok(Self { segments, controlled: controlled.into(), steering: Arc::default() })
    }

    /// The same decisions by people with other steering.
    #[must_use]
    pub fn with_steering(&self, steering: Arc<Steering>) -> Self {
        Self { steering, ..self.clone() }
    }

    /// What the controllers told.
    #[must_use]
    pub fn steering(&self) -> &Arc<Steering> {
        &self.steering
    }

    /// The steering, to be added to. Nothing that is added may take effect before what is there.
    pub fn steer(&mut self) -> &mut Steering {
        Arc::make_mut(&mut self.steering)
    }

    /// The spec in force at `step`.
    #[must_use]
    pub fn spec_at(&self, step: u64) -> &Arc<CompiledSpec> {
        &self.segment(step).spec
    }

    /// The spec that will be in force in the end.
    #[must_use]
    pub fn last_spec(&self) -> &Arc<CompiledSpec> {
        &self.segments[self.segments.len() - 1].spec
    }

    /// Whether the schedule's clock stands still at `step`.
    #[must_use]
    pub fn is_paused_at(&self, step: u64) -> bool {
        self.segment(step).paused_at.is_some()
    }

    /// Whether any spec has controllers.
    #[must_use]
    pub fn has_controllers(&self) -> bool {
        self.segments.iter().any(|segment| !segment.spec.controllers().is_empty())
    }

    /// Whether anything that the trainer is told depends on telemetry.
    #[must_use]
    pub fn needs_telemetry(&self) -> bool {
        !self.controlled.is_empty()
    }

    /// Rates below the answer are determined once every record has been taken that takes effect below `taken_end`.
    #[must_use]
    pub fn determined_end(&self, taken_end: u64) -> u64 {
        // Outside of these stretches nothing depends on telemetry.
        let next = self.controlled.partition_point(|stretch| stretch.end <= taken_end);
        self.controlled.get(next).map_or(u64::MAX, |stretch| taken_end.max(stretch.start))
    }

    /// The base rates in force at `step`, one a group, before their shape is applied.
    #[must_use]
    pub fn base_lrs_at(&self, step: u64) -> Vec<f64> {
        Bases::new(self.segment(step), self.steering.move_at(step)).iter().collect()
    }

    /// How the base rates in force at `step` run, and since which step.
    #[must_use]
    pub fn shape_at(&self, step: u64) -> (RateShape, u64) {
        let bases = Bases::new(self.segment(step), self.steering.move_at(step));
        (bases.shape, bases.since)
    }

    /// The first step of the controllers in force at `step` that have an opening.
    #[must_use]
    pub fn opened_at(&self, step: u64) -> u64 {
        self.segment(step).opened_at
    }

    /// The directives of this step and of all later ones follow from what is in memory. Of earlier steps the moves have
    /// been forgotten: their directives are [`Timeline::directive_with`] the move on record.
    #[must_use]
    pub fn known_from(&self) -> u64 {
        self.steering.known_from()
    }

    /// What the trainer is told for `step`, as far as is known now. Not for steps before [`Timeline::known_from`].
    #[must_use]
    pub fn directive_at(&self, step: u64) -> Directive {
        self.directive_with(step, self.steering.move_at(step))
    }

    /// What the trainer is told for `step` with `moved` as the newest move in force there.
    #[must_use]
    pub fn directive_with(&self, step: u64, moved: Option<&BaseMove>) -> Directive {
        let segment = self.segment(step);
        // While the clock stands still, so do the rates.
        let at = segment.paused_at.unwrap_or(step);
        let clock = segment.clock + at.saturating_sub(segment.start);
        let spec = segment.spec.spec();
        let mut source = if segment.paused_at.is_some() { Source::Pause } else { Source::Schedule };
        let bases = Bases::new(segment, moved);
        let factor = shape::factor_at(&bases.shape, bases.since, at, spec.total_steps);
        let base_lrs = bases.iter().map(|base_lr| base_lr * factor);
        let rates = segment.spec.rates_at(clock, base_lrs, bases.shape.is_flat).map(|mut rate| {
            if let Some(order) = &segment.rate_override {
                match &order.setting {
                    OverrideSetting::Factor(factor) => {
                        source = Source::Override;
                        rate.learning_rate = (rate.learning_rate * factor).clamp(f64::MIN, f64::MAX);
                    }
                    OverrideSetting::Fixed(rates) => {
                        if let Some(fixed) = rates.get(&*rate.group) {
                            source = Source::Override;
                            rate.learning_rate = *fixed;
                        }
                    }
                }
            }
            rate.learning_rate = limited(&spec.rate_limits, rate.learning_rate);
            rate
        });
        let rates = rates.collect();
        let mut told = self.steering.at(step);
        let lasting = || self.steering.lasting_stop_at(step, control::all(spec));
        if let Some(advice) = segment.stop_advice.clone().or_else(lasting) {
            told.stop_advice = Some(advice);
        }
        Directive { step, rates, source, told }
    }

    /// Whether a person overrides any rate at `step`.
    #[must_use]
    pub fn is_overridden_at(&self, step: u64) -> bool {
        self.segment(step).rate_override.is_some()
    }

    fn segment(&self, step: u64) -> &Segment {
        // The first segment starts at 0, so there is always one at or before `step`.
        &self.segments[self.segments.partition_point(|segment| segment.start <= step) - 1]
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::steering::When;
    use lrs_model::{
        decision::{Author, RateOverride},
        job::Timestamp,
        schedule::ScheduleSpec,
        spec::{Group, RateLimits},
    };

    /// One group that falls from 1 to 0 over 100 steps, in a straight line.
    fn falling() -> Spec {
        Spec {
            groups: vec![group("default", 1.0)],
            total_steps: Some(100),
            schedule: ScheduleSpec::named("linear", serde_json::json!({})),
            ..Spec::default()
        }
    }

    fn group(name: &str, base_lr: f64) -> Group {
        Group { name: name.to_owned(), base_lr, base_momentum: None, base_weight_decay: None, schedule: None }
    }

    fn push(timeline: &mut Timeline, effective_step: u64, base_lr: f64) {
        let when = When::beginning(effective_step);
        timeline.steer().push_move(when, Arc::from([base_lr]), RateShape::default());
    }

    fn person(seq: u64, effective_step: u64, effect: Effect) -> Decision {
        Decision {
            id: DecisionId::Person { seq },
            attempt: 1,
            step: effective_step.saturating_sub(1),
            effective_step,
            author: Author::Person("ann".to_owned()),
            reason: String::new(),
            evidence: BTreeMap::new(),
            effect,
            create_time: Timestamp(0),
        }
    }

    fn factor(factor: f64, end_step: Option<u64>) -> Effect {
        Effect::Override(RateOverride { setting: OverrideSetting::Factor(factor), end_step })
    }

    fn rate(timeline: &Timeline, step: u64) -> f64 {
        timeline.directive_at(step).rates[0].learning_rate
    }

    #[track_caller]
    fn assert_rate(timeline: &Timeline, step: u64, expected: f64) {
        let rate = rate(timeline, step);
        assert!((rate - expected).abs() < 1e-12, "the rate at step {step} is {rate}, not {expected}");
    }

    #[test]
    fn a_pause_holds_the_rate_and_the_schedule_goes_on_from_there() {
        let decisions = [person(1, 20, Effect::Pause), person(2, 50, Effect::Resume)];
        let timeline = Timeline::try_new(&falling(), &decisions).unwrap();

        assert_rate(&timeline, 19, 0.81);
        assert_rate(&timeline, 20, 0.80);
        assert_rate(&timeline, 49, 0.80);
        assert_rate(&timeline, 50, 0.80);
        assert_rate(&timeline, 60, 0.70);
        assert_eq!(timeline.directive_at(49).source, Source::Pause);
        assert_eq!(timeline.directive_at(50).source, Source::Schedule);
    }

    #[test]
    fn what_else_is_ordered_in_a_pause_moves_no_rate_that_it_holds() {
        let shape = RateShape { ramp_steps: 40, ..RateShape::default() };
        let spec = Spec { groups: vec![group("default", 1.0)], ..Spec::default() };
        let decisions = [
            person(1, 20, Effect::Pause),
            person(2, 30, factor(0.5, Some(35))),
            person(3, 40, Effect::Advice(Topic::Stop)),
            person(4, 50, Effect::Resume),
        ];
        let mut timeline = Timeline::try_new(&spec, &decisions).unwrap();
        let base_lrs = Arc::from([0.4]);
        timeline.steer().push_move(When::beginning(11), base_lrs, shape);

        for (step, expected) in [(20, 0.1), (29, 0.1), (30, 0.05), (35, 0.1), (45, 0.1), (50, 0.4)] {
            assert_rate(&timeline, step, expected);
        }
    }

    #[test]
    fn an_override_covers_the_schedule_until_its_end_step() {
        let timeline = Timeline::try_new(&falling(), &[person(1, 10, factor(0.5, Some(30)))]).unwrap();

        assert_rate(&timeline, 9, 0.91);
        assert_rate(&timeline, 10, 0.45);
        assert_rate(&timeline, 29, 0.355);
        assert_rate(&timeline, 30, 0.70);
        assert_eq!(timeline.directive_at(10).source, Source::Override);
    }

    #[test]
    fn the_end_of_an_override_does_not_end_the_next_one() {
        let decisions = [person(1, 10, factor(0.5, Some(30))), person(2, 20, factor(0.1, None))];
        let timeline = Timeline::try_new(&falling(), &decisions).unwrap();
        assert_rate(&timeline, 40, 0.06);
    }

    #[test]
    fn an_older_order_that_lies_ahead_does_not_undo_a_newer_one() {
        // After a rewind to step 5 a new order takes effect at step 8; the old one had been for step 50.
        let decisions = [person(1, 50, factor(0.5, None)), person(2, 8, Effect::ClearOverride)];
        let timeline = Timeline::try_new(&falling(), &decisions).unwrap();
        assert_rate(&timeline, 60, 0.40);
    }

    #[test]
    fn a_fixed_override_touches_only_the_groups_it_names() {
        let spec = Spec { groups: vec![group("a", 1.0), group("b", 2.0)], ..Spec::default() };
        let setting = OverrideSetting::Fixed(BTreeMap::from([("b".to_owned(), 7.0)]));
        let order = person(1, 3, Effect::Override(RateOverride { setting, end_step: None }));
        let timeline = Timeline::try_new(&spec, &[order]).unwrap();

        let rates: Vec<f64> = timeline.directive_at(3).rates.iter().map(|rate| rate.learning_rate).collect();
        assert_eq!(rates, [1.0, 7.0]);
    }

    #[test]
    fn advice_to_stop_stands_from_its_step_until_it_is_taken_back() {
        let advised =
            Decision { reason: "worse than the others".to_owned(), ..person(1, 10, Effect::Advice(Topic::Stop)) };
        let decisions = [advised, person(2, 20, factor(0.5, None)), person(3, 30, Effect::WithdrawAdvice(Topic::Stop))];
        let timeline = Timeline::try_new(&falling(), &decisions).unwrap();

        let advice = |step| timeline.directive_at(step).told.stop_advice;
        assert_eq!((advice(9), advice(30)), (None, None));
        assert_eq!(
            (advice(10), advice(29)),
            (Some("worse than the others".into()), Some("worse than the others".into()))
        );
        assert_rate(&timeline, 10, 0.9);
    }

    #[test]
    fn no_rate_leaves_the_limits_whoever_sets_it() {
        let limits = RateLimits { min_lr: Some(0.1), max_lr: Some(0.6) };
        let spec = Spec { rate_limits: limits, ..falling() };
        let timeline = Timeline::try_new(&spec, &[person(1, 50, factor(100.0, None))]).unwrap();

        assert_rate(&timeline, 0, 0.6);
        assert_rate(&timeline, 50, 0.6);
        assert_rate(&Timeline::try_new(&spec, []).unwrap(), 100, 0.1);
    }

    #[test]
    fn a_controllers_move_counts_until_a_person_sets_the_base_rate() {
        let spec = Spec { groups: vec![group("default", 1.0)], ..Spec::default() };
        let other = Spec { groups: vec![group("default", 3.0)], ..spec.clone() };
        let change = person(1, 20, Effect::Spec(Box::new(other)));
        let mut timeline = Timeline::try_new(&spec, &[change]).unwrap();
        push(&mut timeline, 10, 0.5);

        assert_rate(&timeline, 9, 1.0);
        assert_rate(&timeline, 10, 0.5);
        assert_rate(&timeline, 20, 3.0);

        push(&mut timeline, 30, 0.25);
        assert_rate(&timeline, 30, 0.25);
    }

    #[test]
    fn groups_that_are_added_at_the_end_begin_there_and_move_no_other() {
        for controllers in [vec![], vec![lrs_control::auto::Params::default().into()]] {
            let spec = |groups| Spec { groups, controllers: controllers.clone(), ..Spec::default() };
            let first = spec(vec![group("head", 1.0)]);
            let grown = spec(vec![group("head", 1.0), group("layer/1", 3.0), group("no decay", 2.0)]);
            let change = person(1, 20, Effect::Spec(Box::new(grown)));
            let mut timeline = Timeline::try_new(&first, &[change]).unwrap();
            push(&mut timeline, 10, 0.5);
            let rates = |timeline: &Timeline, step| -> Vec<f64> {
                timeline.directive_at(step).rates.iter().map(|rate| rate.learning_rate).collect()
            };

            assert_eq!(rates(&timeline, 19), [0.5]);
            assert_eq!(rates(&timeline, 20), [0.5, 3.0, 2.0]);
            let when = When::beginning(30);
            timeline.steer().push_move(when, Arc::from([0.25, 1.5, 1.0]), RateShape::default());
            assert_eq!(rates(&timeline, 29), [0.5, 3.0, 2.0]);
            assert_eq!(rates(&timeline, 30), [0.25, 1.5, 1.0]);
            assert_eq!(timeline.opened_at(30), 0);
        }
    }

    #[test]
    fn a_spec_change_that_leaves_the_base_rate_keeps_a_controllers_move() {
        let spec = falling();
        let longer = Spec { total_steps: Some(200), ..falling() };
        let mut timeline = Timeline::try_new(&spec, &[person(1, 50, Effect::Spec(Box::new(longer)))]).unwrap();
        push(&mut timeline, 10, 0.1);
        assert_rate(&timeline, 100, 0.05);
    }

    #[test]
    fn rates_that_need_no_telemetry_are_determined_without_end() {
        let timeline = Timeline::try_new(&falling(), []).unwrap();
        assert!(!timeline.needs_telemetry());
        assert_eq!(timeline.determined_end(0), u64::MAX);
    }

    #[test]
    fn what_was_determined_stays_so_when_controllers_come_back_later() {
        let plateau = lrs_control::plateau::Params::default();
        let controlled = Spec { controllers: vec![plateau.into()], ..falling() };
        let without = person(1, 30, Effect::Spec(Box::new(falling())));
        let again = person(2, 60, Effect::Spec(Box::new(controlled.clone())));

        let before = Timeline::try_new(&controlled, [&without]).unwrap();
        let after = Timeline::try_new(&controlled, [&without, &again]).unwrap();

        let ends = |timeline: &Timeline| [10, 29, 30, 45, 60, 70].map(|taken_end| timeline.determined_end(taken_end));
        assert_eq!(ends(&before), [10, 29, u64::MAX, u64::MAX, u64::MAX, u64::MAX]);
        assert_eq!(ends(&after), [10, 29, 60, 60, 60, 70]);
    }

    #[test]
    fn the_last_step_that_can_be_named_has_a_rate() {
        let decisions = [person(1, 20, Effect::Pause), person(2, 50, Effect::Resume)];
        let timeline = Timeline::try_new(&falling(), &decisions).unwrap();
        assert_rate(&timeline, lrs_model::MAX_STEP, 0.0);
    }
}
