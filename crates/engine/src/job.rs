//! The pure heart: a job as a value. No clock, no randomness, no I/O.
//!
//! Telemetry and people's decisions go in, decisions by controllers come out. The result depends only on what went in,
//! not on batching, timing or order of arrival: the live service, recovery, a rewind and `lrs replay` all run this
//! code.
//!
//! A step is *complete* when every reporting rank has said that it will report nothing more at or below it. Complete
//! steps are taken in step order, one transition each: the controllers observe the record of step `j` under the
//! people's decisions in force at `j + d`, where `d` is the decision lag, and their decisions take effect at `j + d`.

mod saved;

use std::{collections::BTreeMap, sync::Arc};

pub use saved::Saved;

use super::{
    api::Source,
    lineage::Part,
    steering::{Steering, When},
    timeline::Timeline,
};
use lrs_control as control;
use lrs_control::{Advice, Controller, Move, Observation, Outcome, Ruling, Sightings};
use lrs_model::{
    decision::{Action, Author, BaseRateChange, Decision, DecisionId, Effect, RateMove, Topic},
    job::Timestamp,
    telemetry::{Agreement, Report, Sample, reduce},
};

/// A job in one of its attempts.
#[derive(Clone, Debug)]
pub struct Job {
    timeline: Timeline,
    attempt: u32,
    /// The attempts that this history goes on with, their first steps, and how many ranks report.
    coming: Vec<(u32, u64, Option<u32>)>,
    decision_lag: u64,
    controllers: Vec<control::State>,
    /// `controllers` holds the states of the controllers in force at this step.
    controllers_at: u64,
    /// For each rank, steps below this are closed.
    through_ends: Vec<u64>,
    /// How many ranks stand at each of `through_ends`.
    standing: BTreeMap<u64, u32>,
    /// The samples of steps that are not complete, by rank.
    open: BTreeMap<u64, Vec<(u32, Sample)>>,
    /// Steps below this have been taken.
    complete_end: u64,
    /// A person's decision is on its way to this step: until it is known, no transition takes effect there or later.
    held_at: Option<u64>,
    latest: Option<Sample>,
    /// Which metrics have come under specs with controllers.
    sightings: Sightings,
    /// The controllers' states when the trainer began. Until its first record, a person may still change the spec that
    /// it begins under.
    arrival: Option<Box<Arrival>>,
}

/// What [`Job::arrive`] found.
#[derive(Clone, Debug)]
struct Arrival {
    step: u64,
    /// The states, and the step whose controllers they belong to; `None` if nothing was trained before.
    controllers: Option<(Vec<control::State>, u64)>,
    steering: Arc<Steering>,
}

/// Whether the rate that a trainer `used` is the one it was `given`. Trainers may keep rates in single precision.
fn is_same_rate(used: f64, given: f64) -> bool {
    (used - given).abs() <= 1e-6 * given.abs()
}

/// What came of a report.
#[derive(Debug, Default, PartialEq)]
pub struct Taken {
    /// New samples, to be stored.
    pub accepted: Vec<Sample>,
    /// The rank's `through_step` after the report.
    pub through_step: Option<u64>,
    /// Whether the rank's `through_step` rose.
    pub through_rose: bool,
    /// Samples that said nothing new.
    pub repeated: u64,
    /// Samples that contradicted an earlier sample, and changed nothing.
    pub conflicting: u64,
    /// The lowest step of a contradiction.
    pub conflict_step: Option<u64>,
    /// Samples of steps that the rank had closed, to be compared with the stored ones. They change nothing.
    pub closed: Vec<Sample>,
    /// What the controllers decided, in step order.
    pub decisions: Vec<Decision>,
    /// Whether controllers told the trainer anything, so that directives that are not final may have changed.
    pub steered: bool,
    /// The records that became complete and were taken, in step order.
    pub completed: Vec<Brief>,
}

