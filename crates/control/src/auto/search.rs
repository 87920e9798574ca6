//! The line-search warm-up: finds the rate by itself, from below, while it trains.
//!
//! The search first measures the loss and its error at almost no rate. Then it trains in short stages, at rates that
//! rise from a sixty-fourth of the given rate. A stage is judged by the median of its losses and their standard error.
//! The rate rises in big steps until a stage is clearly below the first loss, then in small steps until a stage is
//! worse than the best or blows up. The search chooses the lowest rate whose stage is within the error of the best, and
//! training goes on from the end of that stage. A stage whose rate is too high is cut short; if even the first stage is
//! too high, the search starts again much lower. If the steps for the search run out before any rate was too high and
//! before the given rate was tried, training goes on at the given rate.
//!
//! A decision takes effect some steps after the telemetry it rests on, so waiting for all losses of a stage would
//! lengthen the stage by as many steps. With copies, the search therefore decides on the next stage from the first
//! losses of the present one, and the next stage begins when the present one has its full length. The present stage is
//! judged during the next one, and can still end the search.
//!
//! Learning rate range test: Smith, "Cyclical Learning Rates for Training Neural Networks", WACV 2017,
//! <https://arxiv.org/abs/1506.01186>. Held stages with standard errors are our own; benches/training/LOG.md has the
//! measurements.

use lrs_model::number::exact;
use lrs_stats::{linear::standard_error, order::median};

use super::{
    finite::Seen,
    revision::Revision,
    terms::{Figures, When},
};

mod choice;
mod stage;
mod state;
mod story;

use stage::{CLEAR, Stage};
pub(super) use state::SearchState;
use state::{Ahead, FIRST_SHARE};

/// Steps at almost no rate, to measure the first loss and its error.
const PROBE_STEPS: usize = 8;
/// The fewest losses of a stage from which the search decides on the next stage, and from which it judges a stage.
const MIN_LOSSES: usize = 4;
/// How often the search may start again, and the factor by which each restart lowers the rate.
const RESTARTS: u32 = 4;
const RESTART_FACTOR: f64 = 1.0 / 64.0;
/// A training of fewer steps is too short for a search: its steps are worth more at the rate that is given.
pub(super) const LEAST_STEPS: u64 = 256;
/// The most stages.
const MAX_STAGES: usize = 48;

/// The search of a job.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Search {
    /// Without copies a stage that is too high cannot be undone. So the rate rises in smaller steps, a rise of the loss
    /// ends a stage sooner, and the rate found is divided by more.
    pub(super) is_cautious: bool,
    /// See `JobSpec.decision_lag`.
    pub(super) decision_lag: u64,
    pub(super) revision: &'static Revision,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Next {
    /// Go on with this stage.
    Stay,
    /// Begin the first stage.
    Begin(Figures),
    /// Begin the next stage, after keeping the state at the end of stage number `kept`.
    Rise { kept: usize, figures: Figures },
    /// Go back to the start, and begin again at a much lower rate.
    Restart(Figures),
    /// The search is over: go on at this rate.
    Found {
        scale: f64,
        from: Origin,
        /// Whether the steps have run out, so that it is the rate given.
        is_given: bool,
        figures: Figures,
    },
}

/// The state from which training goes on after the search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// The present state.
    Here,
    /// The state at the start of the training.
    Start,
    /// The state at the end of this stage.
    Stage(usize),
}

