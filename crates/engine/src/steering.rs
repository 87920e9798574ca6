//! What controllers told the trainer: base rates, bounds on the norm, actions and advice to stop, each from a step on.
//!
//! A controller may tell something at every step, so only the newest of it stays in memory. A move of the base rates
//! that is no longer there is read back from the decisions on record, see `past.rs`. Older bounds, actions and advice
//! to stop are not: no trainer asks for a step that it trained a thousand changes ago.

use std::{borrow::Cow, sync::Arc};

use serde::{Deserialize, Serialize};

use super::{pages, recent::Recent};
use lrs_model::{
    controller::ControllerSpec,
    decision::{Action, Decision, Effect, NormBound, RateShape},
};

/// At least so many of the newest moves, bounds, actions and pieces of advice are kept.
const KEPT: usize = 1024;
/// At most so much lasting advice is kept. A spec has far fewer controllers.
const KEPT_LASTING: usize = 64;

/// What controllers told in an attempt's history. Each list is by rising effective step.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Steering {
    /// At most one a step: the last move of a step is the one in force.
    moves: Recent<BaseMove>,
    bounds: Recent<(u64, NormBound)>,
    actions: Recent<(u64, Vec<Action>)>,
    stops: Recent<(u64, Option<Arc<str>>)>,
    /// Advice to stop that later moves leave in force, at most one a controller.
    #[serde(default)]
    lasting_stops: Vec<LastingStop>,
    /// The moves in force at this step and later are all in `moves`.
    #[serde(default)]
    known_from: u64,
}

/// Advice to stop that stands as long as the spec has the controller that gave it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct LastingStop {
    from: u64,
    reason: Arc<str>,
    by: ControllerSpec,
}

/// When a controller told something.
#[derive(Clone, Copy, Debug)]
pub struct When {
    /// The step whose record it observed. What trainers are told from here on is kept, however much it is.
    pub observed_step: u64,
    /// The first step at which it counts.
    pub effective_step: u64,
}

impl When {
    /// At the beginning of an attempt nothing is observed.
    #[must_use]
    pub fn beginning(step: u64) -> Self {
        Self { observed_step: step, effective_step: step }
    }
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
    pub fn push_move(&mut self, when: When, base_lrs: Arc<[f64]>, shape: RateShape) {
        if self.is_stop_advised() {
            self.push_stop(when, None);
        }
        let effective_step = when.effective_step;
        if self.moves.last().is_some_and(|last| last.effective_step == effective_step) {
            self.moves.pop();
        }
        let kept = pages::moves(base_lrs.len());
        self.moves.push(BaseMove { effective_step, base_lrs, shape });
        if self.moves.shorten(kept, |first| first.effective_step <= when.observed_step) {
            self.known_from = self.moves.first().map_or(0, |first| first.effective_step);
        }
    }

    /// Sets another bound from the effective step on.
    pub fn push_bound(&mut self, when: When, bound: NormBound) {
        if self.bounds.last().is_some_and(|(step, _)| *step == when.effective_step) {
            self.bounds.pop();
        }
        push(&mut self.bounds, when, bound);
    }

    /// Adds actions before the effective step is trained, after those that are there already.
    pub fn push_actions(&mut self, when: When, mut actions: Vec<Action>) {
        if self.actions.last().is_some_and(|(step, _)| *step == when.effective_step) {
            self.actions.last_mut().into_iter().for_each(|(_, known)| known.append(&mut actions));
        } else {
            push(&mut self.actions, when, actions);
        }
    }

    /// Takes back every action at or past `step`: a new attempt begins there, and its trainer has kept no copies.
    pub fn forget_actions_from(&mut self, step: u64) {
        while self.actions.last().is_some_and(|(at, _)| *at >= step) {
            self.actions.pop();
        }
    }

    /// Advises to stop from the effective step on.
    pub fn advise_stop(&mut self, when: When, reason: &str) {
        if !self.is_stop_advised() {
            self.push_stop(when, Some(reason.into()));
        }
    }

    /// Advises to stop from the effective step on, whatever moves come later, under specs that have the controller
    /// `by`. Its first advice stands.
    pub fn advise_lasting_stop(&mut self, when: When, reason: &str, by: &ControllerSpec) {
        if self.lasting_stops.iter().any(|stop| stop.by == *by) {
            return;
        }
        if self.lasting_stops.len() == KEPT_LASTING {
            self.lasting_stops.remove(0);
        }
        self.lasting_stops.push(LastingStop { from: when.effective_step, reason: reason.into(), by: by.clone() });
    }

