//! Computes rates and decisions again, step by step from 0, from what was registered, ordered and reported.
//!
//! One loop over the steps: at each step it takes people's decisions that take effect there, then the record `d` steps
//! earlier, and then computes the rate. It uses the program's formulas of schedules, which have golden curves of their
//! own, and the program's transitions of all controllers except two: it implements PyTorch's plateau and the greedy
//! controller itself. The inputs of the controllers and the consequences of their outputs are computed here.

use std::{borrow::Cow, collections::BTreeMap, sync::Arc};

use lrs_control as control;
use lrs_control::{
    Controller, Move, Observation, Opening, Outcome, Ruling, Setting, greedy, plateau, shape::factor_at,
};
use lrs_engine::Told;
use lrs_model::{
    controller::{ControllerSpec, Mode, ThresholdMode},
    decision::{Action, Decision, DecisionId, Effect, NormBound, OverrideSetting, RateOverride, RateShape, Topic},
    job::AttemptRow,
    spec::Spec,
    telemetry::{GRAD_NORM, LEARNING_RATE, LOSS, Sample},
    violation::Violations,
};
use lrs_schedule::Schedule;
use lrs_store::Chunk;

/// The steps that one attempt trained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    pub attempt: u32,
    pub start: u64,
    pub end: u64,
}

impl Part {
    /// Which attempt trained which steps of the history of `attempt`.
    pub fn lineage(attempts: &[AttemptRow], attempt: u32) -> Vec<Self> {
        let Some(row) = attempts.iter().find(|row| row.attempt == attempt) else { return Vec::new() };
        let mut parts = Self::lineage(attempts, row.parent_attempt);
        parts.retain(|part| part.start < row.resume_step);
        if let Some(last) = parts.last_mut() {
            last.end = last.end.min(row.resume_step);
        }
        parts.push(Self { attempt, start: row.resume_step, end: u64::MAX });
        parts
    }
}

/// The reports of an attempt that has ended.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Past(BTreeMap<u64, BTreeMap<u32, Sample>>);

impl Past {
    /// Reads the reports from the stored chunks.
    pub fn of(chunks: &[Chunk], attempt: u32) -> Self {
        let mut steps: BTreeMap<u64, BTreeMap<u32, Sample>> = BTreeMap::new();
        for chunk in chunks.iter().filter(|chunk| chunk.attempt == attempt) {
            for sample in &chunk.samples {
                let ranks = steps.entry(sample.step).or_default();
                ranks.entry(chunk.rank).and_modify(|known| known.merge(sample)).or_insert_with(|| sample.clone());
            }
        }
        Self(steps)
    }

    /// The highest step that has a report.
    pub fn last_step(&self) -> Option<u64> {
        self.0.last_key_value().map(|(step, _)| *step)
    }

    /// The record of a step, if the step has a report.
    pub fn record(&self, step: u64) -> Option<Record> {
        self.0.get(&step).map(record)
    }
}

/// The means over ranks, by metric.
pub type Record = BTreeMap<String, f64>;

/// The record of the ranks' reports: the mean of each figure, summed from the lowest rank up. The rate is the lowest
/// rank's.
pub fn record(ranks: &BTreeMap<u32, Sample>) -> Record {
    let mut sums: BTreeMap<String, (f64, f64)> = BTreeMap::new();
    for sample in ranks.values() {
        for (name, bits) in sample.values() {
            let value = f64::from_bits(bits);
            sums.entry(name.to_owned())
                .and_modify(|(sum, n)| (*sum, *n) = (*sum + value, *n + 1.0))
                .or_insert((value, 1.0));
        }
    }
    let mut record: Record = sums.into_iter().map(|(name, (sum, n))| (name, sum / n)).collect();
    if let Some(rate) = ranks.values().find_map(|sample| sample.learning_rate) {
        record.insert(LEARNING_RATE.to_owned(), rate);
    }
    record
}

/// The record in the form that the program's controllers read.
fn sample(step: u64, record: &Record) -> Sample {
    let mut sample = Sample::new(step);
    for (name, value) in record {
        match name.as_str() {
            LOSS => sample.loss = Some(*value),
            GRAD_NORM => sample.grad_norm = Some(*value),
            LEARNING_RATE => sample.learning_rate = Some(*value),
            _ => sample.add_metric(name.as_str().into(), *value),
        }
    }
    sample.canonicalise();
    sample
}

