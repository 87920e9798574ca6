//! The effects of a loss: the next stage of a search, or a back-off from a divergence.

use super::{
    copies::{BEST, START, good_copy, stage_copy},
    finite::Seen,
    guard::Sight,
    machine::{Auto, AutoState, CUT, Phase, flat},
    search::{Next, Origin},
    terms::{Figures, When, evidence},
};
use crate::{
    wording::brief,
    words::{Advice, Outcome, Ruling},
};
use lrs_model::{
    decision::{Action, Topic},
    number::exact,
};

/// After a divergence the rate ramps up again over this share of the training.
const REWARM_SHARE: u64 = 50;
const MIN_REWARM_STEPS: u64 = 4;
const OPEN_REWARM_STEPS: u64 = 20;
/// A search waits so long for losses: a share of the training, within limits.
const LOSSLESS_SHARE: u64 = 20;
const LEAST_LOSSLESS: u64 = 8;
const MOST_LOSSLESS: u64 = 64;
/// How often a run whose losses are not finite begins anew from its start, each time at half the rate.
const FRESH_STARTS: usize = 4;

impl Auto {
    pub(super) fn observe_loss(&self, state: &mut AutoState, when: When, seen: Seen, outcome: &mut Outcome) {
        if let Seen::NeverFinite { since } = seen {
            let why = if since == 0 { "not even the first" } else { "although no update has been made since" };
            outcome.ruling = Some(Ruling::Advice(hopeless(since, why)));
            return;
        }
        if let (Seen::Loss(loss), Some(total), None) = (seen, self.total_steps, self.search) {
            state.progress.observe(loss, total);
        }
        let is_blind = !self.expects_evaluations && state.evaluations_seen == 0;
        match (&mut state.phase, self.search) {
            (Phase::Search(search), Some(machine)) => {
                let caution = match (self.can_restore(), is_blind) {
                    (false, _) => self.revision.caution,
                    (true, true) => self.revision.blind_caution,
                    (true, false) => self.revision.short_sight,
                };
                let next = machine.observe(search, when, seen, self.can_restore(), caution);
                self.search_on(state, when.effective_step, next, is_blind, outcome);
            }
            _ if self.guards => self.guard(state, when, seen, outcome),
            _ => {}
        }
    }

    /// Turns what the search wants into an outcome.
    fn search_on(&self, state: &mut AutoState, effective_step: u64, next: Next, is_blind: bool, outcome: &mut Outcome) {
        let Phase::Search(search) = &state.phase else { return };
        let (scale, stages) = (search.scale(), search.stages());
        let rate = |scale: f64| brief(self.named_base_lr() * scale);
        let (reason, figures, shape) = match next {
            Next::Stay => return,
            Next::Begin(figures) => (
                format!("the first loss is known: {} is tried, far below the rate given", rate(scale)),
                figures,
                flat(),
            ),
            Next::Rise { kept, figures } => {
                outcome.actions.push(Action::Keep(stage_copy(kept)));
                (format!("the rate does no harm: {} is tried", rate(scale)), figures, flat())
            }
            Next::Restart(figures) => {
                state.finite.begin_again();
                outcome.actions.push(Action::Restore(START.to_owned()));
                let reason =
                    format!("even the lowest rate is too high: back to the start, and {} is tried", rate(scale));
                (reason, figures, flat())
            }
            Next::Found { scale, from, is_given, figures } => {
                let reason = search.story(self.named_base_lr(), scale, is_given);
                match from {
                    Origin::Here => {}
                    Origin::Start => outcome.actions.push(Action::Restore(START.to_owned())),
                    Origin::Stage(number) => outcome.actions.push(Action::Restore(stage_copy(number))),
                }
                state.from = effective_step;
                state.finite.begin_again();
                state.climb.iter_mut().for_each(|climb| climb.begin_at(effective_step));
                outcome.actions.extend((0..stages).map(|stage| Action::Forget(stage_copy(stage))));
                state.phase = Phase::Hold;
                state.scale = scale;
                state.cooldown_share =
                    if is_blind { self.revision.blind_cooldown_share } else { self.revision.cooldown_share };
                (reason, figures, self.held(state.cooldown_share, 0))
            }
        };
        outcome.ruling = Some(self.ruling(scale, shape, reason, figures));
    }

