//! Checks after every step of a held rate: the trend of the loss, and the end of the training.

use super::{
    copies::BEST,
    machine::{Auto, AutoState, CUT, Phase, flat},
    terms::Figures,
};
use crate::words::{Move, Observation, Outcome, Ruling};
use lrs_model::{decision::Action, number::exact, telemetry::LOSS};

/// The relative loss that a cooldown from a trusted rate may cost, at the pace at which the evaluation improves, or the
/// loss where there are too few evaluations. A cooldown loses half of the progress of its steps, and a rate that is too low already should not be
/// lowered much.
const AFFORDABLE: f64 = 0.02;

impl Auto {
    /// Cuts the rate on a plateau of the loss, where a training has no horizon and no evaluations.
    pub(super) fn watch_the_trend(&self, state: &mut AutoState, observation: &Observation<'_>, outcome: &mut Outcome) {
        let Some(plateau) = &self.plateau else { return };
        let is_held = matches!(state.phase, Phase::Hold) && state.evaluations_seen == 0;
        if !is_held || !observation.is_as_directed || outcome.ruling.is_some() {
            return;
        }
        match plateau.judge(&mut state.plateau, observation) {
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

    /// Cools a training without evaluations down over its last half, shortens a cooldown that would cost too much, and
    /// ends a training that keeps copies with the best of them.
    pub(super) fn watch_the_end(&self, state: &mut AutoState, effective_step: u64, outcome: &mut Outcome) {
        let Some(total) = self.total_steps else { return };
        if matches!(state.phase, Phase::Search(_)) || matches!(outcome.ruling, Some(Ruling::Move(_))) {
            return;
        }
        let is_blind = state.evaluations_seen == 0 && self.search.is_some();
        let is_halfway = 2 * effective_step >= total;
        let cooldown_start = total - share_of(self.revision.cooldown_share, total);
        if self.cools && is_blind && state.cooldown_share < self.revision.blind_cooldown_share && is_halfway {
            state.cooldown_share = self.revision.blind_cooldown_share;
            let reason = "no evaluation has been reported: the second half of the training is cooldown";
            let shape = self.held(state.cooldown_share, 0);
            outcome.ruling = Some(self.ruling(state.scale, shape, reason.to_owned(), Figures::new()));
        } else if self.cools && self.search.is_none() && !state.is_paced && effective_step >= cooldown_start {
            state.is_paced = true;
            let cooldown_steps = share_of(self.revision.cooldown_share, total);
            let (what, pace) = match state.hold.pace(cooldown_steps) {
                Some(pace) => (self.evaluation.as_str(), pace),
                None => (LOSS, state.guard.pace(cooldown_steps).unwrap_or_default()),
            };
            if pace <= 0.0 {
                return;
            }
            let share = self.revision.cooldown_share * (AFFORDABLE / pace);
            if share < self.revision.cooldown_share {
                state.cooldown_share = share;
                let figures = vec![("pace", pace), ("cooldown_share", share)];
                let reason =
                    format!("{what} still improves fast at the rate given: a shorter cooldown, which costs less");
                outcome.ruling = Some(self.ruling(state.scale, self.held(share, 0), reason, figures));
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
                ("best_step", exact(best_step)),
                ("last", self.lower_is_better(state.hold.last())),
            ];
            outcome.actions.push(Action::Restore(BEST.to_owned()));
            let reason = "the end: back to the best evaluation, which the last step leaves as it is";
            outcome.ruling = Some(self.ruling(0.0, flat(), reason.to_owned(), figures));
        }
    }
}

/// The number of steps that make this share of `steps`.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "steps are exact in f64, and the share lies in [0, 1]"
)]
fn share_of(share: f64, steps: u64) -> u64 {
    (share * exact(steps)) as u64
}
