//! The recommended closed loop: finds the rate, holds it, cuts it on a plateau, cools down, and guards the run.
//!
//! Composed of the parts beside it: the line-search warm-up (`search`), raises on trial after it (`climb`), the hold with
//! plateau cuts (`hold`), the guard (`guard`), and the cooldown ([`shape`](super::shape)). One default configuration for all
//! jobs; what it needs to know it takes from the job: the length of the training, the tier of the trainer, the decision lag.
//! docs/controllers.md describes the machine and what was measured.
//!
//! All rates are the written base rates times one factor, so that groups keep their proportions.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    Advice, Move, Observation, Opening, Outcome, Ruling, Setting, Status,
    climb::{self, Climb, ClimbState},
    copies::{BEST, LOWER, START, good_copy, stage_copy},
    guard::{GuardState, Sight},
    hold::{HoldState, Verdict},
    search::{BLOWN_LOSS, Figures, Next, Origin, Search, SearchState, When},
    statistical_plateau::{StatisticalPlateau, StatisticalPlateauState},
};
use lrs_model::{
    controller::{self, Mode},
    decision::{Action, NormBound, RateShape, Topic},
    spec::Tier,
    telemetry::{GRAD_NORM, LOSS, is_metric_name},
    violation::Violations,
};

/// The evaluation metric where neither the controller nor the objective names one.
const EVALUATION: &str = "val_loss";
/// What a plateau and a divergence multiply the rate by.
const CUT: f64 = 0.5;
/// The share of the training that is cooled down over, with evaluations (in the first revision, and since) and without.
const FIRST_COOLDOWN_SHARE: f64 = 0.2;
const COOLDOWN_SHARE: f64 = 0.3;
const BLIND_COOLDOWN_SHARE: f64 = 0.5;
/// What a cooldown from a trusted rate may cost of the evaluation, at the pace it improves: a rate that is too low already should
/// not be lowered much. Half of the cooldown's progress is lost.
const AFFORDABLE: f64 = 0.02;
/// What the rate found is divided by where nothing can be undone, and where no evaluation steers.
const CAUTION: f64 = 2.0;
const BLIND_CAUTION: f64 = 2.5;
/// And otherwise: near the beginning the best rate for the next steps lies above the best for all.
const SHORT_SIGHT: f64 = 1.5;
/// A trainer that can not clip leaves out an update this many times above the bound.
const SKIP_FACTOR: f64 = 4.0;
/// After a divergence the rate rises anew over this share of the training.
const REWARM_SHARE: u64 = 50;
const MIN_REWARM_STEPS: u64 = 4;
const OPEN_REWARM_STEPS: u64 = 20;
/// A rate cut to this share or less is given up on: another plateau is advice to stop.
const GIVE_UP: f64 = 1.0 / 64.0;
/// Steps without a metric after which it counts as missing.
const MISSING_AFTER: u64 = 64;

/// The controller, for one job.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "each is one part of the loop, on or off by itself")]
pub struct Auto {
    base_lrs: Vec<f64>,
    total_steps: Option<u64>,
    tier: Tier,
    evaluation: String,
    /// Whether higher evaluations are better.
    is_higher_better: bool,
    /// Whether the job says that there will be evaluations.
    expects_evaluations: bool,
    search: Option<Search>,
    /// Where a rate found may be raised.
    climb: Option<Climb>,
    cuts: bool,
    cools: bool,
    /// The share of the training that is cooled down over, where there are evaluations.
    cooldown_share: f64,
    guards: bool,
    keeps_best: bool,
    /// For a training without a horizon, while no evaluation comes.
    plateau: Option<StatisticalPlateau>,
}

/// What is remembered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AutoState {
    phase: Phase,
    /// Steps before this ran under older directives: their losses say nothing about the rate in force.
    from: u64,
    hold: HoldState,
    guard: GuardState,
    /// The rate in force, as a multiple of the one given: found, times cuts, times back-offs.
    scale: f64,
    /// The product of the cuts alone.
    cut: f64,
    /// Whether the trainer keeps the state of the best evaluation.
    is_best_kept: bool,
    /// The share of the training that is cooled down over.
    cooldown_share: f64,
    is_finished: bool,
    /// Whether the pace of the evaluation has been looked at, for a trusted rate.
    is_paced: bool,
    steps_seen: u64,
    losses_seen: u64,
    evaluations_seen: u64,
    plateau: StatisticalPlateauState,
    /// Where a rate found may be raised; not in what a release stored that knew two revisions.
    #[serde(default)]
    climb: Option<ClimbState>,
}