    /// Ends a search that gets no losses: the rates are those that are given.
    pub(super) fn do_without_losses(&self, state: &mut AutoState, when: When, outcome: &mut Outcome) {
        let patience = self.total_steps.map_or(MOST_LOSSLESS, |total| total / LOSSLESS_SHARE);
        let Phase::Search(search) = &state.phase else { return };
        if state.lossless < patience.clamp(LEAST_LOSSLESS, MOST_LOSSLESS) {
            return;
        }
        outcome.actions.extend((0..search.stages()).map(|stage| Action::Forget(stage_copy(stage))));
        state.phase = Phase::Hold;
        state.from = when.effective_step;
        state.scale = 1.0;
        let steps = state.lossless;
        let reason =
            format!("no loss has been reported for {steps} steps, so there is no search: the rate as it is given");
        let shape = self.held(state.cooldown_share, 0);
        outcome.ruling = Some(self.ruling(1.0, shape, reason, vec![("steps", exact(steps))]));
    }

    /// Keeps copies while all is well, and backs off from a divergence.
    fn guard(&self, state: &mut AutoState, when: When, seen: Seen, outcome: &mut Outcome) {
        match seen {
            Seen::Loss(loss) => match state.guard.observe_loss(when.step, loss, self.total_steps, self.can_restore()) {
                Sight::Fine => {}
                Sight::Copy(copy) => outcome.actions.push(Action::Keep(good_copy(copy))),
                Sight::Diverged { passed_over, median, lowest, deviation } => {
                    let figures = vec![("median_loss", median), ("lowest_loss", lowest), ("deviation", deviation)];
                    let reason =
                        "the run has diverged: the loss is far above its lowest, so back, and on at half the rate";
                    self.back_off(state, when, passed_over, reason.to_owned(), figures, outcome);
                }
            },
            Seen::Lost { since } => {
                let passed_over = state.guard.diverge();
                if !self.can_restore() {
                    let why = "and this trainer keeps no copy to go back to";
                    outcome.ruling = Some(Ruling::Advice(hopeless(since, why)));
                } else if passed_over >= Self::places(state).len() + FRESH_STARTS {
                    let why = "and lower rates from the start on have not helped";
                    outcome.ruling = Some(Ruling::Advice(hopeless(since, why)));
                } else {
                    let reason =
                        format!("the loss has not been finite since step {since}, so back, and on at half the rate");
                    self.back_off(state, when, passed_over, reason, vec![("since_step", exact(since))], outcome);
                }
            }
            Seen::Missing | Seen::NeverFinite { .. } => {}
        }
    }

    /// The copies to go back to, the newest first.
    fn places(state: &AutoState) -> Vec<String> {
        let good = state.guard.good().iter().map(|&copy| good_copy(copy));
        good.chain(state.is_best_kept.then(|| BEST.to_owned())).chain([START.to_owned()]).collect()
    }

    /// Goes back to a copy, and on at half the rate.
    fn back_off(
        &self,
        state: &mut AutoState,
        when: When,
        passed_over: usize,
        reason: String,
        figures: Figures,
        outcome: &mut Outcome,
    ) {
        let mut places = Self::places(state);
        let place = places.swap_remove(passed_over.min(places.len() - 1));
        outcome.actions.push(Action::Restore(place));
        Self::end_the_climb(state, outcome);
        state.finite.begin_again();
        state.progress.forget_losses();
        state.scale *= CUT;
        state.from = when.effective_step;
        let ramp_steps = self.total_steps.map_or(OPEN_REWARM_STEPS, |total| total / REWARM_SHARE);
        let shape = self.held(state.cooldown_share, ramp_steps.max(MIN_REWARM_STEPS));
        outcome.ruling = Some(self.ruling(state.scale, shape, reason, figures));
    }
}

/// Advice to stop a run that has no finite loss any more.
fn hopeless(since: u64, why: &str) -> Advice {
    Advice {
        topic: Topic::Stop,
        is_lasting: true,
        reason: format!(
            "no loss has been finite since step {since}, {why}: stop, and look at the data and the weights"
        ),
        evidence: evidence(vec![("since_step", exact(since))]),
    }
}
