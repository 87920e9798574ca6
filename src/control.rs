//! The closed loop: state machines that turn telemetry into moves of the base rates.
//!
//! A [`Controller`] is its checked parameters and never changes; all that it remembers is in a [`State`], a value that is
//! stored, replayed and compared. [`Controller::observe`] is a transition over those values: the same samples in the same
//! order give the same states and moves, bit for bit. One controller a file.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::model::{controller::ControllerSpec, telemetry::Sample, violation::Violations};

pub mod compat;
pub mod greedy;
mod judge;
pub mod keras_plateau;
pub mod optax_plateau;
mod params;
pub mod plateau;

use greedy::{Greedy, GreedyState};
use keras_plateau::{KerasPlateau, KerasPlateauState};
use optax_plateau::{OptaxPlateau, OptaxPlateauState};
use plateau::{Plateau, PlateauState};

/// A controller whose parameters have been checked.
#[derive(Clone, Debug, PartialEq)]
pub enum Controller {
    /// Multiplies the base rates by a factor when a metric has stopped improving.
    Plateau(Plateau),
    /// The same, with the counting of Keras.
    KerasPlateau(KerasPlateau),
    /// The same, with the counting of Optax.
    OptaxPlateau(OptaxPlateau),
    /// Raises the base rates while a metric improves, and lowers them while it does not.
    Greedy(Greedy),
}

/// All that a controller remembers from one sample to the next.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Of [`Controller::Plateau`].
    Plateau(PlateauState),
    /// Of [`Controller::KerasPlateau`].
    KerasPlateau(KerasPlateauState),
    /// Of [`Controller::OptaxPlateau`].
    OptaxPlateau(OptaxPlateauState),
    /// Of [`Controller::Greedy`].
    Greedy(GreedyState),
}

/// New base rates, and what led to them.
#[derive(Clone, Debug, PartialEq)]
pub struct Move {
    /// One a parameter group, in the order of the spec. At least one differs from what it was.
    pub base_lrs: Vec<f64>,
    /// Why, as a sentence for people.
    pub reason: String,
    /// The figures behind it, by name.
    pub evidence: BTreeMap<String, f64>,
}

impl Controller {
    /// Checks `spec` for a job of so many parameter `groups`.
    ///
    /// Everything that is wrong is added to `violations`, with paths such as `reduce_lr_on_plateau.factor`; then, and only
    /// then, the result is `None`. The ranges are those in `proto/lrs/v1/controller.proto`.
    pub fn try_new(spec: &ControllerSpec, groups: usize, violations: &mut Violations) -> Option<Self> {
        if let ControllerSpec::Library(named) = spec {
            let native = compat::translate(named, violations)?.controller;
            return violations.within("params", |v| Self::native(&native, groups, v));
        }
        violations.within(spec.kind(), |v| Self::native(spec, groups, v))
    }

    /// Checks a spec of ours, with fields as seen from its parameters.
    fn native(spec: &ControllerSpec, groups: usize, v: &mut Violations) -> Option<Self> {
        use ControllerSpec as S;
        match spec {
            S::ReduceLrOnPlateau(spec) => Plateau::try_new(spec, groups, v).map(Self::Plateau),
            S::KerasPlateau(spec) => KerasPlateau::try_new(spec, v).map(Self::KerasPlateau),
            S::OptaxPlateau(spec) => OptaxPlateau::try_new(spec, v).map(Self::OptaxPlateau),
            S::Greedy(spec) => Greedy::try_new(spec, groups, v).map(Self::Greedy),
            // A translation is never another one.
            S::Library(_) => None,
        }
    }

    /// The state before anything has been observed.
    #[must_use]
    pub fn initial(&self) -> State {
        match self {
            Self::Plateau(plateau) => State::Plateau(plateau.initial()),
            Self::KerasPlateau(_) => State::KerasPlateau(KerasPlateauState::default()),
            Self::OptaxPlateau(_) => State::OptaxPlateau(OptaxPlateau::initial()),
            Self::Greedy(greedy) => State::Greedy(greedy.initial()),
        }
    }

    /// The metric that is watched; samples without it change nothing.
    #[must_use]
    pub fn metric(&self) -> &str {
        match self {
            Self::Plateau(plateau) => plateau.metric(),
            Self::KerasPlateau(plateau) => plateau.metric(),
            Self::OptaxPlateau(plateau) => plateau.metric(),
            Self::Greedy(greedy) => greedy.metric(),
        }
    }

    /// Takes in the `sample` of one step: the state after it, and a move of the base rates if it led to one.
    ///
    /// `base_lrs` are the groups' base rates as they are now, one a group. A metric that is NaN or infinite is an
    /// observation like any other. A sample that does not have the metric leaves everything as it is.
    #[must_use]
    pub fn observe(&self, state: &State, sample: &Sample, base_lrs: &[f64]) -> (State, Option<Move>) {
        match (self, state) {
            (Self::Plateau(plateau), State::Plateau(state)) => {
                let (state, moved) = plateau.observe(state, sample, base_lrs);
                (State::Plateau(state), moved)
            }
            (Self::KerasPlateau(plateau), State::KerasPlateau(state)) => {
                let (state, moved) = plateau.observe(state, sample, base_lrs);
                (State::KerasPlateau(state), moved)
            }
            (Self::OptaxPlateau(plateau), State::OptaxPlateau(state)) => {
                let (state, moved) = plateau.observe(state, sample, base_lrs);
                (State::OptaxPlateau(state), moved)
            }
            (Self::Greedy(greedy), State::Greedy(state)) => {
                let (state, moved) = greedy.observe(state, sample, base_lrs);
                (State::Greedy(state), moved)
            }
            // The state of another controller: that one is no longer there, and this one begins.
            _ => self.observe(&self.initial(), sample, base_lrs),
        }
    }
}

/// `spec` in our own words, where it is in a library's. One that is wrong stays as it is.
#[must_use]
pub fn expand(spec: &ControllerSpec) -> ControllerSpec {
    let ControllerSpec::Library(named) = spec else { return spec.clone() };
    compat::translate(named, &mut Violations::new()).map_or_else(|| spec.clone(), |translation| translation.controller)
}