/// A decision of the oracle.
#[derive(Clone, Debug, PartialEq)]
pub struct Made {
    pub id: DecisionId,
    pub effective_step: u64,
    pub what: What,
}

/// The effect of a decision.
#[derive(Clone, Debug, PartialEq)]
pub enum What {
    Rates { base_lrs: Vec<f64>, shape: RateShape, restore: Option<String> },
    Advice(Topic),
}

impl Made {
    /// Whether this effect and the effect of `decision` are the same.
    pub fn is(&self, decision: &Decision) -> bool {
        let same = match (&self.what, &decision.effect) {
            (What::Rates { base_lrs, shape, restore }, Effect::BaseRates(rates)) => {
                let found = rates.groups.iter().map(|group| group.base_lr.to_bits());
                found.eq(base_lrs.iter().map(|lr| lr.to_bits())) && *shape == rates.shape && *restore == rates.restore
            }
            (What::Advice(topic), Effect::Advice(found)) => topic == found,
            _ => false,
        };
        same && self.id == decision.id && self.effective_step == decision.effective_step
    }
}

/// The rates and decisions of an attempt, as far as the oracle has worked them out.
pub struct Oracle {
    attempt: u32,
    lag: u64,
    parts: Vec<Part>,
    /// The events by step, then in the order in which they were taken.
    events: Vec<(u64, u64, Event)>,
    now: Now,
    /// Whether the events of the next step have been taken.
    entered: bool,
    /// What was in force at each step.
    steps: Vec<Step>,
    decisions: BTreeMap<DecisionId, Made>,
    controllers: Vec<(ControllerSpec, Memory)>,
    /// The step at which the present controllers began.
    controllers_at: u64,
    /// How many of the trainers' beginnings the controllers have been told.
    arrived: usize,
    /// The controllers' other instructions to the trainer.
    bounds: BTreeMap<u64, NormBound>,
    actions: BTreeMap<u64, Vec<Action>>,
    stops: BTreeMap<u64, Option<Arc<str>>>,
    /// Advice to stop that stands while the spec has the controller: from which step on, why, and by which.
    lasting: Vec<(u64, Arc<str>, ControllerSpec)>,
    /// Steps without a controller whose records have not been looked at.
    idle: Vec<(Part, u64)>,
}

/// What was in force at a past step.
struct Step {
    laid: Arc<Laid>,
    opened_at: u64,
    rates: Vec<u64>,
    /// Whether the rates are those of the schedule and the controllers.
    is_scheduled: bool,
    stop_advice: Option<Arc<str>>,
}

enum Event {
    Spec(Box<Spec>),
    Override(Option<RateOverride>),
    OverrideEnds,
    Paused(bool),
    Stop(Option<Arc<str>>),
}

/// A spec, and the schedules and controllers made from it.
struct Laid {
    spec: Spec,
    schedules: Vec<Schedule>,
    /// The controllers as written, and the target of the objective.
    written: Vec<ControllerSpec>,
    controllers: Vec<Controller>,
    opening: Option<Opening>,
}

impl Laid {
    fn new(spec: &Spec) -> Arc<Self> {
        let mut spec = spec.clone();
        // What a controller counts is written out when a spec is stored, and left open where it is asked for.
        let steps_per_epoch = spec.steps_per_epoch;
        spec.controllers.iter_mut().for_each(|one| *one = control::expand(one, steps_per_epoch));
        let violations = &mut Violations::new();
        let setting = Setting::of(&spec);
        let schedules = spec.groups.iter().map(|group| {
            let schedule = group.schedule.as_ref().unwrap_or(&spec.schedule);
            Schedule::try_new(schedule, &spec, violations).expect("a spec that was checked")
        });
        let schedules = schedules.collect();
        let written: Vec<ControllerSpec> = control::all(&spec).map(Cow::into_owned).collect();
        let controllers = written.iter();
        let controllers: Vec<Controller> = controllers
            .map(|controller| Controller::try_new(controller, &setting, violations).expect("a spec that was checked"))
            .collect();
        let opening = controllers.iter().find_map(Controller::opening);
        Arc::new(Self { spec, schedules, written, controllers, opening })
    }
}

