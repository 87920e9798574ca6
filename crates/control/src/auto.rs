//! The recommended closed loop: finds the rate, holds it, cuts it on a plateau, cools down, and guards the run.
//!
//! The loop is made of the line-search warm-up (`search`), raises on trial after it (`climb`), the hold with plateau
//! cuts (`hold`), the guard (`guard`), and the cooldown ([`shape`](crate::shape)). All jobs have the same default
//! configuration; the length of the training, the tier of the trainer and the decision lag come from the job.
//! docs/controllers.md describes the loop, and benches/training/LOG.md has the measurements.
//!
//! All rates are the written base rates times one factor, so that groups keep their proportions.

use serde::{Deserialize, Serialize};

use crate::{
    kind::Kind,
    statistical_plateau::{self, StatisticalPlateau, StatisticalPlateauState},
    words::{Observation, Opening, Outcome, Ruling, Setting, Status},
};
use lrs_model::{
    controller::Mode,
    decision::Action,
    spec::Tier,
    telemetry::{GRAD_NORM, LOSS, is_metric_name},
    violation::Violations,
};

mod climb;
mod copies;
mod divergence;
mod ending;
mod evaluations;
mod finite;
mod guard;
mod hold;
mod losses;
mod machine;
mod progress;
mod revision;
mod search;
mod terms;

use climb::{Climb, ClimbState};
use copies::START;
pub(crate) use divergence::{Diverged, Divergence, DivergenceState};
use finite::FiniteState;
use guard::GuardState;
use hold::HoldState;
pub use machine::{Auto, AutoState};
use machine::{Phase, flat};
use progress::Progress;
use search::{LEAST_STEPS, Search, SearchState};
use terms::When;

/// The number of the newest revision of the rule; the first is 1.
pub const REVISION: u64 = revision::NEWEST;
/// The evaluation metric, if neither the controller nor the objective names one.
const EVALUATION: &str = "val_loss";

/// The parameters. A parameter that is `None` is derived from the job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(missing_docs, reason = "described in proto/lrs/v1/controller.proto")]
pub struct Params {
    pub evaluation_metric: Option<String>,
    pub search: Option<bool>,
    pub plateau_cuts: Option<bool>,
    pub cooldown: Option<bool>,
    pub guard: Option<bool>,
    pub keep_best: Option<bool>,
    pub revision: u64,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            evaluation_metric: None,
            search: None,
            plateau_cuts: None,
            cooldown: None,
            guard: None,
            keep_best: None,
            revision: REVISION,
        }
    }
}

