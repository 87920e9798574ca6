//! The closed loop: state machines that turn telemetry into moves of the base rates.
//!
//! A [`Controller`] is its checked parameters and never changes; all that it remembers is in a [`State`], a value that is
//! stored, replayed and compared. [`Controller::observe`] is a transition over those values: the same samples in the same
//! order give the same states and moves, bit for bit. One controller a file.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::model::{controller::ControllerSpec, telemetry::Sample, violation::Violations};

pub mod plateau;

use plateau::{Plateau, PlateauState};

/// A controller whose parameters have been checked.
#[derive(Clone, Debug, PartialEq)]
pub enum Controller {
    /// Multiplies the base rates by a factor when a metric has stopped improving.
    Plateau(Plateau),
}

/// All that a controller remembers from one sample to the next.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Of [`Controller::Plateau`].
    Plateau(PlateauState),
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
        match spec {
            ControllerSpec::ReduceLrOnPlateau(plateau) => {
                violations.within(spec.kind(), |v| Plateau::try_new(plateau, groups, v)).map(Self::Plateau)
            }
        }
    }

    /// The state before anything has been observed.
    #[must_use]
    pub fn initial(&self) -> State {
        match self {
            Self::Plateau(plateau) => State::Plateau(plateau.initial()),
        }
    }

    /// The metric that is watched; samples without it change nothing.
    #[must_use]
    pub fn metric(&self) -> &str {
        match self {
            Self::Plateau(plateau) => plateau.metric(),
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
        }
    }
}