/// The part of a record that people look at.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Brief {
    /// The step.
    pub step: u64,
    /// Its loss.
    pub loss: Option<f64>,
    /// The rate that the trainer used.
    pub learning_rate: Option<f64>,
}

/// More steps are open than the bound allows; the report changed nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManyOpenSteps;

impl Job {
    /// A job at the beginning of `attempt`, without history: nothing was or will be reported below `resume_step`.
    #[must_use]
    pub fn new(timeline: Timeline, attempt: u32, resume_step: u64) -> Self {
        let spec = timeline.spec_at(0).spec();
        let ranks = spec.reporting_ranks;
        let mut job = Self {
            attempt,
            coming: Vec::new(),
            decision_lag: spec.decision_lag,
            controllers: Vec::new(),
            controllers_at: 0,
            through_ends: vec![resume_step; ranks as usize],
            standing: BTreeMap::from([(resume_step, ranks)]),
            open: BTreeMap::new(),
            complete_end: resume_step,
            held_at: None,
            latest: None,
            sightings: Sightings::default(),
            arrival: None,
            timeline,
        };
        let steering = job.timeline.steering().clone();
        job.arrive(Arrival { step: resume_step, controllers: None, steering });
        job
    }

    /// The same with so many reporting ranks, before any report; `None`: as many as the spec says.
    #[must_use]
    pub fn with_ranks(mut self, ranks: Option<u32>) -> Self {
        self.reset_ranks(ranks);
        self
    }

    /// Every rank begins at `complete_end`.
    fn reset_ranks(&mut self, ranks: Option<u32>) {
        let ranks = ranks.unwrap_or_else(|| self.timeline.spec_at(0).spec().reporting_ranks);
        self.through_ends = vec![self.complete_end; ranks as usize];
        self.standing = BTreeMap::from([(self.complete_end, ranks)]);
    }

    /// Tells the controllers that a trainer begins.
    fn arrive(&mut self, arrival: Arrival) {
        let step = arrival.step;
        (self.controllers, self.controllers_at) = arrival.controllers.clone().unwrap_or_else(|| {
            let first = self.timeline.spec_at(0).controllers();
            (first.iter().map(|controller| controller.initial(step)).collect(), 0)
        });
        self.arrival = Some(Box::new(arrival));
        self.renew_controllers(step.max(self.controllers_at));
        let compiled = self.timeline.spec_at(self.controllers_at).clone();
        self.timeline.steer().forget_actions_from(step);
        let actions = compiled.controllers().iter().zip(&mut self.controllers);
        let actions: Vec<Action> =
            actions.flat_map(|(controller, state)| controller.begin_attempt(state, step)).collect();
        if !actions.is_empty() {
            self.timeline.steer().push_actions(When::beginning(step), actions);
        }
    }