/// What it is doing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Phase {
    Search(SearchState),
    Hold,
}

impl Auto {
    /// Checks the parameters; says in `v` what is wrong, with fields as seen from the parameters.
    pub(super) fn try_new(spec: &controller::Auto, setting: &Setting, v: &mut Violations) -> Option<Self> {
        let wrong_before = v.len();
        if let Some(metric) = spec.evaluation_metric.as_ref().filter(|metric| !is_metric_name(metric)) {
            v.refuse("evaluation_metric", format!("{metric:?}"), "1 to 100 characters without spaces");
        }
        if setting.base_lrs.iter().all(|&base_lr| base_lr == 0.0) {
            v.add("", "has nothing to start from: give the groups a base_lr greater than 0, a guess is enough");
        }
        if spec.cooldown == Some(true) && setting.total_steps.is_none() {
            v.add("cooldown", "is not possible without total_steps");
        }
        if spec.keep_best == Some(true) && setting.tier < Tier::Restore {
            v.add("keep_best", "is not possible below tier 2: the trainer keeps no copies");
        }
        let objective = setting.objective.as_ref().filter(|(metric, _)| metric != LOSS && metric != GRAD_NORM);
        let named = spec.evaluation_metric.clone().or_else(|| objective.map(|(metric, _)| metric.clone()));
        let revision = spec.revision.unwrap_or(controller::Auto::REVISION);
        if !(1..=controller::Auto::REVISION).contains(&revision) {
            v.refuse("revision", revision, format!("1 to {}", controller::Auto::REVISION));
        }
        let expects_evaluations = named.is_some();
        let evaluation = named.unwrap_or_else(|| EVALUATION.to_owned());
        let mode = setting.objective.as_ref().filter(|(metric, _)| *metric == evaluation).map(|(_, mode)| *mode);
        let is_full = setting.tier == Tier::Restore;
        let is_open = setting.total_steps.is_none() && spec.plateau_cuts != Some(false);
        let plateau = StatisticalPlateau::try_new(&controller::StatisticalPlateau::default(), setting, v);
        (v.len() == wrong_before).then(|| Self {
            base_lrs: setting.base_lrs.clone(),
            total_steps: setting.total_steps,
            tier: setting.tier,
            evaluation,
            is_higher_better: mode == Some(Mode::Max),
            expects_evaluations,
            search: spec.search.unwrap_or(is_full).then_some(Search {
                is_cautious: !is_full,
                decision_lag: setting.decision_lag,
                revision,
            }),
            climb: (revision >= 3 && is_full && spec.search != Some(false)).then_some(Climb { revision }),
            cuts: spec.plateau_cuts.unwrap_or(true),
            cools: spec.cooldown.unwrap_or(setting.total_steps.is_some() && !setting.has_schedule),
            cooldown_share: if revision == 1 { FIRST_COOLDOWN_SHARE } else { COOLDOWN_SHARE },
            guards: spec.guard.unwrap_or(true),
            keeps_best: spec.keep_best.unwrap_or(is_full),
            plateau: plateau.filter(|_| is_open),
        })
    }

    pub(super) fn initial(&self, start: u64) -> AutoState {
        AutoState {
            phase: self.search.map_or(Phase::Hold, |_| Phase::Search(SearchState::new(start, self.total_steps))),
            from: start,
            hold: HoldState::new(start),
            guard: GuardState::default(),
            scale: 1.0,
            cut: 1.0,
            is_best_kept: false,
            cooldown_share: self.cooldown_share,
            is_finished: false,
            is_paced: false,
            steps_seen: 0,
            losses_seen: 0,
            evaluations_seen: 0,
            plateau: StatisticalPlateauState::default(),
            climb: self.climb.map(|_| ClimbState::default()),
        }
    }

    /// Before anything is known: the first probe, or the rate given with its cooldown.
    pub(super) fn opening(&self) -> Opening {
        match self.search {
            Some(_) => Opening { base_lrs: self.scaled(SearchState::new(0, None).scale()), shape: flat() },
            None => Opening { base_lrs: self.base_lrs.clone(), shape: self.held(self.cooldown_share, 0) },
        }
    }