/// What is in force at a step.
struct Now {
    laid: Arc<Laid>,
    base_lrs: Vec<f64>,
    /// For each group, whether a controller has set its base rate.
    is_moved: Vec<bool>,
    shape: RateShape,
    shaped_at: u64,
    /// The first step of controllers that do not begin with the rates written in the spec.
    opened_at: u64,
    clock: u64,
    /// The step at which the clock stopped, while it stands still.
    paused_at: Option<u64>,
    rate_override: Option<RateOverride>,
    stop_advice: Option<Arc<str>>,
    /// The sequence number of the latest order of each kind.
    seqs: [u64; 4],
}

impl Oracle {
    /// An oracle that has computed nothing yet. `people` are the decisions by people that count, `attempts` those of
    /// the job.
    pub fn new(spec: &Spec, people: &[&Decision], attempts: &[AttemptRow], attempt: u32) -> Self {
        let parts = Part::lineage(attempts, attempt);
        let mut events = Vec::new();
        for decision in people {
            let DecisionId::Person { seq } = decision.id else { continue };
            let is_later = |row: &&AttemptRow| row.attempt > decision.attempt && row.attempt <= attempt;
            // Whatever an attempt begins with is in force from its first step on.
            let resumed = attempts.iter().filter(is_later).map(|row| row.resume_step).min().unwrap_or(u64::MAX);
            let effective_step = match &decision.effect {
                Effect::Override(RateOverride { end_step: Some(_), .. }) => decision.effective_step,
                _ => decision.effective_step.min(resumed),
            };
            let event = match &decision.effect {
                Effect::Spec(spec) => Event::Spec(spec.clone()),
                Effect::Override(order) => {
                    if let Some(end) = order.end_step {
                        events.push((end, seq, Event::OverrideEnds));
                    }
                    Event::Override(Some(order.clone()))
                }
                Effect::ClearOverride => Event::Override(None),
                Effect::Pause => Event::Paused(true),
                Effect::Resume => Event::Paused(false),
                Effect::Advice(Topic::Stop) => Event::Stop(Some(decision.reason.as_str().into())),
                Effect::WithdrawAdvice(Topic::Stop) => Event::Stop(None),
                Effect::BaseRates(_) | Effect::Advice(_) | Effect::WithdrawAdvice(_) => continue,
            };
            events.push((effective_step, seq, event));
        }
        events.sort_by_key(|(step, seq, _)| (*step, *seq));
        events.reverse();
        Self {
            attempt,
            lag: spec.decision_lag,
            parts,
            events,
            now: Now::new(Laid::new(spec)),
            entered: false,
            steps: Vec::new(),
            decisions: BTreeMap::new(),
            controllers: Vec::new(),
            controllers_at: 0,
            arrived: 0,
            bounds: BTreeMap::new(),
            actions: BTreeMap::new(),
            stops: BTreeMap::new(),
            lasting: Vec::new(),
            idle: Vec::new(),
        }
    }

    /// Computes up to `end`, or as far as there are records. `record` returns `Err` for a step that is not complete
    /// yet.
    pub fn advance(&mut self, end: u64, record: impl Fn(Part, u64) -> Result<Option<Record>, ()>) {
        loop {
            let step = self.steps.len() as u64;
            if self.parts.get(self.arrived).is_some_and(|part| part.start + self.lag <= step) {
                self.arrive(&record);
                continue;
            }
            if step >= end {
                return;
            }
            if !self.entered {
                while let Some((_, seq, event)) = self.events.pop_if(|(at, ..)| *at <= step) {
                    self.now.take(step, seq, event);
                }
                self.entered = true;
            }
            let reported = step.checked_sub(self.lag);
            let part = reported.and_then(|at| self.parts.iter().find(|part| (part.start..part.end).contains(&at)));
            if let (Some(at), Some(&part), None) = (reported, part, self.now.paused_at) {
                if self.now.laid.controllers.is_empty() {
                    self.idle.push((part, at));
                } else {
                    let Ok(found) = record(part, at) else { return };
                    self.look_at_idle(&record);
                    if let Some(found) = found {
                        self.meet(at, &found);
                    }
                }
            }
            self.steps.push(self.now.step(step));
            self.entered = false;
            self.now.clock += u64::from(self.now.paused_at.is_none());
        }
    }

