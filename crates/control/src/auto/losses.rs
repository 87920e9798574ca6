//! The effects of a loss: the next stage of a search, or a back-off from a divergence.

use super::{
    copies::{BEST, START, good_copy, stage_copy},
    guard::Sight,
    machine::{Auto, AutoState, CUT, Phase, flat},
    search::{Next, Origin},
    terms::{BLOWN_LOSS, When},
};
use crate::words::Outcome;
use lrs_model::decision::Action;

/// After a divergence the rate ramps up again over this share of the training.
const REWARM_SHARE: u64 = 50;
const MIN_REWARM_STEPS: u64 = 4;
const OPEN_REWARM_STEPS: u64 = 20;

impl Auto {
    pub(super) fn observe_loss(&self, state: &mut AutoState, when: When, loss: Option<f64>, outcome: &mut Outcome) {
        let is_blind = !self.expects_evaluations && state.evaluations_seen == 0;
        match (&mut state.phase, self.search) {
            (Phase::Search(search), Some(machine)) => {
                let caution = match (self.can_restore(), is_blind) {
                    (false, _) => self.revision.caution,
                    (true, true) => self.revision.blind_caution,
                    (true, false) => self.revision.short_sight,
                };
                let next = machine.observe(search, when, loss, self.can_restore(), caution);
                self.search_on(state, when.effective_step, next, is_blind, outcome);
            }
            _ if self.guards => self.guard(state, when, loss.unwrap_or(BLOWN_LOSS), outcome),
            _ => {}
        }
    }

    /// Turns what the search wants into an outcome.
    fn search_on(&self, state: &mut AutoState, effective_step: u64, next: Next, is_blind: bool, outcome: &mut Outcome) {
        let Phase::Search(search) = &state.phase else { return };
        let (scale, stages) = (search.scale(), search.stages());
        let (reason, figures, shape) = match next {
            Next::Stay => return,
            Next::Begin(figures) => {
                ("the first loss is known: the search begins far below the rate given", figures, flat())
            }
            Next::Rise { kept, figures } => {
                outcome.actions.push(Action::Keep(stage_copy(kept)));
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
                state.cooldown_share =
                    if is_blind { self.revision.blind_cooldown_share } else { self.revision.cooldown_share };
                (
                    "the search is over: the least rate that is as good as the best",
                    figures,
                    self.held(state.cooldown_share, 0),
                )
            }
        };
        outcome.ruling = Some(self.ruling(scale, shape, reason.to_owned(), figures));
    }

    /// Keeps copies while all is well, and backs off from a divergence.
    fn guard(&self, state: &mut AutoState, when: When, loss: f64, outcome: &mut Outcome) {
        match state.guard.observe_loss(when.step, loss, self.total_steps, self.can_restore()) {
            Sight::Fine => {}
            Sight::Copy(copy) => outcome.actions.push(Action::Keep(good_copy(copy))),
            Sight::Diverged { passed_over, median, lowest, deviation } => {
                let mut places: Vec<String> = state.guard.good().iter().map(|&copy| good_copy(copy)).collect();
                places.extend(state.is_best_kept.then(|| BEST.to_owned()));
                places.push(START.to_owned());
                let place = places.swap_remove(passed_over.min(places.len() - 1));
                outcome.actions.push(Action::Restore(place));
                Self::end_the_climb(state, outcome);
                state.scale *= CUT;
                state.from = when.effective_step;
                let ramp_steps = self.total_steps.map_or(OPEN_REWARM_STEPS, |total| total / REWARM_SHARE);
                let shape = self.held(state.cooldown_share, ramp_steps.max(MIN_REWARM_STEPS));
                let figures = vec![("median_loss", median), ("lowest_loss", lowest), ("deviation", deviation)];
                let reason = "the run has diverged: the loss is far above its lowest, so back, and on at half the rate";
                outcome.ruling = Some(self.ruling(state.scale, shape, reason.to_owned(), figures));
            }
        }
    }
}