    pub(super) fn metrics(&self) -> Vec<&str> {
        vec![LOSS, GRAD_NORM, &self.evaluation]
    }

    pub(super) fn status(&self, state: &AutoState) -> Status {
        let phase = match &state.phase {
            Phase::Search(_) => "searching",
            Phase::Hold if state.climb.as_ref().is_some_and(ClimbState::is_on_trial) => "trying a higher rate",
            Phase::Hold => "holding",
        };
        let mut missing = Vec::new();
        if state.steps_seen >= MISSING_AFTER {
            if state.losses_seen == 0 {
                missing.push("loss is not reported: the closed loop can not begin");
            }
            if self.guards && state.guard.norms_seen() == 0 {
                missing.push("grad_norm is not reported: there is no bound on the gradient's norm");
            }
            if self.cuts && state.evaluations_seen == 0 {
                let cools_longer = self.cools && self.search.is_some() && self.total_steps.is_some();
                missing.push(if cools_longer {
                    "no evaluation is reported: no cuts on a plateau, half the training is cooldown"
                } else {
                    "no evaluation is reported: no cuts on a plateau"
                });
            }
        }
        Status { phase, missing }
    }

    /// A trainer begins at `step`, and has no copies.
    pub(super) fn begin_attempt(&self, state: &mut AutoState, step: u64) -> Vec<Action> {
        state.from = state.from.max(step);
        state.guard.lose_copies();
        state.is_best_kept = false;
        state.climb.iter_mut().for_each(ClimbState::lose_copies);
        if let Phase::Search(search) = &mut state.phase {
            search.lose_copies();
        }
        self.can_restore().then(|| Action::Snapshot(START.to_owned())).into_iter().collect()
    }

    pub(super) fn observe(&self, state: &mut AutoState, observation: &Observation<'_>) -> Outcome {
        let sample = observation.sample;
        let mut outcome = Outcome::default();
        if sample.step < state.from && state.steps_seen == 0 {
            // A step of before this controller was there.
            return outcome;
        }
        state.steps_seen += 1;
        let is_finite = sample.loss.is_none_or(|loss| loss.is_finite() && loss < BLOWN_LOSS)
            && sample.grad_norm.is_none_or(f64::is_finite);
        if self.guards
            && is_finite
            && let Some(norm) = sample.grad_norm
        {
            outcome.bound = state.guard.observe_norm(norm).map(|bound| self.norm_bound(bound));
        }
        if let Some(loss) = sample.loss {
            state.losses_seen += 1;
            if sample.step >= state.from {
                if observation.is_as_directed {
                    let loss = is_finite.then_some(loss);
                    self.observe_loss(state, observation.effective_step, sample.step, loss, &mut outcome);
                } else {
                    Self::begin_again(state, sample.step);
                }
            }
        }
        if let Some(value) = sample.metric(&self.evaluation) {
            self.observe_evaluation(state, observation.effective_step, sample.step, value, &mut outcome);
        }
        self.watch_the_trend(state, observation, &mut outcome);
        self.watch_the_end(state, observation.effective_step, &mut outcome);
        if !self.can_restore() {
            outcome.actions.clear();
        }
        outcome
    }

    fn can_restore(&self) -> bool {
        self.tier == Tier::Restore
    }

    /// A step ran at another rate than this controller's.
    fn begin_again(state: &mut AutoState, step: u64) {
        match &mut state.phase {
            Phase::Search(search) => search.begin_stage_again(),
            Phase::Hold => {
                state.guard.forget_losses();
                state.climb.iter_mut().for_each(|climb| climb.begin_at(step + 1));
            }
        }
    }

    fn observe_loss(
        &self,
        state: &mut AutoState,
        effective_step: u64,
        step: u64,
        loss: Option<f64>,
        outcome: &mut Outcome,
    ) {
        let is_blind = !self.expects_evaluations && state.evaluations_seen == 0;
        match (&mut state.phase, self.search) {
            (Phase::Search(search), Some(machine)) => {
                let caution = match (self.can_restore(), is_blind) {
                    (false, _) => CAUTION,
                    (true, true) => BLIND_CAUTION,
                    (true, false) => SHORT_SIGHT,
                };
                let when = When { step, effective_step };
                let next = machine.observe(search, when, loss, self.can_restore(), caution);
                self.search_on(state, effective_step, next, is_blind, outcome);
            }
            _ if self.guards => self.guard(state, effective_step, step, loss.unwrap_or(BLOWN_LOSS), outcome),
            _ => {}
        }
    }