impl Search {
    /// Takes in what was seen of the loss of a step that ran at the rate on trial. A stage lasts until it has enough
    /// finite losses, or they are no more to be had. `can_keep` says whether the trainer keeps copies; the rate found
    /// is divided by `caution`.
    pub(super) fn observe(self, state: &mut SearchState, when: When, seen: Seen, can_keep: bool, caution: f64) -> Next {
        let Some(first) = state.first else { return self.probe(state, when, seen) };
        if state.ahead.is_some_and(|next| when.step >= next.begins_at) {
            // The losses of the stage's last steps have not been reported, so judge it without them.
            let next = self.judge(state, first, when, false, can_keep, caution);
            if next != Next::Stay {
                return next;
            }
        }
        if when.step < state.begins_at {
            return Next::Stay;
        }
        let is_blown = match seen {
            Seen::Loss(loss) => {
                state.losses.push(loss);
                self.is_blown(state, first)
            }
            Seen::Lost { .. } => true,
            Seen::Missing | Seen::NeverFinite { .. } => return Next::Stay,
        };
        let is_whole = match state.ahead {
            Some(next) => when.step + 1 >= next.begins_at,
            None => state.losses.len() >= state.stage_steps,
        };
        if is_blown || is_whole {
            return self.judge(state, first, when, is_blown, can_keep, caution);
        }
        let is_enough = state.losses.len() >= self.enough(state.stage_steps).max(MIN_LOSSES);
        if self.looks_ahead() && is_enough && state.ahead.is_none() && when.step < state.limit_step {
            return self.look_ahead(state, first, when);
        }
        Next::Stay
    }

    /// Whether the search decides on the next stage before it knows all losses of the present one. Without copies it
    /// waits for all of them, because a stage that is too high cannot be undone.
    fn looks_ahead(self) -> bool {
        self.revision.looks_ahead && !self.is_cautious && self.decision_lag > 1
    }

    /// How many of the losses of `steps` steps must be known to decide on the next stage, so that it begins right after
    /// them.
    fn enough(self, steps: usize) -> usize {
        let late = usize::try_from(self.decision_lag - 1).unwrap_or(usize::MAX);
        if self.looks_ahead() { steps.saturating_sub(late).max(1) } else { steps }
    }

    /// Takes in a loss at almost no rate; enough of them give the first loss.
    fn probe(self, state: &mut SearchState, when: When, seen: Seen) -> Next {
        if let Seen::Loss(loss) = seen {
            state.losses.push(loss);
        }
        let mut next = Next::Stay;
        if state.ahead.is_none() && state.losses.len() >= self.enough(PROBE_STEPS) {
            state.ahead = Some(Ahead { begins_at: when.effective_step, scale: FIRST_SHARE, is_kept: false });
            next = Next::Begin(vec![
                ("first_loss", median(&state.losses)),
                ("first_error", standard_error(&state.losses)),
            ]);
        }
        if state.losses.len() >= PROBE_STEPS
            && let Some(stage) = state.ahead.take()
        {
            let losses = std::mem::take(&mut state.losses);
            state.first = Some((median(&losses), standard_error(&losses)));
            state.enter(stage.begins_at, stage.scale);
        }
        next
    }

    /// Decides on the next stage from the first losses of the present one.
    fn look_ahead(self, state: &mut SearchState, first: (f64, f64), when: When) -> Next {
        let (loss, error) = (median(&state.losses), standard_error(&state.losses));
        let so_far = Stage { loss: Some(loss), error, scale: state.scale, is_kept: false };
        let has_left = so_far.has_left(first) || state.best().is_some_and(|best| best.has_left(first));
        let scale = state.scale * self.rise(has_left);
        let figures = so_far.figures(state.stages.len(), first);
        state.ahead = Some(Ahead { begins_at: when.effective_step, scale, is_kept: true });
        Next::Rise { kept: state.stages.len(), figures }
    }

    /// The factor from this stage's rate to the next one's.
    fn rise(self, has_left: bool) -> f64 {
        match (self.is_cautious, has_left) {
            (true, true) => 1.5,
            (true, false) | (false, true) => 2.0,
            (false, false) => 4.0,
        }
    }

