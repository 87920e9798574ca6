//! The trait of a kind of controller.

use serde::{Serialize, de::DeserializeOwned};

use crate::words::{Observation, Opening, Outcome, Setting, Status};
use lrs_model::{decision::Action, violation::Violations};

/// A kind of controller: its parameters, its state, and its reaction to a step.
///
/// A value of the type holds the checked parameters for one job, and never changes. Everything that the controller
/// remembers is in its [`State`](Self::State), a value that is stored, replayed and compared.
pub trait Kind: Sized {
    /// The kind's name in a spec: the name of its field in `lrs.v1.Controller`.
    const NAME: &'static str;

    /// Parameters whose defaults may change with a release. A job keeps the values that were written down when it was
    /// registered.
    const KEPT: &'static [&'static str] = &[];

    /// The parameters, named as in the kind's message, with their defaults.
    type Params: Serialize + DeserializeOwned + Default;

    /// Everything that the controller remembers from one step to the next. Its size is bounded, however long the job
    /// runs.
    type State;

    /// Checks the parameters for a job with this `setting`. Adds every wrong field to `v`, and then returns `None`.
    /// `proto/lrs/v1/controller.proto` gives the ranges.
    fn try_new(params: Self::Params, setting: &Setting, v: &mut Violations) -> Option<Self>;

    /// The state before the first observation, for a controller whose first directive is for step `start`.
    fn initial(&self, start: u64) -> Self::State;

    /// The metrics that the controller looks at.
    fn metrics(&self) -> Vec<&str>;

    /// Whether what was measured more than once at a step is observed at once, and not one value after another.
    fn takes_steps_whole(&self) -> bool {
        false
    }

    /// Observes one step.
    fn observe(&self, state: &mut Self::State, observation: &Observation<'_>) -> Outcome;

    /// The base rates to begin with, for a controller that does not begin with the spec's. It must be the only
    /// controller of its job that moves the base rates.
    fn opening(&self) -> Option<Opening> {
        None
    }

    /// Whether the controller may change base rates.
    fn moves_rates(&self) -> bool {
        true
    }

    /// Whether the only move is a cooldown, which stays on top of the moves of other controllers.
    fn only_cools(&self) -> bool {
        false
    }

    /// Whether anything that the trainer is told may depend on the controller.
    fn steers(&self) -> bool {
        true
    }

    /// What the controller does without `metric`, one of its metrics, which does not come; `None` if that does not
    /// matter.
    fn without(&self, _state: &Self::State, _metric: &str) -> Option<String> {
        Some("the controller cannot act".to_owned())
    }

    /// Whether the controller can do nothing without `metric`, one of its metrics.
    fn needs(&self, _metric: &str) -> bool {
        true
    }

    /// What the controller is doing, apart from what it lacks.
    fn status(&self, _state: &Self::State) -> Status {
        Status::default()
    }

    /// Notes that a trainer begins at `step`, for the first time or after a restart, and has no copies of earlier
    /// states. Returns the actions of the trainer at that step.
    fn begin_attempt(&self, _state: &mut Self::State, _step: u64) -> Vec<Action> {
        Vec::new()
    }
}