    /// What the search says, as an outcome.
    fn search_on(&self, state: &mut AutoState, effective_step: u64, next: Next, is_blind: bool, outcome: &mut Outcome) {
        let Phase::Search(search) = &state.phase else { return };
        let (scale, stages) = (search.scale(), search.stages());
        let (reason, figures, shape) = match next {
            Next::Stay => return,
            Next::Begin(figures) => {
                ("the first loss is known: the search begins far below the rate given", figures, flat())
            }
            Next::Rise { kept, figures } => {
                outcome.actions.push(Action::Snapshot(stage_copy(kept)));
                ("this rate does no harm: the next stage tries a higher one", figures, flat())
            }
            Next::Restart(figures) => {
                outcome.actions.push(Action::Restore(START.to_owned()));
                ("even the lowest rate is too high: the search begins anew, much lower", figures, flat())
            }
            Next::Found { scale, from, figures } => {
                match from {
                    Origin::Here => {}
                    Origin::Start => outcome.actions.push(Action::Restore(START.to_owned())),
                    Origin::Stage(number) => outcome.actions.push(Action::Restore(stage_copy(number))),
                }
                state.from = effective_step;
                state.climb.iter_mut().for_each(|climb| climb.begin_at(effective_step));
                outcome.actions.extend((0..stages).map(|stage| Action::Forget(stage_copy(stage))));
                state.phase = Phase::Hold;
                state.scale = scale;
                state.cooldown_share = if is_blind { BLIND_COOLDOWN_SHARE } else { self.cooldown_share };
                (
                    "the search is over: the least rate that is as good as the best",
                    figures,
                    self.held(state.cooldown_share, 0),
                )
            }
        };
        outcome.ruling = Some(self.ruling(scale, shape, reason.to_owned(), figures));
    }

    /// Copies while all is well, and back-off from a divergence.
    fn guard(&self, state: &mut AutoState, effective_step: u64, step: u64, loss: f64, outcome: &mut Outcome) {
        match state.guard.observe_loss(step, loss, self.total_steps, self.can_restore()) {
            Sight::Fine => {}
            Sight::Copy(copy) => outcome.actions.push(Action::Snapshot(good_copy(copy))),
            Sight::Diverged { passed_over, median, lowest, deviation } => {
                let mut places: Vec<String> = state.guard.good().iter().map(|&copy| good_copy(copy)).collect();
                places.extend(state.is_best_kept.then(|| BEST.to_owned()));
                places.push(START.to_owned());
                let place = places.swap_remove(passed_over.min(places.len() - 1));
                outcome.actions.push(Action::Restore(place));
                Self::end_the_climb(state, outcome);
                state.scale *= CUT;
                state.from = effective_step;
                let ramp_steps = self.total_steps.map_or(OPEN_REWARM_STEPS, |total| total / REWARM_SHARE);
                let shape = self.held(state.cooldown_share, ramp_steps.max(MIN_REWARM_STEPS));
                let figures = vec![("median_loss", median), ("lowest_loss", lowest), ("deviation", deviation)];
                let reason = "the run has diverged: the loss is far above its lowest, so back, and on at half the rate";
                outcome.ruling = Some(self.ruling(state.scale, shape, reason.to_owned(), figures));
            }
        }
    }

    fn observe_evaluation(
        &self,
        state: &mut AutoState,
        effective_step: u64,
        step: u64,
        value: f64,
        outcome: &mut Outcome,
    ) {
        state.evaluations_seen += 1;
        let is_searching = matches!(state.phase, Phase::Search(_));
        let value = self.lower_is_better(value);
        match state.hold.observe(step, value, self.total_steps, is_searching || !self.cuts) {
            Verdict::Best if self.keeps_best => {
                state.is_best_kept = true;
                // Before anything else is gone back to.
                outcome.actions.insert(0, Action::Snapshot(BEST.to_owned()));
            }
            // One thing a step: a divergence comes first.
            Verdict::Cut if !matches!(outcome.ruling, Some(Ruling::Move(_))) => {
                self.cut(state, effective_step, step, outcome);
            }
            Verdict::Best | Verdict::Wait | Verdict::Cut => {}
        }
        let is_held = matches!(state.phase, Phase::Hold) && !matches!(outcome.ruling, Some(Ruling::Move(_)));
        if let (Some(total), Some(machine), Some(climb)) = (self.total_steps, self.climb, &mut state.climb)
            && is_held
            && value.is_finite()
        {
            let verdict = machine.observe(climb, &state.hold, When { step, effective_step }, total);
            self.climb_on(state, effective_step, verdict, outcome);
        }
    }