    /// Before the history of an attempt is gone through again: the `parts` that follow on the first. What is decided for
    /// their steps is decided as theirs, under the orders that count there.
    pub fn expect<'a>(&mut self, parts: impl IntoIterator<Item = &'a Part>) {
        self.coming = parts.into_iter().map(|part| (part.attempt, part.start, part.ranks)).collect();
    }

    /// The attempt whose step `effective_step` is.
    fn attempt_of(&self, effective_step: u64) -> u32 {
        let coming = self.coming.iter().rev().find(|(_, start, _)| *start <= effective_step);
        coming.map_or(self.attempt, |(attempt, ..)| *attempt)
    }

    /// Goes on as `attempt` from `resume_step`: the steps below it are complete, and whatever was reported at or past
    /// it is forgotten.
    ///
    /// Only forward: no step at or past `resume_step` may have been taken yet, see [`Job::complete_end`]. Returns the
    /// decisions of the controllers on the old attempt's last records.
    pub fn begin_attempt(&mut self, attempt: u32, resume_step: u64) -> Vec<Decision> {
        debug_assert!(self.complete_end <= resume_step, "a rewind starts from the beginning");
        let known = self.coming.iter().find(|(coming, ..)| *coming == attempt).map(|(.., ranks)| *ranks);
        if known.is_none() {
            self.coming.push((attempt, resume_step, None));
        }
        self.open.split_off(&resume_step);
        self.complete_end = resume_step;
        let decisions = self.transit(|_| {});
        self.attempt = attempt;
        self.coming.retain(|(coming, ..)| *coming > attempt);
        self.reset_ranks(known.flatten());
        let controllers = Some((std::mem::take(&mut self.controllers), self.controllers_at));
        let steering = self.timeline.steering().clone();
        self.arrive(Arrival { step: resume_step, controllers, steering });
        decisions
    }

    /// Takes a rank's report. The caller refuses steps below the attempt's first.
    ///
    /// # Errors
    /// If more than `max_open_steps` steps would be open; nothing has changed then.
    ///
    /// # Panics
    /// If `rank` is not one of the job's; the caller checks it.
    pub fn take(&mut self, rank: u32, report: Report, max_open_steps: usize) -> Result<Taken, TooManyOpenSteps> {
        let through_end = self.through_ends[rank as usize];
        let would_close = report.through_step.map_or(0, |step| step.saturating_add(1));
        if self.open_after(through_end, would_close, &report) > max_open_steps {
            return Err(TooManyOpenSteps);
        }

        let mut taken = Taken::default();
        for sample in report.samples {
            self.take_sample(rank, through_end, sample, &mut taken);
        }
        if would_close > through_end {
            self.through_ends[rank as usize] = would_close;
            *self.standing.entry(would_close).or_default() += 1;
            if let Some(count) = self.standing.get_mut(&through_end) {
                *count -= 1;
                if *count == 0 {
                    self.standing.remove(&through_end);
                }
            }
            taken.through_rose = true;
        }
        taken.through_step = self.through_ends[rank as usize].checked_sub(1);
        if let Some((&end, _)) = self.standing.first_key_value() {
            self.complete_end = self.complete_end.max(end);
        }
        let steering = self.timeline.steering().clone();
        taken.decisions = self.transit(|record| {
            taken.completed.push(Brief { step: record.step, loss: record.loss, learning_rate: record.learning_rate });
        });
        taken.steered = !Arc::ptr_eq(&steering, self.timeline.steering());
        Ok(taken)
    }

    /// How many steps would be open after `report` of a rank that has closed the steps below `through_end` and closes
    /// those below `would_close` with it. 0 if the report opens no step, so that a rank that lags behind can always
    /// catch up.
    fn open_after(&self, through_end: u64, would_close: u64, report: &Report) -> usize {
        let others = self.standing.iter().filter(|&(&end, &count)| end != through_end || count > 1);
        let others_end = others.map(|(&end, _)| end).next().unwrap_or(u64::MAX);
        let take_end = others_end.min(would_close.max(through_end)).min(self.held_end());
        let opens =
            |sample: &&Sample| sample.step >= through_end.max(take_end) && !self.open.contains_key(&sample.step);
        let opened = report.samples.iter().filter(opens).count();
        if opened == 0 {
            return 0;
        }
        opened + self.open.range(take_end..).count()
    }

    fn take_sample(&mut self, rank: u32, through_end: u64, sample: Sample, taken: &mut Taken) {
        if sample.step < through_end {
            taken.closed.push(sample);
            return;
        }
        let ranks = self.open.entry(sample.step).or_default();
        match ranks.binary_search_by_key(&rank, |(rank, _)| *rank) {
            Err(place) => {
                ranks.insert(place, (rank, sample.clone()));
                taken.accepted.push(sample);
            }
            Ok(place) => match ranks[place].1.agreement(&sample) {
                Agreement::Repeat => taken.repeated += 1,
                Agreement::Conflict => {
                    taken.conflicting += 1;
                    taken.conflict_step.get_or_insert(sample.step);
                }
                Agreement::More => {
                    ranks[place].1.merge(&sample);
                    taken.accepted.push(sample);
                }
            },
        }
    }

    /// Takes the complete record of a step, the next one of a replay, which knows no ranks.
    pub fn take_record(&mut self, record: &Sample) -> Vec<Decision> {
        let mut decisions = Vec::new();
        self.complete_end = self.complete_end.max(record.step + 1);
        self.transition(record, &mut decisions);
        self.latest = Some(record.clone());
        self.arrival = None;
        decisions
    }

    /// Takes every complete step that is not held back, and calls `taken` with its record.
    fn transit(&mut self, mut taken: impl FnMut(&Sample)) -> Vec<Decision> {
        let mut decisions = Vec::new();
        let take_end = self.taken_end();
        while let Some(entry) = self.open.first_entry().filter(|entry| *entry.key() < take_end) {
            let (step, ranks) = entry.remove_entry();
            let samples: Vec<&Sample> = ranks.iter().map(|(_, sample)| sample).collect();
            let record = reduce(step, &samples);
            self.transition(&record, &mut decisions);
            taken(&record);
            self.latest = Some(record);
            self.arrival = None;
        }
        decisions
    }

    /// Shows the record of one step to the controllers; what was measured more than once, one value after another,
    /// except to those that take it whole.
    fn transition(&mut self, record: &Sample, decisions: &mut Vec<Decision>) {
        let is_as_directed = self.is_as_directed(record);
        if !self.timeline.spec_at(record.step + self.decision_lag).controllers().is_empty() {
            self.sightings.note(record);
        }
        if !record.has_repeats() {
            return self.show(record.step, is_as_directed, |_| Some(record), decisions);
        }
        for (turn, sample) in record.observations().iter().enumerate() {
            let seen_by = |controller: &Controller| match (turn, controller.takes_steps_whole()) {
                (0, true) => Some(record),
                (0, false) => Some(sample),
                (_, true) => None,
                (_, false) => controller.metrics().iter().any(|name| sample.metric(name).is_some()).then_some(sample),
            };
            let mut found = Vec::new();
            self.show(record.step, is_as_directed, seen_by, &mut found);
            for decision in found {
                later_outranks(decisions, decision);
            }
        }
    }

    /// Shows each controller what it is to see of a step, if that is anything.
    fn show<'a>(
        &mut self,
        step: u64,
        is_as_directed: bool,
        seen_by: impl Fn(&Controller) -> Option<&'a Sample>,
        decisions: &mut Vec<Decision>,
    ) {
        let effective_step = step + self.decision_lag;
        if self.timeline.is_paused_at(effective_step) {
            return;
        }
        self.renew_controllers(effective_step);
        let compiled = self.timeline.spec_at(effective_step).clone();
        if compiled.controllers().is_empty() {
            return;
        }
        let when = When { observed_step: step, effective_step };
        let attempt = self.attempt_of(effective_step);
        for (i, controller) in compiled.controllers().iter().enumerate() {
            let Some(sample) = seen_by(controller) else { continue };
            let before = self.timeline.base_lrs_at(effective_step);
            let (in_force, shaped_at) = self.timeline.shape_at(effective_step);
            let base_lrs = &before;
            let observation =
                Observation { sample, effective_step, base_lrs, shape: in_force, shaped_at, is_as_directed };
            let Outcome { ruling, bound, actions } = controller.observe(&mut self.controllers[i], &observation);
            if let Some(bound) = bound {
                self.timeline.steer().push_bound(when, bound);
            }
            let restore = actions.iter().find_map(|action| match action {
                Action::Restore(id) => Some(id.clone()),
                Action::Keep(_) | Action::Forget(_) => None,
            });
            if !actions.is_empty() {
                self.timeline.steer().push_actions(when, actions);
            }
            let Some(ruling) = ruling else { continue };
            let (reason, evidence, effect) = match ruling {
                Ruling::Move(Move { base_lrs, mut shape, reason, evidence }) => {
                    shape.cooldown = shape.cooldown.or(in_force.cooldown);
                    let groups = compiled.spec().groups.iter().zip(before.iter().zip(&base_lrs));
                    let groups = groups.map(|(group, (&previous_base_lr, &base_lr))| BaseRateChange {
                        group: group.name.clone(),
                        previous_base_lr,
                        base_lr,
                    });
                    let groups = groups.collect();
                    self.timeline.steer().push_move(when, base_lrs.into(), shape);
                    (reason, evidence, Effect::BaseRates(RateMove { groups, shape, restore }))
                }
                Ruling::Advice(Advice { topic, is_lasting, reason, evidence }) => {
                    match (topic, is_lasting) {
                        (Topic::Stop, true) => {
                            let by = control::all(compiled.spec()).nth(i);
                            if let Some(by) = by {
                                self.timeline.steer().advise_lasting_stop(when, &reason, &by);
                            }
                        }
                        (Topic::Stop, false) => self.timeline.steer().advise_stop(when, &reason),
                        _ => {}
                    }
                    (reason, evidence, Effect::Advice(topic))
                }
            };
            decisions.push(Decision {
                id: DecisionId::Controller { attempt, step, controller: u32::try_from(i).unwrap_or(u32::MAX) },
                attempt,
                step,
                effective_step,
                author: Author::Controller(control::name(compiled.spec(), i)),
                reason,
                evidence,
                effect,
                create_time: Timestamp::default(),
            });
        }
    }

    /// Whether the step of `record` ran at the rate that schedule and controllers gave it.
    fn is_as_directed(&self, record: &Sample) -> bool {
        let directive = self.timeline.directive_at(record.step);
        let given = directive.rates.first().map_or(0.0, |rate| rate.learning_rate);
        directive.source == Source::Schedule && record.learning_rate.is_none_or(|used| is_same_rate(used, given))
    }

    /// Starts every controller afresh that is not the same under the spec in force at `effective_step` as it was
    /// before.
    fn renew_controllers(&mut self, effective_step: u64) {
        let before = self.timeline.spec_at(self.controllers_at);
        let opened_before = self.timeline.opened_at(self.controllers_at);
        let now = self.timeline.spec_at(effective_step);
        self.controllers_at = effective_step;
        if Arc::ptr_eq(before, now) {
            return;
        }
        let (old, new): (Vec<_>, Vec<_>) = (control::all(before.spec()).collect(), control::all(now.spec()).collect());
        let opens = now.opening().is_some() && self.timeline.opened_at(effective_step) != opened_before;
        let mut actions = Vec::new();
        let states = now.controllers().iter().enumerate().map(|(i, controller)| {
            // The target of the objective keeps its state wherever it stands.
            let is_target = i == now.spec().controllers.len();
            let place = if is_target { before.spec().controllers.len() } else { i };
            match self.controllers.get(place) {
                Some(state) if old.get(place) == new.get(i) && !opens => state.clone(),
                _ => {
                    let mut state = controller.initial(effective_step);
                    actions.extend(controller.begin_attempt(&mut state, effective_step));
                    state
                }
            }
        });
        self.controllers = states.collect();
        if !actions.is_empty() {
            let observed_step = effective_step.saturating_sub(self.decision_lag);
            self.timeline.steer().push_actions(When { observed_step, effective_step }, actions);
        }
    }

    /// Makes no transition that takes effect at or past `step` until [`Job::apply`] or [`Job::release`].
    pub fn hold_at(&mut self, step: u64) {
        self.held_at = Some(step);
    }

    /// Ends the hold without a decision. Returns what the controllers decide on the steps that were held back.
    pub fn release(&mut self) -> Vec<Decision> {
        self.held_at = None;
        self.transit(|_| {})
    }

    /// Goes on under other decisions by people. Below the step held at `timeline` equals the present one. Returns what
    /// the controllers decide on the steps that were held back.
    pub fn apply(&mut self, timeline: &Timeline) -> Vec<Decision> {
        match self.arrival.take() {
            None => self.timeline = timeline.with_steering(self.timeline.steering().clone()),
            // It may take effect where the trainer begins, and then it counts from the beginning.
            Some(arrival) => {
                self.timeline = timeline.with_steering(arrival.steering.clone());
                self.arrive(*arrival);
            }
        }
        self.release()
    }

    /// Steps below this have been shown to the controllers, or never will be.
    fn taken_end(&self) -> u64 {
        self.complete_end.min(self.held_end())
    }

    /// Records at or past this wait for a person's decision.
    fn held_end(&self) -> u64 {
        self.held_at.map_or(u64::MAX, |step| step.saturating_sub(self.decision_lag))
    }

    /// Every directive below this is determined by what the job knows.
    #[must_use]
    pub fn determined_end(&self) -> u64 {
        let determined = self.timeline.determined_end(self.taken_end().saturating_add(self.decision_lag));
        determined.min(self.held_at.unwrap_or(u64::MAX))
    }

    /// No decision by a person may take effect below this step: the transitions below it have been made. Where there
    /// are no controllers, and the decision brings none, transitions change nothing, and only what was trained counts.
    #[must_use]
    pub fn decided_end(&self, brings_controllers: bool) -> u64 {
        let has_controllers = brings_controllers || self.timeline.has_controllers();
        let lag = if has_controllers { self.decision_lag } else { 0 };
        self.latest.as_ref().map_or(0, |record| record.step + lag + 1)
    }

    /// The rates as far as they are known.
    #[must_use]
    pub fn timeline(&self) -> &Timeline {
        &self.timeline
    }

    /// The attempt.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// Steps below this are complete.
    #[must_use]
    pub fn complete_end(&self) -> u64 {
        self.complete_end
    }

    /// How many ranks report.
    #[must_use]
    pub fn ranks(&self) -> u32 {
        u32::try_from(self.through_ends.len()).unwrap_or(u32::MAX)
    }

    /// The ranks that keep the first open step from being complete while others have closed it; empty if there are no
    /// such ranks. At most `limit` of them, and how many there are.
    #[must_use]
    pub fn missing_ranks(&self, limit: usize) -> (Vec<u32>, u32) {
        let (Some((&first, &count)), true) = (self.standing.first_key_value(), self.standing.len() > 1) else {
            return (Vec::new(), 0);
        };
        let missing = (0..).zip(&self.through_ends).filter(|(_, end)| **end == first).map(|(rank, _)| rank);
        (missing.take(limit).collect(), count)
    }

    /// The latest record taken.
    #[must_use]
    pub fn latest(&self) -> Option<&Sample> {
        self.latest.as_ref()
    }

    /// The status of each controller, in the order of the spec; the target of the objective is the last.
    #[must_use]
    pub fn statuses(&self) -> Vec<control::Status> {
        let compiled = self.timeline.spec_at(self.controllers_at);
        let controllers = compiled.controllers().iter().zip(&self.controllers);
        controllers.map(|(one, state)| one.status(state, &self.sightings, compiled.spec())).collect()
    }
}
/// Adds a decision. A controller has one a step: a move outranks advice, and of two moves the later one stands, as from
/// the rates before the first.
fn later_outranks(decisions: &mut Vec<Decision>, mut later: Decision) {
    let Some(place) = decisions.iter().position(|earlier| earlier.id == later.id) else { return decisions.push(later) };
    match (&decisions[place].effect, &mut later.effect) {
        (Effect::BaseRates(first), Effect::BaseRates(second)) => {
            for (first, second) in first.groups.iter().zip(&mut second.groups) {
                second.previous_base_lr = first.previous_base_lr;
            }
            second.restore = second.restore.take().or_else(|| first.restore.clone());
        }
        (Effect::BaseRates(_), _) => return,
        _ => {}
    }
    decisions[place] = later;
}
