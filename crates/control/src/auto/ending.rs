//! Checks after every step of a held rate: the trend of the loss, and the end of the training.

use super::{
    copies::BEST,
    machine::{Auto, AutoState, CUT, Phase, flat},
    progress::{EARLIEST, LATEST},
    terms::Figures,
};
use crate::words::{Move, Observation, Outcome, Ruling};
use lrs_model::{decision::Action, number::exact};

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

    /// Begins the cooldown of a trusted rate once the loss has slowed down, and puts it off while the loss has not.
    pub(super) fn watch_the_progress(&self, state: &mut AutoState, effective_step: u64, outcome: &mut Outcome) {
        let Some(total) = self.total_steps.filter(|_| self.cools && self.search.is_none()) else { return };
        let done = share_done(effective_step, total);
        let is_settled = state.is_cooldown_set || self.is_cooling(state, effective_step);
        if is_settled || !(EARLIEST..LATEST).contains(&done) || outcome.ruling.is_some() {
            return;
        }
        let Some(pace) = state.progress.pace(total) else { return };
        let reason = if pace.is_slow() {
            state.is_cooldown_set = true;
            state.cooldown_share = 1.0 - done;
            "the loss has slowed down: the cooldown begins"
        } else if self.is_cooling(state, effective_step + 1) {
            state.cooldown_share = 1.0 - LATEST;
            "the loss still falls fast: the cooldown begins later"
        } else {
            return;
        };
        let figures = vec![("pace", pace.now), ("mean_pace", pace.mean), ("pace_error", pace.error)];
        let shape = self.held(state.cooldown_share, 0);
        outcome.ruling = Some(self.ruling(state.scale, shape, reason.to_owned(), figures));
    }

    /// Whether the cooldown has begun at this step, or the training has ended.
    pub(super) fn is_cooling(&self, state: &AutoState, step: u64) -> bool {
        let share = if self.cools { state.cooldown_share } else { 0.0 };
        self.total_steps.is_some_and(|total| 1.0 - share_done(step, total) <= share)
    }

    /// Cools a training without evaluations down over its last half, and ends a training that keeps copies with the
    /// best of them.
    pub(super) fn watch_the_end(&self, state: &mut AutoState, effective_step: u64, outcome: &mut Outcome) {
        let Some(total) = self.total_steps else { return };
        if matches!(state.phase, Phase::Search(_)) || matches!(outcome.ruling, Some(Ruling::Move(_))) {
            return;
        }
        let is_blind = state.evaluations_seen == 0 && self.search.is_some();
        let is_halfway = 2 * effective_step >= total;
        if self.cools && is_blind && state.cooldown_share < self.revision.blind_cooldown_share && is_halfway {
            state.cooldown_share = self.revision.blind_cooldown_share;
            let reason = "no evaluation has been reported: the second half of the training is cooldown";
            let shape = self.held(state.cooldown_share, 0);
            outcome.ruling = Some(self.ruling(state.scale, shape, reason.to_owned(), Figures::new()));
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

/// The share of a training of `total_steps` that is done before this step.
fn share_done(step: u64, total_steps: u64) -> f64 {
    (exact(step) / exact(total_steps)).min(1.0)
}