    /// What is to be done about the rate found, as an outcome.
    fn climb_on(&self, state: &mut AutoState, effective_step: u64, verdict: climb::Verdict, outcome: &mut Outcome) {
        let metric = &self.evaluation;
        let (factor, mut figures, reason) = match verdict {
            climb::Verdict::Wait => return,
            climb::Verdict::Stay => {
                outcome.actions.push(Action::Forget(LOWER.to_owned()));
                return;
            }
            climb::Verdict::Raise { factor, figures } => {
                outcome.actions.push(Action::Snapshot(LOWER.to_owned()));
                let (how, higher, _) = climb::words(factor);
                (factor, figures, format!("{metric} improves {how}: {higher} the rate is tried"))
            }
            climb::Verdict::Fall { factor, goes_back, figures } => {
                outcome.actions.extend(goes_back.then(|| Action::Restore(LOWER.to_owned())));
                outcome.actions.push(Action::Forget(LOWER.to_owned()));
                let (_, higher, lower) = climb::words(factor);
                let back = if goes_back { ": back to there, and on" } else { ": on" };
                (1.0 / factor, figures, format!("{metric} is no better for {higher} the rate{back} at {lower} of it"))
            }
        };
        for (name, value) in &mut figures {
            if name.starts_with("evaluation") {
                *value = self.lower_is_better(*value);
            }
        }
        state.scale *= factor;
        state.from = state.from.max(effective_step);
        outcome.ruling = Some(self.ruling(state.scale, self.held(state.cooldown_share, 0), reason, figures));
    }

    /// Something else lowers the rate: nothing is on trial any more.
    fn end_the_climb(state: &mut AutoState, outcome: &mut Outcome) {
        let Some(climb) = &mut state.climb else { return };
        outcome.actions.extend(climb.is_on_trial().then(|| Action::Forget(LOWER.to_owned())));
        climb.end();
    }

    /// A plateau of the evaluation.
    fn cut(&self, state: &mut AutoState, effective_step: u64, step: u64, outcome: &mut Outcome) {
        let metric = &self.evaluation;
        let (best, best_step) = state.hold.best().unwrap_or((f64::INFINITY, step));
        let figures = vec![
            ("best", self.lower_is_better(best)),
            ("best_step", number(best_step)),
            ("last", self.lower_is_better(state.hold.last())),
            ("error", state.hold.error()),
        ];
        if state.cut <= GIVE_UP {
            let reason =
                format!("{metric} has not improved since step {best_step}, and the rate has been cut to nothing");
            let evidence = evidence(figures);
            outcome.ruling = Some(Ruling::Advice(Advice { topic: Topic::Stop, reason, evidence }));
            return;
        }
        state.cut *= CUT;
        state.scale *= CUT;
        state.from = state.from.max(effective_step);
        let goes_back = state.is_best_kept && state.hold.is_best_clearly_better();
        let back = if goes_back { ": back to there, and on at half the rate" } else { ": on at half the rate" };
        if goes_back {
            outcome.actions.push(Action::Restore(BEST.to_owned()));
        }
        Self::end_the_climb(state, outcome);
        let reason = format!("{metric} has not improved since step {best_step}{back}");
        outcome.ruling = Some(self.ruling(state.scale, self.held(state.cooldown_share, 0), reason, figures));
    }

    /// A training without a horizon and without evaluations is cut by the trend of its loss.
    fn watch_the_trend(&self, state: &mut AutoState, observation: &Observation<'_>, outcome: &mut Outcome) {
        let Some(plateau) = &self.plateau else { return };
        let is_held = matches!(state.phase, Phase::Hold) && state.evaluations_seen == 0;
        if !is_held || !observation.is_as_directed || outcome.ruling.is_some() {
            return;
        }
        match plateau.observe(&mut state.plateau, observation).ruling {
            Some(Ruling::Move(found)) => {
                state.scale *= CUT;
                state.cut *= CUT;
                state.from = observation.effective_step;
                let shape = self.held(state.cooldown_share, 0);
                outcome.ruling = Some(Ruling::Move(Move { base_lrs: self.scaled(state.scale), shape, ..found }));
            }
            advice => outcome.ruling = advice,
        }
    }

