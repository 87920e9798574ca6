//! The loop of one job: its parts, its state, and how it moves the rates.

use serde::{Deserialize, Serialize};

use super::{
    climb::{Climb, ClimbState},
    copies::LOWER,
    finite::FiniteState,
    guard::GuardState,
    hold::HoldState,
    progress::Progress,
    revision::Revision,
    search::{Search, SearchState},
    terms::{Figures, evidence},
};
use crate::{
    statistical_plateau::{StatisticalPlateau, StatisticalPlateauState},
    wording::brief,
    words::{Move, Outcome, Ruling},
};
use lrs_model::{
    decision::{Action, NormBound, RateShape},
    spec::Tier,
};

/// The factor by which a plateau or a divergence lowers the rate.
pub(super) const CUT: f64 = 0.5;
/// A trainer that cannot clip skips an update whose norm is this many times the bound.
const SKIP_FACTOR: f64 = 4.0;

/// The controller, for one job.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "each is one part of the loop, on or off by itself")]
pub struct Auto {
    pub(super) revision: &'static Revision,
    pub(super) base_lrs: Vec<f64>,
    pub(super) total_steps: Option<u64>,
    pub(super) tier: Tier,
    pub(super) evaluation: String,
    /// Whether higher evaluations are better.
    pub(super) is_higher_better: bool,
    /// Whether the job says that there will be evaluations.
    pub(super) expects_evaluations: bool,
    pub(super) search: Option<Search>,
    /// Whether a search would pay, were there more steps.
    pub(super) is_short: bool,
    /// Present if evaluations may raise the rate that the search found.
    pub(super) climb: Option<Climb>,
    pub(super) cuts: bool,
    pub(super) cools: bool,
    pub(super) guards: bool,
    pub(super) keeps_best: bool,
    /// For a training without a horizon, until an evaluation comes.
    pub(super) plateau: Option<StatisticalPlateau>,
}

/// What the controller remembers. Every list in it is bounded where it is declared.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AutoState {
    pub(super) phase: Phase,
    /// Steps before this one ran under older directives, so their losses say nothing about the rate in force.
    pub(super) from: u64,
    pub(super) hold: HoldState,
    pub(super) guard: GuardState,
    /// The rate in force as a multiple of the given rate: the multiple that the search found, times cuts, times
    /// back-offs.
    pub(super) scale: f64,
    /// The product of the cuts alone.
    pub(super) cut: f64,
    /// Whether the trainer keeps the state of the best evaluation.
    pub(super) is_best_kept: bool,
    /// The share of the training that the cooldown takes.
    pub(super) cooldown_share: f64,
    pub(super) is_finished: bool,
    /// Whether the loss has slowed down, so that the cooldown of a trusted rate has begun.
    pub(super) is_cooldown_set: bool,
    pub(super) progress: Progress,
    pub(super) steps_seen: u64,
    pub(super) evaluations_seen: u64,
    pub(super) finite: FiniteState,
    /// The steps in a row without a loss.
    pub(super) lossless: u64,
    pub(super) plateau: StatisticalPlateauState,
    /// Present if evaluations may raise the rate that the search found.
    pub(super) climb: Option<ClimbState>,
}

/// What the loop is doing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Phase {
    Search(SearchState),
    Hold,
}

impl Auto {
    pub(super) fn can_restore(&self) -> bool {
        self.tier == Tier::Restore
    }

    /// Ends the climb, because something else lowers the rate.
    pub(super) fn end_the_climb(state: &mut AutoState, outcome: &mut Outcome) {
        let Some(climb) = &mut state.climb else { return };
        outcome.actions.extend(climb.is_on_trial().then(|| Action::Forget(LOWER.to_owned())));
        climb.end();
    }

    /// Flips the sign of an evaluation where higher is better, so that lower is better; flipping again gives the
    /// reported value.
    pub(super) fn lower_is_better(&self, value: f64) -> f64 {
        if self.is_higher_better { -value } else { value }
    }

    pub(super) fn norm_bound(&self, bound: f64) -> NormBound {
        match self.tier {
            Tier::Rates => NormBound { clip_norm: None, skip_above_norm: Some(SKIP_FACTOR * bound) },
            Tier::Clip | Tier::Restore => NormBound { clip_norm: Some(bound), skip_above_norm: None },
        }
    }

    pub(super) fn scaled(&self, scale: f64) -> Vec<f64> {
        self.base_lrs.iter().map(|base_lr| base_lr * scale).collect()
    }

    /// The base rate that reasons name: that of the first group that trains.
    pub(super) fn named_base_lr(&self) -> f64 {
        self.base_lrs.iter().copied().find(|base_lr| *base_lr > 0.0).unwrap_or_default()
    }

    /// The shape of held rates: up over `ramp_steps`, and down over the cooldown `share` at the end.
    pub(super) fn held(&self, share: f64, ramp_steps: u64) -> RateShape {
        RateShape { ramp_steps, cooldown_share: self.cools.then_some(share), ..RateShape::default() }
    }

    /// That the given rate is trusted, in words.
    pub(super) fn trust(&self) -> String {
        let steps = self.total_steps.unwrap_or_default();
        format!("trusts {}: {steps} steps are too few to search", brief(self.named_base_lr()))
    }

    pub(super) fn ruling(&self, scale: f64, shape: RateShape, reason: String, figures: Figures) -> Ruling {
        Ruling::Move(Move { base_lrs: self.scaled(scale), shape, reason, evidence: evidence(figures) })
    }
}

/// The shape of rates that are tried as they are.
pub(super) fn flat() -> RateShape {
    RateShape { is_flat: true, ..RateShape::default() }
}