    /// A record of a step without controllers ends the controllers before that step.
    fn look_at_idle(&mut self, record: &impl Fn(Part, u64) -> Result<Option<Record>, ()>) {
        for (part, at) in self.idle.drain(..) {
            if matches!(record(part, at), Ok(Some(_))) {
                self.controllers.clear();
                self.controllers_at = at + self.lag;
            }
        }
    }

    /// Handles the beginning of a trainer, once the controllers have seen all earlier records. The new trainer has no
    /// copies, so actions that older records ask for from here on are dropped.
    fn arrive(&mut self, record: &impl Fn(Part, u64) -> Result<Option<Record>, ()>) {
        let start = self.parts[self.arrived].start;
        if self.arrived == 0 {
            let laid = &self.steps[0].laid;
            let first = laid.written.iter().zip(&laid.controllers);
            self.controllers = first.map(|(spec, known)| (spec.clone(), Memory::new(spec, known, start))).collect();
        }
        self.arrived += 1;
        self.look_at_idle(record);
        self.renew(start.max(self.controllers_at));
        let laid = self.steps[usize::try_from(self.controllers_at).unwrap()].laid.clone();
        drop(self.actions.split_off(&start));
        for ((_, memory), controller) in self.controllers.iter_mut().zip(&laid.controllers) {
            let told = memory.begin_attempt(controller, start);
            push(&mut self.actions, start, told);
        }
    }

    /// A controller starts anew if its part of the spec has changed, or if a person has changed its first base rate.
    fn renew(&mut self, step: u64) {
        let at = |step: u64| match self.steps.get(usize::try_from(step).unwrap()) {
            Some(over) => (over.laid.clone(), over.opened_at),
            None => (self.now.laid.clone(), self.now.opened_at),
        };
        let (_, opened_before) = at(self.controllers_at);
        let (laid, opened_at) = at(step);
        let opens = laid.opening.is_some() && opened_at != opened_before;
        self.controllers_at = step;
        let old = std::mem::take(&mut self.controllers);
        let is_target = |(spec, _): &&(ControllerSpec, Memory)| {
            laid.written.len() > laid.spec.controllers.len() && laid.written.last() == Some(spec)
        };
        for (i, (spec, controller)) in laid.written.iter().zip(&laid.controllers).enumerate() {
            // The target of the objective is the last, however many controllers there are.
            let before = if i < laid.spec.controllers.len() { old.get(i) } else { old.last().filter(is_target) };
            let memory = match before {
                Some((known, memory)) if known == spec && !opens => memory.clone(),
                _ => {
                    let mut memory = Memory::new(spec, controller, step);
                    let told = memory.begin_attempt(controller, step);
                    push(&mut self.actions, step, told);
                    memory
                }
            };
            self.controllers.push((spec.clone(), memory));
        }
    }

    fn meet(&mut self, at: u64, record: &Record) {
        let step = at + self.lag;
        let told = self.parts.iter().find(|part| (part.start..part.end).contains(&step));
        let attempt = told.expect("a history has no gaps").attempt;
        self.renew(step);
        let laid = self.now.laid.clone();
        let then = &self.steps[usize::try_from(at).unwrap()];
        let given = f64::from_bits(then.rates[0]);
        let is_given = |used: &f64| (used - given).abs() <= 1e-6 * given.abs();
        let is_as_directed = then.is_scheduled && record.get(LEARNING_RATE).is_none_or(is_given);
        let sample = sample(at, record);
        for (i, (_, memory)) in self.controllers.iter_mut().enumerate() {
            let base_lrs = self.now.base_lrs.clone();
            let (in_force, shaped_at) = (self.now.shape, self.now.shaped_at);
            let observation = Observation {
                shape: in_force,
                shaped_at,
                ..Observation::new(&sample, step, &base_lrs, is_as_directed)
            };
            let outcome = memory.observe(&laid.controllers[i], record, &observation);
            if let Some(bound) = outcome.bound {
                self.bounds.insert(step, bound);
            }
            let restore = outcome.actions.iter().find_map(|action| match action {
                Action::Restore(copy) => Some(copy.clone()),
                Action::Keep(_) | Action::Forget(_) => None,
            });
            push(&mut self.actions, step, outcome.actions);
            let advised = self.stops.last_key_value().is_some_and(|(_, advice)| advice.is_some());
            let what = match outcome.ruling {
                None => continue,
                Some(Ruling::Advice(advice)) => {
                    if advice.topic == Topic::Stop && advice.is_lasting {
                        let by = laid.written[i].clone();
                        if self.lasting.iter().all(|(_, _, known)| *known != by) {
                            self.lasting.push((step, advice.reason.into(), by));
                        }
                    } else if advice.topic == Topic::Stop && !advised {
                        self.stops.insert(step, Some(advice.reason.into()));
                    }
                    What::Advice(advice.topic)
                }
                Some(Ruling::Move(Move { base_lrs, mut shape, .. })) => {
                    shape.cooldown = shape.cooldown.or(in_force.cooldown);
                    if advised {
                        self.stops.insert(step, None);
                    }
                    self.now.is_moved.fill(true);
                    (self.now.base_lrs, self.now.shape, self.now.shaped_at) = (base_lrs.clone(), shape, step);
                    What::Rates { base_lrs, shape, restore }
                }
            };
            let id = DecisionId::Controller { attempt, step: at, controller: u32::try_from(i).unwrap() };
            self.decisions.insert(id, Made { id, effective_step: step, what });
        }
    }