    /// A training without evaluations cools down over its last half, and one with copies ends with the best of them.
    fn watch_the_end(&self, state: &mut AutoState, effective_step: u64, outcome: &mut Outcome) {
        let Some(total) = self.total_steps else { return };
        if matches!(state.phase, Phase::Search(_)) || matches!(outcome.ruling, Some(Ruling::Move(_))) {
            return;
        }
        let is_blind = state.evaluations_seen == 0 && self.search.is_some();
        let is_halfway = 2 * effective_step >= total;
        let cooldown_start = total - share_of(self.cooldown_share, total);
        if self.cools && is_blind && state.cooldown_share < BLIND_COOLDOWN_SHARE && is_halfway {
            state.cooldown_share = BLIND_COOLDOWN_SHARE;
            let reason = "no evaluation has been reported: the second half of the training is cooldown";
            let shape = self.held(state.cooldown_share, 0);
            outcome.ruling = Some(self.ruling(state.scale, shape, reason.to_owned(), Figures::new()));
        } else if self.cools && self.search.is_none() && !state.is_paced && effective_step >= cooldown_start {
            state.is_paced = true;
            let Some(pace) = state.hold.pace(share_of(self.cooldown_share, total)).filter(|&pace| pace > 0.0) else {
                return;
            };
            let share = self.cooldown_share * (AFFORDABLE / pace);
            if share < self.cooldown_share {
                state.cooldown_share = share;
                let figures = vec![("pace", pace), ("cooldown_share", share)];
                let reason =
                    "the evaluation still improves fast at the rate given: a shorter cooldown, which costs less";
                outcome.ruling = Some(self.ruling(state.scale, self.held(share, 0), reason.to_owned(), figures));
            }
        } else if effective_step + 1 >= total
            && !state.is_finished
            && state.is_best_kept
            && state.hold.should_finish_at_best()
        {
            state.is_finished = true;
            let (best, best_step) = state.hold.best().unwrap_or_default();
            let figures = vec![
                ("best", self.lower_is_better(best)),
                ("best_step", number(best_step)),
                ("last", self.lower_is_better(state.hold.last())),
            ];
            outcome.actions.push(Action::Restore(BEST.to_owned()));
            let reason = "the end: back to the best evaluation, which the last step leaves as it is";
            outcome.ruling = Some(self.ruling(0.0, flat(), reason.to_owned(), figures));
        }
    }

    /// An evaluation so that lower is better, and such a one as it was reported.
    fn lower_is_better(&self, value: f64) -> f64 {
        if self.is_higher_better { -value } else { value }
    }

    fn norm_bound(&self, bound: f64) -> NormBound {
        match self.tier {
            Tier::Rates => NormBound { clip_norm: None, skip_above_norm: Some(SKIP_FACTOR * bound) },
            Tier::Clip | Tier::Restore => NormBound { clip_norm: Some(bound), skip_above_norm: None },
        }
    }

    fn scaled(&self, scale: f64) -> Vec<f64> {
        self.base_lrs.iter().map(|base_lr| base_lr * scale).collect()
    }

    /// How held rates run: over `ramp_steps` up to themselves, and down at the end.
    fn held(&self, share: f64, ramp_steps: u64) -> RateShape {
        RateShape { is_flat: false, ramp_steps, cooldown_share: self.cools.then_some(share) }
    }

    fn ruling(&self, scale: f64, shape: RateShape, reason: String, figures: Figures) -> Ruling {
        Ruling::Move(Move { base_lrs: self.scaled(scale), shape, reason, evidence: evidence(figures) })
    }
}

/// Rates that are tried as they are.
fn flat() -> RateShape {
    RateShape { is_flat: true, ..RateShape::default() }
}

fn evidence(figures: Figures) -> BTreeMap<String, f64> {
    figures.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// So many steps are this share of them.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "steps are exact in f64, and the share lies in [0, 1]"
)]
fn share_of(share: f64, steps: u64) -> u64 {
    (share * steps as f64) as u64
}

/// A step as a figure for people.
#[expect(clippy::cast_precision_loss, reason = "steps are exact in f64")]
fn number(step: u64) -> f64 {
    step as f64
}
