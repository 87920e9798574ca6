//! What controllers told the trainer: base rates, bounds on the norm, actions and advice to stop, each from a step on.
//!
//! A controller may tell something at every step, so only the newest of it stays in memory. A move of the base rates
//! that is no longer there is read back from the decisions on record, see `past.rs`. Older bounds, actions and advice
//! to stop are not: no trainer asks for a step that it trained a thousand changes ago.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::recent::Recent;
use lrs_model::decision::{Action, Decision, Effect, NormBound, RateShape};

/// At least so many of the newest moves, bounds, actions and pieces of advice are kept.
const KEPT: usize = 1024;

/// What controllers told in an attempt's history. Each list is by rising effective step.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Steering {
    /// At most one a step: the last move of a step is the one in force.
    moves: Recent<BaseMove>,
    bounds: Recent<(u64, NormBound)>,
    actions: Recent<(u64, Vec<Action>)>,
    stops: Recent<(u64, Option<Arc<str>>)>,
    /// The moves in force at this step and later are all in `moves`.
    #[serde(default)]
    known_from: u64,
}

/// Base rates as a controller set them, one a group of the spec in force.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BaseMove {
    /// The first step they are in force at.
    pub effective_step: u64,
    /// The base rates.
    pub base_lrs: Arc<[f64]>,
    /// How they run from there.
    pub shape: RateShape,
}

/// What a trainer is told for a step beside the rates.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Told {
    /// Bounds on the norm of the gradient.
    pub bound: NormBound,
    /// What to do before the step is trained, in this order.
    pub actions: Vec<Action>,
    /// Why training could stop.
    pub stop_advice: Option<Arc<str>>,
}

impl BaseMove {
    /// The move that a controller's decision made, if it made one.
    #[must_use]
    pub fn of(decision: &Decision) -> Option<Self> {
        let Effect::BaseRates(rates) = &decision.effect else { return None };
        let base_lrs = rates.groups.iter().map(|group| group.base_lr).collect();
        Some(Self { effective_step: decision.effective_step, base_lrs, shape: rates.shape })
    }
}

impl Steering {
    /// Adds a move that takes effect no earlier than the moves before it. Advice to stop is over with it.
    ///
    /// Moves in force at `needed_from` or later are kept, however many they are.
    pub fn push_move(&mut self, base_move: BaseMove, needed_from: u64) {
        if self.is_stop_advised() {
            self.push_stop(base_move.effective_step, None);
        }
        if self.moves.last().is_some_and(|last| last.effective_step == base_move.effective_step) {
            self.moves.pop();
        }
        self.moves.push(base_move);
        if self.moves.shorten(KEPT, |first| first.effective_step <= needed_from) {
            self.known_from = self.moves.first().map_or(0, |first| first.effective_step);
        }
    }

    /// Sets another bound from `effective_step` on.
    pub fn push_bound(&mut self, effective_step: u64, bound: NormBound) {
        if self.bounds.last().is_some_and(|(step, _)| *step == effective_step) {
            self.bounds.pop();
        }
        self.bounds.push((effective_step, bound));
        self.bounds.shorten(KEPT, |_| true);
    }

    /// Adds actions before `effective_step` is trained, after those that are there already.
    pub fn push_actions(&mut self, effective_step: u64, actions: Vec<Action>) {
        if self.actions.last().is_some_and(|(step, _)| *step == effective_step) {
            self.actions.last_mut().into_iter().for_each(|(_, known)| known.extend(actions.iter().cloned()));
        } else {
            self.actions.push((effective_step, actions));
            self.actions.shorten(KEPT, |_| true);
        }
    }

    /// Takes back every action at or past `step`: a new attempt begins there, and its trainer has kept no copies.
    pub fn forget_actions_from(&mut self, step: u64) {
        while self.actions.last().is_some_and(|(at, _)| *at >= step) {
            self.actions.pop();
        }
    }

    /// Advises to stop from `effective_step` on.
    pub fn advise_stop(&mut self, effective_step: u64, reason: &str) {
        if !self.is_stop_advised() {
            self.push_stop(effective_step, Some(reason.into()));
        }
    }

    fn is_stop_advised(&self) -> bool {
        self.stops.last().is_some_and(|(_, reason)| reason.is_some())
    }

    fn push_stop(&mut self, effective_step: u64, reason: Option<Arc<str>>) {
        self.stops.push((effective_step, reason));
        self.stops.shorten(KEPT, |_| true);
    }

    /// [`Steering::move_at`] knows the move in force at this step and at every later one.
    #[must_use]
    pub fn known_from(&self) -> u64 {
        self.known_from
    }