    /// The lasting advice to stop at `step` by one of these `controllers`.
    pub fn lasting_stop_at<'a>(
        &self,
        step: u64,
        mut controllers: impl Iterator<Item = Cow<'a, ControllerSpec>>,
    ) -> Option<Arc<str>> {
        if self.lasting_stops.is_empty() {
            return None;
        }
        controllers.find_map(|controller| {
            let given = self.lasting_stops.iter().find(|given| given.from <= step && given.by == *controller)?;
            Some(given.reason.clone())
        })
    }

    fn is_stop_advised(&self) -> bool {
        self.stops.last().is_some_and(|(_, reason)| reason.is_some())
    }

    fn push_stop(&mut self, when: When, reason: Option<Arc<str>>) {
        push(&mut self.stops, when, reason);
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

/// Adds to `list`, and forgets its oldest entries.
fn push<T: Clone>(list: &mut Recent<(u64, T)>, when: When, value: T) {
    list.push((when.effective_step, value));
    list.shorten(KEPT, |(first, _)| *first <= when.observed_step);
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
        steering.push_bound(When::beginning(10), clip(1.0));
        steering.push_bound(When::beginning(20), clip(2.0));
        for (step, bound) in [(9, NormBound::default()), (10, clip(1.0)), (19, clip(1.0)), (20, clip(2.0))] {
            assert_eq!(steering.at(step).bound, bound, "at step {step}");
        }
    }

    #[test]
    fn actions_belong_to_one_step_and_keep_their_order() {
        let mut steering = Steering::default();
        steering.push_actions(When::beginning(5), vec![Action::Restore("best".into())]);
        steering.push_actions(When::beginning(5), vec![Action::Keep("start".into())]);
        assert_eq!(steering.at(5).actions, [Action::Restore("best".into()), Action::Keep("start".into())]);
        assert_eq!(steering.at(4).actions, []);
        assert_eq!(steering.at(6).actions, []);
    }

    fn push_move(steering: &mut Steering, when: When, base_lr: f64) {
        steering.push_move(when, Arc::from([base_lr]), RateShape::default());
    }

    #[test]
    fn what_is_kept_is_bounded_and_the_newest_stays() {
        let mut steering = Steering::default();
        for step in 0..50_000 {
            let when = When::beginning(step);
            steering.advise_stop(when, "no more");
            let by = ControllerSpec::new(step.to_string(), serde_json::Map::new());
            steering.advise_lasting_stop(when, "reached", &by);
            push_move(&mut steering, when, 1.0);
            steering.push_bound(when, clip(1.0));
            steering.push_actions(when, vec![Action::Forget("x".into())]);
        }
        let Steering { moves, bounds, actions, stops, lasting_stops, known_from } = &steering;
        assert_eq!(lasting_stops.len(), KEPT_LASTING);
        for length in [moves.len(), bounds.len(), actions.len(), stops.len()] {
            assert!((KEPT..KEPT + 64).contains(&length), "{length}");
        }
        assert_eq!(*known_from, 50_000 - moves.len() as u64);
        assert!(steering.move_at(*known_from).is_some_and(|first| first.effective_step == *known_from));
        assert_eq!(steering.at(49_999).bound, clip(1.0));
        assert_eq!(steering.at(0).bound, NormBound::default());
    }

    #[test]
    fn what_is_still_to_be_trained_is_kept_however_much_came_after() {
        let mut steering = Steering::default();
        for step in 0..10_000 {
            let when = When { observed_step: step, effective_step: step + 4096 };
            push_move(&mut steering, when, 1.0);
            steering.push_bound(when, clip(f64::from(u32::try_from(step).unwrap())));
        }
        assert!(steering.known_from() <= 9_999, "{}", steering.known_from());
        assert_eq!(steering.at(9_999).bound, clip(9_999.0 - 4096.0));
        assert!(steering.moves.len() <= 4096 + 128 && steering.bounds.len() <= 4096 + 128);
    }

    #[test]
    fn of_two_moves_at_a_step_the_second_is_in_force() {
        let mut steering = Steering::default();
        push_move(&mut steering, When::beginning(5), 1.0);
        push_move(&mut steering, When::beginning(5), 2.0);
        assert_eq!(steering.moves.len(), 1);
        assert!(steering.move_at(5).is_some_and(|last| last.base_lrs[..] == [2.0]));
    }

    #[test]
    fn lasting_advice_to_stop_stands_while_the_spec_has_its_controller() {
        let [first, second] = ["a", "b"].map(|kind| ControllerSpec::new(kind, serde_json::Map::new()));
        let mut steering = Steering::default();
        steering.advise_lasting_stop(When::beginning(10), "reached", &first);
        steering.advise_lasting_stop(When::beginning(20), "also", &second);
        steering.advise_lasting_stop(When::beginning(25), "reached again", &first);
        push_move(&mut steering, When::beginning(30), 0.1);
        let advice = |step, spec: &[&ControllerSpec]| {
            steering.lasting_stop_at(step, spec.iter().map(|one| Cow::Borrowed(*one))).map(|reason| reason.to_string())
        };
        assert_eq!(advice(9, &[&first, &second]), None);
        assert_eq!(advice(10, &[&second, &first]).as_deref(), Some("reached"));
        assert_eq!(advice(40, &[&second]).as_deref(), Some("also"));
        assert_eq!(advice(40, &[]), None);
    }

    #[test]
    fn advice_to_stop_stands_until_the_next_move() {
        let mut steering = Steering::default();
        steering.advise_stop(When::beginning(10), "nothing more comes");
        assert_eq!(steering.at(9).stop_advice, None);
        assert!(steering.at(500).stop_advice.is_some());
        push_move(&mut steering, When::beginning(600), 0.1);
        assert_eq!(steering.at(700).stop_advice, None);
        assert!(steering.at(500).stop_advice.is_some(), "what was told of a step stays told");
    }
}
