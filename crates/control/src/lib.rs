//! The closed loop: state machines that turn telemetry into moves of the base rates.
//!
//! A [`Controller`] is its checked parameters and never changes; all that it remembers is in a [`State`], a value that is
//! stored, replayed and compared. [`Controller::observe`] is a transition over those values: the same samples in the same
//! order give the same states and moves, bit for bit. One controller a file.

use serde::{Deserialize, Serialize};

use lrs_model::{controller::ControllerSpec, decision::Action, violation::Violations};

pub mod auto;
mod climb;
pub mod compat;
mod copies;
pub mod greedy;
mod guard;
mod hold;
mod judge;
pub mod keras_plateau;
pub mod noise_scale;
pub mod optax_plateau;
mod params;
pub mod plateau;
pub mod proportion;
pub mod range_test;
mod search;
pub mod shape;
mod sighting;
pub mod statistical_plateau;
mod wording;
mod words;

use auto::{Auto, AutoState};
use greedy::{Greedy, GreedyState};
use keras_plateau::{KerasPlateau, KerasPlateauState};
use noise_scale::{NoiseScale, NoiseScaleState};
use optax_plateau::{OptaxPlateau, OptaxPlateauState};
use plateau::{Plateau, PlateauState};
use range_test::{RangeTest, RangeTestState};
use statistical_plateau::{StatisticalPlateau, StatisticalPlateauState};
pub use words::{Advice, Move, Observation, Opening, Outcome, Ruling, Setting, Status};

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
    /// Finds the rate, holds it, cuts it on a plateau, cools down, and guards the run.
    Auto(Auto),
    /// Tries rising rates and reports what they did.
    RangeTest(RangeTest),
    /// Cuts the base rates when a statistical test finds no downward trend.
    StatisticalPlateau(StatisticalPlateau),
    /// Measures the gradient noise scale.
    NoiseScale(NoiseScale),
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
    /// Of [`Controller::Auto`].
    Auto(Box<AutoState>),
    /// Of [`Controller::RangeTest`].
    RangeTest(Box<RangeTestState>),
    /// Of [`Controller::StatisticalPlateau`].
    StatisticalPlateau(Box<StatisticalPlateauState>),
    /// Of [`Controller::NoiseScale`].
    NoiseScale(Box<NoiseScaleState>),
}

impl Controller {
    /// Checks `spec` for a job with this `setting`.
    ///
    /// Everything that is wrong is added to `violations`, with paths such as `reduce_lr_on_plateau.factor`; then, and only
    /// then, the result is `None`. The ranges are those in `proto/lrs/v1/controller.proto`.
    pub fn try_new(spec: &ControllerSpec, setting: &Setting, violations: &mut Violations) -> Option<Self> {
        if let ControllerSpec::Library(named) = spec {
            let native = compat::translate(named, violations)?.controller;
            return violations.within("params", |v| Self::native(&native, setting, v));
        }
        violations.within(spec.kind(), |v| Self::native(spec, setting, v))
    }

    /// Checks a spec of ours, with fields as seen from its parameters.
    fn native(spec: &ControllerSpec, setting: &Setting, v: &mut Violations) -> Option<Self> {
        use ControllerSpec as S;
        match spec {
            S::ReduceLrOnPlateau(spec) => Plateau::try_new(spec, setting.groups(), v).map(Self::Plateau),
            S::KerasPlateau(spec) => KerasPlateau::try_new(spec, v).map(Self::KerasPlateau),
            S::OptaxPlateau(spec) => OptaxPlateau::try_new(spec, v).map(Self::OptaxPlateau),
            S::Greedy(spec) => Greedy::try_new(spec, setting.groups(), v).map(Self::Greedy),
            S::Auto(spec) => Auto::try_new(spec, setting, v).map(Self::Auto),
            S::RangeTest(spec) => RangeTest::try_new(spec, setting, v).map(Self::RangeTest),
            S::StatisticalPlateau(spec) => StatisticalPlateau::try_new(spec, setting, v).map(Self::StatisticalPlateau),
            S::NoiseScale(spec) => NoiseScale::try_new(spec, v).map(Self::NoiseScale),
            // A translation is never another one.
            S::Library(_) => None,
        }
    }

    /// The state before anything has been observed, for a controller whose first directive is that of step `start`.
    #[must_use]
    pub fn initial(&self, start: u64) -> State {
        match self {
            Self::Plateau(plateau) => State::Plateau(plateau.initial()),
            Self::KerasPlateau(_) => State::KerasPlateau(KerasPlateauState::default()),
            Self::OptaxPlateau(_) => State::OptaxPlateau(OptaxPlateau::initial()),
            Self::Greedy(greedy) => State::Greedy(greedy.initial()),
            Self::Auto(auto) => State::Auto(Box::new(auto.initial(start))),
            Self::RangeTest(_) => State::RangeTest(Box::new(RangeTest::initial(start))),
            Self::StatisticalPlateau(_) => State::StatisticalPlateau(Box::default()),
            Self::NoiseScale(_) => State::NoiseScale(Box::default()),
        }
    }