    /// The move in force at `step`. Not for steps before [`Steering::known_from`].
    #[must_use]
    pub fn move_at(&self, step: u64) -> Option<&BaseMove> {
        debug_assert!(step >= self.known_from, "the move in force at step {step} has been forgotten");
        self.moves.last_with(|base_move| base_move.effective_step <= step)
    }

    /// What is told for `step` beside the rates.
    #[must_use]
    pub fn at(&self, step: u64) -> Told {
        let actions = self.actions.last_with(|(at, _)| *at <= step).filter(|(at, _)| *at == step);
        Told {
            bound: in_force(&self.bounds, step).copied().unwrap_or_default(),
            actions: actions.map(|(_, actions)| actions.clone()).unwrap_or_default(),
            stop_advice: in_force(&self.stops, step).cloned().flatten(),
        }
    }
}

/// The last of `list` that took effect at or before `step`.
fn in_force<T>(list: &Recent<(u64, T)>, step: u64) -> Option<&T> {
    list.last_with(|(from, _)| *from <= step).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clip(clip_norm: f64) -> NormBound {
        NormBound { clip_norm: Some(clip_norm), skip_above_norm: None }
    }

    #[test]
    fn a_bound_is_in_force_until_the_next_one() {
        let mut steering = Steering::default();
        steering.push_bound(10, clip(1.0));
        steering.push_bound(20, clip(2.0));
        for (step, bound) in [(9, NormBound::default()), (10, clip(1.0)), (19, clip(1.0)), (20, clip(2.0))] {
            assert_eq!(steering.at(step).bound, bound, "at step {step}");
        }
    }

    #[test]
    fn actions_belong_to_one_step_and_keep_their_order() {
        let mut steering = Steering::default();
        steering.push_actions(5, vec![Action::Restore("best".into())]);
        steering.push_actions(5, vec![Action::Snapshot("start".into())]);
        assert_eq!(steering.at(5).actions, [Action::Restore("best".into()), Action::Snapshot("start".into())]);
        assert_eq!(steering.at(4).actions, []);
        assert_eq!(steering.at(6).actions, []);
    }

    fn base_move(effective_step: u64, base_lr: f64) -> BaseMove {
        BaseMove { effective_step, base_lrs: Arc::from([base_lr]), shape: RateShape::default() }
    }

    #[test]
    fn what_is_kept_is_bounded_and_the_newest_stays() {
        let mut steering = Steering::default();
        for step in 0..50_000 {
            steering.advise_stop(step, "no more");
            steering.push_move(base_move(step, 1.0), step);
            steering.push_bound(step, clip(1.0));
            steering.push_actions(step, vec![Action::Forget("x".into())]);
        }
        let Steering { moves, bounds, actions, stops, known_from } = &steering;
        for length in [moves.len(), bounds.len(), actions.len(), stops.len()] {
            assert!((KEPT..KEPT + 64).contains(&length), "{length}");
        }
        assert_eq!(*known_from, 50_000 - moves.len() as u64);
        assert!(steering.move_at(*known_from).is_some_and(|first| first.effective_step == *known_from));
        assert_eq!(steering.at(49_999).bound, clip(1.0));
        assert_eq!(steering.at(0).bound, NormBound::default());
    }

    #[test]
    fn a_move_that_is_still_needed_is_kept_however_many_came_after() {
        let mut steering = Steering::default();
        for step in 0..10_000 {
            steering.push_move(base_move(step, 1.0), step.saturating_sub(4096));
        }
        assert!(steering.known_from() <= 9_999 - 4096, "{}", steering.known_from());
        assert!(steering.moves.len() <= 4096 + 128, "{}", steering.moves.len());
    }

    #[test]
    fn of_two_moves_at_a_step_the_second_is_in_force() {
        let mut steering = Steering::default();
        steering.push_move(base_move(5, 1.0), 0);
        steering.push_move(base_move(5, 2.0), 0);
        assert_eq!((steering.moves.len(), steering.move_at(5)), (1, Some(&base_move(5, 2.0))));
    }

    #[test]
    fn advice_to_stop_stands_until_the_next_move() {
        let mut steering = Steering::default();
        steering.advise_stop(10, "nothing more comes");
        assert_eq!(steering.at(9).stop_advice, None);
        assert!(steering.at(500).stop_advice.is_some());
        steering.push_move(base_move(600, 0.1), 599);
        assert_eq!(steering.at(700).stop_advice, None);
        assert!(steering.at(500).stop_advice.is_some(), "what was told of a step stays told");
    }
}
