//! The effects of an evaluation: a copy of the best state, a cut on a plateau, or a raise of the rate that a search
//! found.

use super::{
    climb::{self, Trial},
    copies::{BEST, LOWER},
    hold::Standing,
    machine::{Auto, AutoState, CUT, Phase},
    terms::{When, evidence},
};
use crate::words::{Advice, Outcome, Ruling};
use lrs_model::{
    decision::{Action, Topic},
    number::exact,
};

/// Once cuts have lowered the rate to this share, the next plateau advises to stop instead.
const GIVE_UP: f64 = 1.0 / 64.0;

impl Auto {
    pub(super) fn observe_evaluation(&self, state: &mut AutoState, when: When, value: f64, outcome: &mut Outcome) {
        state.evaluations_seen += 1;
        let is_searching = matches!(state.phase, Phase::Search(_));
        let value = self.lower_is_better(value);
        let is_patient = is_searching || !self.cuts || self.is_cooling(state, when.effective_step);
        match state.hold.observe(when.step, value, self.total_steps, is_patient) {
            Standing::Best if self.keeps_best => {
                state.is_best_kept = true;
                // Keep the best before any other action restores an earlier state.
                outcome.actions.insert(0, Action::Keep(BEST.to_owned()));
            }
            // At most one ruling a step, and a divergence comes first.
            Standing::Cut if !matches!(outcome.ruling, Some(Ruling::Move(_))) => {
                self.cut(state, when, outcome);
            }
            Standing::Best | Standing::Wait | Standing::Cut => {}
        }
        let is_held = matches!(state.phase, Phase::Hold) && !matches!(outcome.ruling, Some(Ruling::Move(_)));
        if let (Some(total), Some(machine), Some(climb)) = (self.total_steps, self.climb, &mut state.climb)
            && is_held
            && value.is_finite()
        {
            let trial = machine.observe(climb, &state.hold, when, total);
            self.climb_on(state, when.effective_step, trial, outcome);
        }
    }

    /// Turns what the climb wants into an outcome.
    fn climb_on(&self, state: &mut AutoState, effective_step: u64, trial: Trial, outcome: &mut Outcome) {
        let metric = &self.evaluation;
        let (factor, mut figures, reason) = match trial {
            Trial::Wait => return,
            Trial::Stay => {
                outcome.actions.push(Action::Forget(LOWER.to_owned()));
                return;
            }
            Trial::Raise { factor, figures } => {
                outcome.actions.push(Action::Keep(LOWER.to_owned()));
                let (how, higher, _) = climb::words(factor);
                (factor, figures, format!("{metric} improves {how}: {higher} the rate is tried"))
            }
            Trial::Fall { factor, goes_back, figures } => {
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

    /// Cuts the rate because the evaluation has reached a plateau.
    fn cut(&self, state: &mut AutoState, when: When, outcome: &mut Outcome) {
        let metric = &self.evaluation;
        let (best, best_step) = state.hold.best().unwrap_or((f64::INFINITY, when.step));
        let figures = vec![
            ("best", self.lower_is_better(best)),
            ("best_step", exact(best_step)),
            ("last", self.lower_is_better(state.hold.last())),
            ("error", state.hold.error()),
        ];
        if state.cut <= GIVE_UP {
            let reason =
                format!("{metric} has not improved since step {best_step}, and the rate has been cut to nothing");
            let evidence = evidence(figures);
            outcome.ruling = Some(Ruling::Advice(Advice { topic: Topic::Stop, is_lasting: false, reason, evidence }));
            return;
        }
        state.cut *= CUT;
        state.scale *= CUT;
        state.from = state.from.max(when.effective_step);
        let goes_back = state.is_best_kept && state.hold.is_best_clearly_better();
        let back = if goes_back { ": back to there, and on at half the rate" } else { ": on at half the rate" };
        if goes_back {
            outcome.actions.push(Action::Restore(BEST.to_owned()));
        }
        Self::end_the_climb(state, outcome);
        let missing = match state.hold.take_missing() {
            0 => String::new(),
            1 => " (one evaluation since was not finite, and does not count)".to_owned(),
            more => format!(" ({more} evaluations since were not finite, and do not count)"),
        };
        let reason = format!("{metric} has not improved since step {best_step}{missing}{back}");
        outcome.ruling = Some(self.ruling(state.scale, self.held(state.cooldown_share, 0), reason, figures));
    }
}