impl Kind for Auto {
    const NAME: &'static str = "auto";
    const KEPT: &'static [&'static str] = &["revision"];

    type Params = Params;
    type State = Box<AutoState>;

    fn try_new(params: Params, setting: &Setting, v: &mut Violations) -> Option<Self> {
        let wrong_before = v.len();
        if let Some(metric) = params.evaluation_metric.as_ref().filter(|metric| !is_metric_name(metric)) {
            v.refuse("evaluation_metric", format!("{metric:?}"), "1 to 100 characters without spaces");
        }
        if setting.base_lrs.iter().all(|&base_lr| base_lr == 0.0) {
            v.add("", "has nothing to start from: give the groups a base_lr greater than 0, a guess is enough");
        }
        if params.cooldown == Some(true) && setting.total_steps.is_none() {
            v.add("cooldown", "is not possible without total_steps");
        }
        if params.keep_best == Some(true) && setting.tier < Tier::Restore {
            v.add("keep_best", "is not possible below tier 2: the trainer keeps no copies");
        }
        let revision = revision::revision(params.revision);
        if revision.is_none() {
            v.refuse("revision", params.revision, format!("from 1 to {REVISION}"));
        }
        let objective = setting.objective.as_ref().filter(|(metric, _)| metric != LOSS && metric != GRAD_NORM);
        let named = params.evaluation_metric.or_else(|| objective.map(|(metric, _)| metric.clone()));
        let expects_evaluations = named.is_some();
        let evaluation = named.unwrap_or_else(|| EVALUATION.to_owned());
        let mode = setting.objective.as_ref().filter(|(metric, _)| *metric == evaluation).map(|(_, mode)| *mode);
        let is_full = setting.tier == Tier::Restore;
        let is_short =
            is_full && params.search.is_none() && setting.total_steps.is_some_and(|total| total < LEAST_STEPS);
        let searches = params.search.unwrap_or(is_full && !is_short);
        let is_open = setting.total_steps.is_none() && params.plateau_cuts != Some(false);
        let plateau = StatisticalPlateau::try_new(statistical_plateau::Params::default(), setting, v);
        let revision = revision.filter(|_| v.len() == wrong_before)?;
        Some(Self {
            revision,
            base_lrs: setting.base_lrs.clone(),
            total_steps: setting.total_steps,
            tier: setting.tier,
            evaluation,
            is_higher_better: mode == Some(Mode::Max),
            expects_evaluations,
            search: searches.then_some(Search { is_cautious: !is_full, decision_lag: setting.decision_lag, revision }),
            climb: (revision.climbs && is_full && searches).then_some(Climb { revision }),
            is_short,
            cuts: params.plateau_cuts.unwrap_or(true),
            cools: params.cooldown.unwrap_or(setting.total_steps.is_some() && !setting.has_schedule),
            guards: params.guard.unwrap_or(true),
            keeps_best: params.keep_best.unwrap_or(is_full),
            plateau: plateau.filter(|_| is_open),
        })
    }

    fn initial(&self, start: u64) -> Self::State {
        Box::new(AutoState {
            phase: self.search.map_or(Phase::Hold, |_| Phase::Search(SearchState::new(start, self.total_steps))),
            from: start,
            hold: HoldState::new(start),
            guard: GuardState::default(),
            scale: 1.0,
            cut: 1.0,
            is_best_kept: false,
            cooldown_share: self.revision.cooldown_share,
            is_finished: false,
            is_cooldown_set: false,
            progress: Progress::default(),
            steps_seen: 0,
            evaluations_seen: 0,
            finite: FiniteState::default(),
            lossless: 0,
            plateau: StatisticalPlateauState::default(),
            climb: self.climb.map(|_| ClimbState::default()),
        })
    }

    /// The first probe of a search, or the given rate with its cooldown.
    fn opening(&self) -> Option<Opening> {
        Some(match self.search {
            Some(_) => Opening { base_lrs: self.scaled(SearchState::new(0, None).scale()), shape: flat() },
            None => Opening { base_lrs: self.base_lrs.clone(), shape: self.held(self.revision.cooldown_share, 0) },
        })
    }

    fn metrics(&self) -> Vec<&str> {
        vec![LOSS, GRAD_NORM, &self.evaluation]
    }

    fn status(&self, state: &Self::State) -> Status {
        let phase = match &state.phase {
            Phase::Search(_) => "searching",
            Phase::Hold if state.climb.as_ref().is_some_and(ClimbState::is_on_trial) => "trying a higher rate",
            Phase::Hold => "holding",
        };
        Status { phase, notice: self.trouble(state).unwrap_or_default(), ..Status::default() }
    }

    fn without(&self, state: &Self::State, metric: &str) -> Option<String> {
        match metric {
            LOSS => Some("the closed loop cannot act".to_owned()),
            GRAD_NORM => self.guards.then(|| "there is no bound on the gradient's norm".to_owned()),
            _ => {
                let is_cooled_longer =
                    self.cools && self.search.is_some() && self.total_steps.is_some() && state.evaluations_seen == 0;
                let longer = if is_cooled_longer { ", half the training is cooldown" } else { "" };
                self.cuts.then(|| format!("there are no cuts on a plateau{longer}"))
            }
        }
    }

    fn needs(&self, metric: &str) -> bool {
        metric == LOSS
    }

    fn begin_attempt(&self, state: &mut Self::State, step: u64) -> Vec<Action> {
        state.from = state.from.max(step);
        state.guard.lose_copies();
        state.is_best_kept = false;
        state.climb.iter_mut().for_each(ClimbState::lose_copies);
        if let Phase::Search(search) = &mut state.phase {
            search.lose_copies();
        }
        self.can_restore().then(|| Action::Keep(START.to_owned())).into_iter().collect()
    }

    fn observe(&self, state: &mut Self::State, observation: &Observation<'_>) -> Outcome {
        let sample = observation.sample;
        let when = When { step: sample.step, effective_step: observation.effective_step };
        let mut outcome = Outcome::default();
        if sample.step < state.from && state.steps_seen == 0 {
            // The step ran before this controller existed.
            return outcome;
        }
        state.steps_seen += 1;
        if self.guards
            && sample.loss.is_none_or(f64::is_finite)
            && let Some(norm) = sample.grad_norm.filter(|norm| norm.is_finite())
        {
            outcome.bound = state.guard.observe_norm(norm).map(|bound| self.norm_bound(bound));
        }
        if let Some(loss) = sample.loss.filter(|_| sample.step >= state.from) {
            if observation.is_as_directed {
                let seen = state.finite.observe(sample.step, loss, sample.is_skipped());
                self.observe_loss(state, when, seen, &mut outcome);
            } else {
                Self::begin_again(state, sample.step);
            }
        }
        state.lossless = if sample.loss.is_some() { 0 } else { state.lossless + 1 };
        self.do_without_losses(state, when, &mut outcome);
        if let Some(value) = sample.metric(&self.evaluation) {
            self.observe_evaluation(state, when, value, &mut outcome);
        }
        self.watch_the_trend(state, observation, &mut outcome);
        self.watch_the_progress(state, observation.effective_step, &mut outcome);
        self.watch_the_end(state, observation.effective_step, &mut outcome);
        let is_over = self.total_steps.is_some_and(|total| observation.effective_step >= total);
        if is_over && matches!(outcome.ruling, Some(Ruling::Move(_))) {
            outcome.ruling = None;
        }
        if is_over || !self.can_restore() {
            outcome.actions.clear();
        }
        outcome
    }
}

impl Auto {
    /// What comes and cannot be used.
    fn trouble(&self, state: &AutoState) -> Option<String> {
        if let Some(since) = state.finite.lost_since() {
            return Some(format!("no loss has been finite since step {since}"));
        }
        if let Some(from) = state.hold.missing_from() {
            return Some(format!("no {} since step {from} is finite, and they count for nothing", self.evaluation));
        }
        self.is_short.then(|| self.trust())
    }

    /// Drops the losses of the present stage or window, because a step ran at another rate than this controller's.
    fn begin_again(state: &mut AutoState, step: u64) {
        match &mut state.phase {
            Phase::Search(search) => search.begin_stage_again(),
            Phase::Hold => {
                state.guard.forget_losses();
                state.progress.forget_losses();
                state.climb.iter_mut().for_each(|climb| climb.begin_at(step + 1));
            }
        }
    }
}
