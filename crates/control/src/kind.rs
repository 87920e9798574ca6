//! What every kind of controller is made of.

use serde::{Serialize, de::DeserializeOwned};

use crate::words::{Observation, Opening, Outcome, Setting, Status};
use lrs_model::{decision::Action, violation::Violations};

/// A kind of controller: its parameters, what it remembers, and what it does with a step.
///
/// A value of the type is the checked parameters for one job, and never changes. All that the controller remembers is in
/// its [`State`](Self::State), a value that is stored, replayed and compared.
pub trait Kind: Sized {
    /// The kind's name in a spec, which is that of its field in `lrs.v1.Controller`.
    const NAME: &'static str;

    /// Whether the controller may change base rates.
    const MOVES_RATES: bool = true;

    /// Parameters whose defaults differ from release to release. A job keeps the value that was written down when it was
    /// registered.
    const KEPT: &'static [&'static str] = &[];

    /// The parameters, named as in the kind's message, with their defaults.
    type Params: Serialize + DeserializeOwned + Default;

    /// All that is remembered from one step to the next. Its size is bounded, however long the job runs.
    type State;

    /// Checks the parameters for a job with this `setting`. Every wrong field is noted in `v`, and then the result is
    /// `None`. The ranges are those in `proto/lrs/v1/controller.proto`.
    fn try_new(params: Self::Params, setting: &Setting, v: &mut Violations) -> Option<Self>;

    /// The state before anything has been observed, for a controller whose first directive is that of step `start`.
    fn initial(&self, start: u64) -> Self::State;

    /// The metrics that the controller looks at.
    fn metrics(&self) -> Vec<&str>;

    /// Takes in one step.
    fn observe(&self, state: &mut Self::State, observation: &Observation<'_>) -> Outcome;

    /// The base rates to begin with, for a controller that does not begin with those of the spec. Such a controller must be
    /// the only one that moves them.
    fn opening(&self) -> Option<Opening> {
        None
    }

    /// What the controller is doing.
    fn status(&self, _state: &Self::State) -> Status {
        Status::default()
    }

    /// Takes note that a trainer begins at `step`, the first time or after a restart, and has no copies of earlier states.
    /// Returns what the trainer does there.
    fn begin_attempt(&self, _state: &mut Self::State, _step: u64) -> Vec<Action> {
        Vec::new()
    }
}