    /// Judges a stage that has ended or blown up.
    fn judge(
        self,
        state: &mut SearchState,
        first: (f64, f64),
        when: When,
        is_blown: bool,
        can_keep: bool,
        caution: f64,
    ) -> Next {
        let losses = std::mem::take(&mut state.losses);
        let ahead = state.ahead.take();
        if let Some(next) = ahead
            && !is_blown
            && losses.len() < MIN_LOSSES
        {
            // Most of the stage ran at another rate, so it does not count.
            state.enter(next.begins_at, next.scale);
            return Next::Stay;
        }
        let mut over = Stage { loss: None, error: 0.0, scale: state.scale, is_kept: false };
        if !is_blown {
            (over.loss, over.error) = (Some(median(&losses)), standard_error(&losses));
        }
        let mut figures = over.figures(state.stages.len(), first);

        let is_worse = over.loss.is_none_or(|loss| loss > first.0 + CLEAR * over.error_to(first.1));
        if state.stages.is_empty() && is_worse && state.restarts < RESTARTS {
            state.restarts += 1;
            let scale = state.scale * RESTART_FACTOR;
            state.enter(when.effective_step, scale);
            return Next::Restart(figures);
        }
        let spread = first.1 * exact(PROBE_STEPS).sqrt();
        let no_gain = match (over.loss, state.best().map(|best| (*best, best.loss))) {
            (None, _) => true,
            (Some(_), None | Some((_, None))) => false,
            (Some(loss), Some((best, Some(best_loss)))) => {
                let clearly = (CLEAR * over.error_to(best.error)).max(3.0 * spread);
                let worse = if self.is_cautious { self.revision.cautious_worse } else { self.revision.worse };
                if best.has_left(first) {
                    loss >= best_loss + worse * over.error_to(best.error)
                } else {
                    loss > best_loss + clearly
                }
            }
        };
        let is_over = no_gain || when.step >= state.limit_step || state.stages.len() + 1 >= MAX_STAGES;
        // A copy is taken when the next stage is decided on.
        let is_copied = ahead.map_or(!is_over, |next| next.is_kept);
        over.is_kept = can_keep && !no_gain && is_copied;
        state.stages.push(over);
        let Some(best) = state.best().copied() else { return Next::Stay };
        let has_left = best.has_left(first);
        if !is_over {
            let Some(next) = ahead else {
                let scale = state.scale * self.rise(has_left);
                state.enter(when.effective_step, scale);
                return Next::Rise { kept: state.stages.len() - 1, figures };
            };
            state.enter(next.begins_at, next.scale);
            return Next::Stay;
        }
        if !no_gain && state.stages.iter().all(|stage| stage.scale < 1.0) {
            // The steps have run out below the rate that is given, and no rate was too high.
            state.scale = 1.0;
            return Next::Found { scale: 1.0, from: Origin::Here, is_given: true, figures };
        }
        figures.push(("best_loss", best.loss.unwrap_or(f64::INFINITY)));
        figures.push(("best_scale", best.scale));
        let Revision { tie, cautious_tie, .. } = *self.revision;
        let (chosen, scale) = if has_left {
            choice::least_tie(&state.stages, best, first, if self.is_cautious { cautious_tie } else { tie })
        } else {
            choice::stability_limit(&state.stages, best, tie)
        };
        state.scale = scale / caution;
        let from = match chosen {
            Some(number) if state.stages[number].is_kept => Origin::Stage(number),
            Some(number) if !no_gain && number + 1 == state.stages.len() => Origin::Here,
            _ => Origin::Start,
        };
        Next::Found { scale: state.scale, from, is_given: false, figures }
    }

    /// Whether the last losses leave no doubt that the rate is too high.
    fn is_blown(self, state: &SearchState, first: (f64, f64)) -> bool {
        let Some(last) = state.losses.len().checked_sub(3).map(|i| median(&state.losses[i..])) else { return false };
        let lowest = state.stages.iter().filter_map(|stage| stage.loss).fold(first.0, f64::min);
        let spread = first.1 * exact(PROBE_STEPS).sqrt();
        let size = first.0.abs();
        let is_spike = |loss: &f64| *loss > first.0 + self.revision.spike * (size + spread);
        last > first.0 + size + 10.0 * first.1
            || self.is_cautious && last > lowest + 4.0 * spread
            || state.losses.iter().any(is_spike)
    }
}

#[cfg(test)]
mod tests;