    /// The bits of all groups' rates at a step, and the other contents of the directive, once they are known.
    pub fn gift(&self, step: u64) -> Option<(Vec<u64>, Told)> {
        let known = self.steps.get(usize::try_from(step).ok()?)?;
        if self.parts.get(self.arrived).is_some_and(|part| part.start <= step) {
            return None;
        }
        let advice = self.stops.range(..=step).next_back().and_then(|(_, advice)| advice.clone());
        let written = |by: &ControllerSpec| known.laid.written.iter().position(|one| one == by);
        let standing = self.lasting.iter().filter(|(from, ..)| *from <= step);
        let standing = standing.filter_map(|(_, reason, by)| Some((written(by)?, reason.clone())));
        let lasting = standing.min_by_key(|(place, _)| *place).map(|(_, reason)| reason);
        let told = Told {
            bound: self.bounds.range(..=step).next_back().map(|(_, bound)| *bound).unwrap_or_default(),
            actions: self.actions.get(&step).cloned().unwrap_or_default(),
            stop_advice: known.stop_advice.clone().or(lasting).or(advice),
        };
        Some((known.rates.clone(), told))
    }

    /// The decision with this identifier.
    pub fn decision(&self, id: DecisionId) -> Option<&Made> {
        self.decisions.get(&id)
    }

    /// All decisions.
    pub fn decisions(&self) -> impl Iterator<Item = &Made> {
        self.decisions.values()
    }

    /// The attempt.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }
}

/// Adds the actions to be taken before a step.
fn push(actions: &mut BTreeMap<u64, Vec<Action>>, step: u64, more: Vec<Action>) {
    if !more.is_empty() {
        actions.entry(step).or_default().extend(more);
    }
}

impl Now {
    fn new(laid: Arc<Laid>) -> Self {
        let groups = laid.spec.groups.len();
        let mut now = Self {
            base_lrs: vec![0.0; groups],
            is_moved: vec![false; groups],
            shape: RateShape::default(),
            shaped_at: 0,
            opened_at: 0,
            clock: 0,
            paused_at: None,
            rate_override: None,
            stop_advice: None,
            seqs: [0; 4],
            laid,
        };
        now.settle();
        now
    }

    /// Resets base rates that no controller has moved to their initial values.
    fn settle(&mut self) {
        let opening = self.laid.opening.as_ref();
        for (i, group) in self.laid.spec.groups.iter().enumerate().filter(|(i, _)| !self.is_moved[*i]) {
            self.base_lrs[i] = opening.map_or(group.base_lr, |opening| opening.base_lrs[i]);
        }
        if !self.is_moved.contains(&true) {
            (self.shape, self.shaped_at) = opening.map_or_else(Default::default, |o| (o.shape, self.opened_at));
        }
    }

