//! What controllers told: base rates, bounds on the norm, actions and advice to stop, each from a step on.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use lrs_model::decision::{Action, NormBound, RateShape};

/// Bounds and actions kept: of steps that many changes ago nothing more is told. Trainers never ask for those.
const KEPT: usize = 1024;

/// Everything that controllers told in an attempt's history. Each list is by rising effective step.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Steering {
    moves: Vec<BaseMove>,
    bounds: Vec<(u64, NormBound)>,
    actions: Vec<(u64, Vec<Action>)>,
    stops: Vec<(u64, Option<Arc<str>>)>,
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

impl Steering {
    /// Adds a move that takes effect no earlier than those there are. Advice to stop is over with it.
    pub fn push_move(&mut self, base_move: BaseMove) {
        if self.is_stop_advised() {
            self.push_stop(base_move.effective_step, None);
        }
        self.moves.push(base_move);
    }

    /// Another bound from `effective_step` on.
    pub fn push_bound(&mut self, effective_step: u64, bound: NormBound) {
        self.bounds.pop_if(|(step, _)| *step == effective_step);
        self.bounds.push((effective_step, bound));
        forget_oldest(&mut self.bounds);
    }

    /// Actions before `effective_step` is trained, after those that are there already.
    pub fn push_actions(&mut self, effective_step: u64, actions: Vec<Action>) {
        match self.actions.last_mut().filter(|(step, _)| *step == effective_step) {
            Some((_, known)) => known.extend(actions),
            None => self.actions.push((effective_step, actions)),
        }
        forget_oldest(&mut self.actions);
    }

    /// Nothing is to be done any more at or past `step`: a new attempt begins there, and its trainer has kept no copies.
    pub fn forget_actions_from(&mut self, step: u64) {
        self.actions.retain(|(at, _)| *at < step);
    }

    /// Training could stop from `effective_step` on.
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
        forget_oldest(&mut self.stops);
    }

    /// The newest move in force at `step`.
    #[must_use]
    pub fn move_at(&self, step: u64) -> Option<&BaseMove> {
        self.moves[..self.moves.partition_point(|m| m.effective_step <= step)].last()
    }

    /// What is told for `step` beside the rates.
    #[must_use]
    pub fn at(&self, step: u64) -> Told {
        let actions = self.actions.binary_search_by_key(&step, |(at, _)| *at).ok();
        Told {
            bound: in_force(&self.bounds, step).copied().unwrap_or_default(),
            actions: actions.map(|i| self.actions[i].1.clone()).unwrap_or_default(),
            stop_advice: in_force(&self.stops, step).cloned().flatten(),
        }
    }
}

/// The last of `list` that took effect at or before `step`.
fn in_force<T>(list: &[(u64, T)], step: u64) -> Option<&T> {
    list[..list.partition_point(|(from, _)| *from <= step)].last().map(|(_, value)| value)
}

fn forget_oldest<T>(list: &mut Vec<T>) {
    if list.len() > KEPT {
        list.remove(0);
    }
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

    #[test]
    fn what_is_kept_is_bounded_and_the_newest_stays() {
        let mut steering = Steering::default();
        for step in 0..5000 {
            steering.push_bound(step, clip(1.0));
            steering.push_actions(step, vec![Action::Forget("x".into())]);
        }
        assert_eq!((steering.bounds.len(), steering.actions.len()), (KEPT, KEPT));
        assert_eq!(steering.at(4999).bound, clip(1.0));
        assert_eq!(steering.at(0).bound, NormBound::default());
    }

    #[test]
    fn advice_to_stop_stands_until_the_next_move() {
        let mut steering = Steering::default();
        steering.advise_stop(10, "nothing more comes");
        assert_eq!(steering.at(9).stop_advice, None);
        assert!(steering.at(500).stop_advice.is_some());
        steering.push_move(BaseMove { effective_step: 600, base_lrs: Arc::from([0.1]), shape: RateShape::default() });
        assert_eq!(steering.at(700).stop_advice, None);
        assert!(steering.at(500).stop_advice.is_some(), "what was told of a step stays told");
    }
}