    /// Base rates to begin with, for a controller that does not begin with those written. It is then the only one that moves them.
    #[must_use]
    pub fn opening(&self) -> Option<Opening> {
        match self {
            Self::Auto(auto) => Some(auto.opening()),
            Self::RangeTest(test) => Some(test.opening()),
            _ => None,
        }
    }

    /// Whether it may change base rates.
    #[must_use]
    pub fn moves_rates(&self) -> bool {
        !matches!(self, Self::NoiseScale(_))
    }

    /// The metrics that it looks at.
    #[must_use]
    pub fn metrics(&self) -> Vec<&str> {
        match self {
            Self::Plateau(plateau) => vec![plateau.metric()],
            Self::KerasPlateau(plateau) => vec![plateau.metric()],
            Self::OptaxPlateau(plateau) => vec![plateau.metric()],
            Self::Greedy(greedy) => vec![greedy.metric()],
            Self::Auto(auto) => auto.metrics(),
            Self::RangeTest(_) => vec![lrs_model::telemetry::LOSS],
            Self::StatisticalPlateau(plateau) => vec![plateau.metric()],
            Self::NoiseScale(_) => NoiseScale::METRICS.to_vec(),
        }
    }

    /// What it is at.
    #[must_use]
    pub fn status(&self, state: &State) -> Status {
        match (self, state) {
            (Self::Auto(auto), State::Auto(state)) => auto.status(state),
            (Self::RangeTest(_), State::RangeTest(state)) => RangeTest::status(state),
            (Self::StatisticalPlateau(plateau), State::StatisticalPlateau(state)) => plateau.status(state),
            (Self::NoiseScale(scale), State::NoiseScale(state)) => scale.status(state),
            _ => Status::default(),
        }
    }

    /// Takes note that a trainer begins at `step`, the first time or after a restart: it has no copies of earlier states.
    /// What it is to do there is in the answer.
    #[must_use]
    pub fn begin_attempt(&self, state: &mut State, step: u64) -> Vec<Action> {
        match (self, state) {
            (Self::Auto(auto), State::Auto(state)) => auto.begin_attempt(state, step),
            (Self::RangeTest(test), State::RangeTest(state)) => test.begin_attempt(state, step),
            _ => Vec::new(),
        }
    }

    /// Takes in one step.
    ///
    /// A metric that is NaN or infinite is an observation like any other. A sample that does not have the metric leaves
    /// everything as it is.
    #[must_use]
    pub fn observe(&self, state: &mut State, observation: &Observation<'_>) -> Outcome {
        let Observation { sample, base_lrs, .. } = *observation;
        match (self, &mut *state) {
            (Self::Plateau(plateau), State::Plateau(state)) => keep(state, plateau.observe(state, sample, base_lrs)),
            (Self::KerasPlateau(plateau), State::KerasPlateau(state)) => {
                keep(state, plateau.observe(state, sample, base_lrs))
            }
            (Self::OptaxPlateau(plateau), State::OptaxPlateau(state)) => {
                keep(state, plateau.observe(state, sample, base_lrs))
            }
            (Self::Greedy(greedy), State::Greedy(state)) => keep(state, greedy.observe(state, sample, base_lrs)),
            (Self::Auto(auto), State::Auto(state)) => auto.observe(state, observation),
            (Self::RangeTest(test), State::RangeTest(state)) => test.observe(state, observation),
            (Self::StatisticalPlateau(plateau), State::StatisticalPlateau(state)) => {
                plateau.observe(state, observation)
            }
            (Self::NoiseScale(scale), State::NoiseScale(state)) => scale.observe(state, observation),
            // The state of another controller: that one is no longer there, and this one begins.
            _ => {
                *state = self.initial(observation.effective_step);
                self.observe(state, observation)
            }
        }
    }
}

/// Keeps the next state of a controller that may only move the rates.
fn keep<S>(state: &mut S, (next, step_move): (S, Option<Move>)) -> Outcome {
    *state = next;
    step_move.into()
}

/// `spec` in our own words, where it is in a library's. One that is wrong stays as it is.
#[must_use]
pub fn expand(spec: &ControllerSpec) -> ControllerSpec {
    let ControllerSpec::Library(named) = spec else { return spec.clone() };
    compat::translate(named, &mut Violations::new()).map_or_else(|| spec.clone(), |translation| translation.controller)
}