    /// Takes an event. Of two orders of the same kind, the later order wins wherever both apply.
    fn take(&mut self, step: u64, seq: u64, event: Event) {
        let kind = match event {
            Event::Spec(_) => 0,
            Event::Override(_) | Event::OverrideEnds => 1,
            Event::Paused(_) => 2,
            Event::Stop(_) => 3,
        };
        if seq < self.seqs[kind] {
            return;
        }
        match event {
            Event::Spec(spec) => self.rewrite(step, Laid::new(&spec)),
            Event::Override(order) => self.rate_override = order,
            Event::OverrideEnds if seq == self.seqs[1] => self.rate_override = None,
            Event::OverrideEnds => return,
            Event::Paused(true) => self.paused_at = self.paused_at.or(Some(step)),
            Event::Paused(false) => self.paused_at = None,
            Event::Stop(advice) => self.stop_advice = advice,
        }
        self.seqs[kind] = seq;
    }

    /// Changes the spec. A base rate that a person changes holds from here on, whatever controllers had made of it. If
    /// the groups change, or controllers that do not begin with the written rates, then all base rates are set again.
    fn rewrite(&mut self, step: u64, laid: Arc<Laid>) {
        let (old, new) = (&self.laid.spec, &laid.spec);
        let names = |spec: &Spec| spec.groups.iter().map(|group| group.name.clone()).collect::<Vec<_>>();
        let steered_by = |spec: &Spec| spec.objective.as_ref().map(|one| (one.metric.clone(), one.mode));
        let keeps_loop = steered_by(old) == steered_by(new)
            && (&old.controllers, &old.groups, &old.schedule) == (&new.controllers, &new.groups, &new.schedule);
        let begins = laid.opening.is_some() && !keeps_loop;
        let is_other = names(old) != names(new) || begins;
        let keeps = |i: usize| !is_other && old.groups[i].base_lr.to_bits() == new.groups[i].base_lr.to_bits();
        self.is_moved = (0..new.groups.len()).map(|i| keeps(i) && self.is_moved[i]).collect();
        self.base_lrs.resize(new.groups.len(), 0.0);
        if begins {
            self.opened_at = step;
        }
        self.laid = laid;
        self.settle();
    }

    fn step(&self, step: u64) -> Step {
        let spec = &self.laid.spec;
        // While the clock stands still, the rates do too.
        let factor = factor_at(&self.shape, self.shaped_at, self.paused_at.unwrap_or(step), spec.total_steps);
        let mut is_scheduled = self.paused_at.is_none();
        let groups = spec.groups.iter().zip(&self.laid.schedules).zip(&self.base_lrs);
        let rates = groups.map(|((group, schedule), &base_lr)| {
            let base_lr = base_lr * factor;
            let mut rate = if self.shape.is_flat { base_lr } else { schedule.value_at(self.clock, base_lr) };
            match self.rate_override.as_ref().map(|order| &order.setting) {
                Some(OverrideSetting::Factor(factor)) => {
                    is_scheduled = false;
                    rate = (rate * factor).clamp(f64::MIN, f64::MAX);
                }
                Some(OverrideSetting::Fixed(fixed)) => {
                    if let Some(fixed) = fixed.get(&group.name) {
                        is_scheduled = false;
                        rate = *fixed;
                    }
                }
                None => {}
            }
            let limits = &spec.rate_limits;
            let rate = limits.min_lr.map_or(rate, |min| rate.max(min));
            limits.max_lr.map_or(rate, |max| rate.min(max)).to_bits()
        });
        let rates = rates.collect();
        let (laid, opened_at, stop_advice) = (self.laid.clone(), self.opened_at, self.stop_advice.clone());
        Step { laid, opened_at, rates, is_scheduled, stop_advice }
    }
}

/// The state of a controller.
#[derive(Clone, Debug)]
enum Memory {
    /// Controllers that the oracle implements itself.
    Plateau(Box<plateau::Params>, Counts),
    Greedy(Box<greedy::Params>, Counts),
    /// A controller of the program.
    State(Box<control::State>),
}

#[derive(Clone, Copy, Debug)]
struct Counts {
    best: f64,
    good: u64,
    bad: u64,
    wait: u64,
}

impl Memory {
    fn new(spec: &ControllerSpec, controller: &Controller, start: u64) -> Self {
        let counts = |mode| {
            let best = if mode == Mode::Min { f64::INFINITY } else { f64::NEG_INFINITY };
            Counts { best, good: 0, bad: 0, wait: 0 }
        };
        if let Some(params) = control::params::<plateau::Plateau>(spec) {
            let counts = counts(params.mode);
            return Self::Plateau(Box::new(params), counts);
        }
        if let Some(params) = control::params::<greedy::Greedy>(spec) {
            let counts = counts(params.mode);
            return Self::Greedy(Box::new(params), counts);
        }
        Self::State(Box::new(controller.initial(start)))
    }

    fn begin_attempt(&mut self, controller: &Controller, start: u64) -> Vec<Action> {
        match self {
            Self::Plateau(..) | Self::Greedy(..) => Vec::new(),
            Self::State(state) => controller.begin_attempt(state, start),
        }
    }

    fn observe(&mut self, controller: &Controller, record: &Record, observation: &Observation<'_>) -> Outcome {
        let (step, base_lrs) = (observation.sample.step, observation.base_lrs);
        let moved = match self {
            Self::State(state) => return controller.observe(state, observation),
            Self::Plateau(spec, counts) => counts.plateau(spec, step, record, base_lrs),
            Self::Greedy(spec, counts) => counts.greedy(spec, record, base_lrs),
        };
        let ruling = moved.map(|base_lrs| Ruling::Move(Move { base_lrs, ..Move::default() }));
        Outcome { ruling, ..Outcome::default() }
    }
}

impl Counts {
    fn plateau(&mut self, spec: &plateau::Params, step: u64, record: &Record, base_lrs: &[f64]) -> Option<Vec<f64>> {
        let value = *record.get(&spec.metric).filter(|_| step >= spec.start_step)?;
        if is_better(spec.mode, spec.threshold_mode, spec.threshold, value, self.best) {
            (self.best, self.bad) = (value, 0);
        } else {
            self.bad += 1;
        }
        if self.wait > 0 {
            (self.wait, self.bad) = (self.wait - 1, 0);
        }
        if self.bad <= spec.patience {
            return None;
        }
        (self.wait, self.bad) = (spec.cooldown, 0);
        let lowered = base_lrs.iter().enumerate().map(|(i, &lr)| {
            let min = spec.min_lr.get(i).or(spec.min_lr.first()).copied().unwrap_or(0.0);
            let new = (lr * spec.factor).max(min);
            if lr - new > spec.eps { new } else { lr }
        });
        Some(lowered.collect::<Vec<_>>()).filter(|lowered| lowered != base_lrs)
    }

    fn greedy(&mut self, spec: &greedy::Params, record: &Record, base_lrs: &[f64]) -> Option<Vec<f64>> {
        assert!(spec.window == 1 && spec.warmup == 0, "the oracle knows the plain greedy controller");
        let value = *record.get(&spec.metric)?;
        if self.wait > 0 {
            *self = Self { wait: self.wait - 1, good: 0, bad: 0, ..*self };
            return None;
        }
        if is_better(spec.mode, spec.threshold_mode, spec.threshold, value, self.best) {
            *self = Self { best: value, good: self.good + 1, bad: 0, ..*self };
        } else {
            (self.good, self.bad) = (0, self.bad + 1);
        }
        let moved: Vec<f64> = if self.good > spec.patience {
            self.good = 0;
            let max = spec.max_lr.first().copied().unwrap_or(1.0);
            let raise = |&lr: &f64| (lr, (lr / spec.factor).min(max));
            base_lrs.iter().map(raise).map(|(lr, new)| if new - lr > spec.eps { new } else { lr }).collect()
        } else if self.bad > spec.patience {
            (self.bad, self.wait) = (0, spec.cooldown);
            let min = spec.min_lr.first().copied().unwrap_or(1e-3);
            let lower = |&lr: &f64| (lr, (lr * spec.factor).max(min));
            base_lrs.iter().map(lower).map(|(lr, new)| if lr - new > spec.eps { new } else { lr }).collect()
        } else {
            return None;
        };
        Some(moved).filter(|moved| moved != base_lrs)
    }
}

fn is_better(mode: Mode, threshold_mode: ThresholdMode, threshold: f64, value: f64, best: f64) -> bool {
    match (mode, threshold_mode) {
        (Mode::Min, ThresholdMode::Rel) => value < best * (1.0 - threshold),
        (Mode::Min, ThresholdMode::Abs) => value < best - threshold,
        (Mode::Max, ThresholdMode::Rel) => value > best * (threshold + 1.0),
        (Mode::Max, ThresholdMode::Abs) => value > best + threshold,
    }
}
