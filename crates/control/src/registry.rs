//! Makes [`Controller`](crate::Controller), [`State`](crate::State) and the table of kinds from one row for each
//! controller.

use serde_json::Value;

use crate::{Controller, kind::Kind, words::Setting};
use lrs_model::{controller::ControllerSpec, violation::Violations};

/// A kind of controller in the table of kinds, found by its name.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    /// See [`Kind::KEPT`].
    pub(crate) kept: &'static [&'static str],
    /// The spec with every default written out.
    pub(crate) complete: fn(&ControllerSpec) -> Option<ControllerSpec>,
    /// Checks a spec; the paths of violations start at its parameters.
    pub(crate) try_new: fn(&ControllerSpec, &Setting, &mut Violations) -> Option<Controller>,
}

impl Row {
    pub(crate) const fn of<K: Kind>(
        try_new: fn(&ControllerSpec, &Setting, &mut Violations) -> Option<Controller>,
    ) -> Self {
        Self { name: K::NAME, kept: K::KEPT, complete: |spec| Some(written::<K>(&read::<K>(spec).ok()?)), try_new }
    }
}

/// Checks a spec of the kind `K`.
pub(crate) fn check<K: Kind>(spec: &ControllerSpec, setting: &Setting, v: &mut Violations) -> Option<K> {
    match read::<K>(spec) {
        Ok(params) => K::try_new(params, setting, v),
        // A field that has a wrong type or does not exist can only be in a spec that did not come over the wire.
        Err(error) => {
            v.add("", format_args!("has parameters that are not those of {}: {error}", K::NAME));
            None
        }
    }
}

fn read<K: Kind>(spec: &ControllerSpec) -> serde_json::Result<K::Params> {
    serde_json::from_value(Value::Object(spec.params().clone()))
}

/// The parameters of a spec of the kind `K`; `None` if the spec is of another kind or is wrong.
#[must_use]
pub fn params<K: Kind>(spec: &ControllerSpec) -> Option<K::Params> {
    read::<K>(spec).ok().filter(|_| spec.kind() == K::NAME)
}

/// The spec with these parameters.
pub(crate) fn written<K: Kind>(params: &K::Params) -> ControllerSpec {
    let Ok(Value::Object(params)) = serde_json::to_value(params) else {
        unreachable!("the parameters of {} are a struct of plain values", K::NAME)
    };
    ControllerSpec::new(K::NAME, params)
}

/// The controllers, a row each: the variant of `Controller` and `State`, and the type that implements [`Kind`]. The
/// name of a variant in snake case identifies a stored state, so it never changes.
macro_rules! controllers {
    ($($variant:ident = $kind:ty,)*) => {
        /// A controller whose parameters have been checked.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Controller {
            $(#[doc = concat!("See [`", stringify!($kind), "`].")] $variant($kind),)*
        }

        /// Everything that a controller remembers from one step to the next.
        #[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum State {
            $(#[doc = concat!("Of [`Controller::", stringify!($variant), "`].")] $variant(<$kind as Kind>::State),)*
        }

        /// Every kind.
        pub(crate) const ROWS: &[registry::Row] = &[
            $(registry::Row::of::<$kind>(|spec, setting, v| registry::check(spec, setting, v).map(Controller::$variant)),)*
        ];

        $(
            impl From<<$kind as Kind>::Params> for lrs_model::controller::ControllerSpec {
                fn from(params: <$kind as Kind>::Params) -> Self {
                    registry::written::<$kind>(&params)
                }
            }
        )*

        impl Controller {
            /// The state before the first observation, for a controller whose first directive is for step `start`.
            #[must_use]
            pub fn initial(&self, start: u64) -> State {
                match self {
                    $(Self::$variant(controller) => State::$variant(controller.initial(start)),)*
                }
            }

            /// The base rates to begin with, for a controller that does not begin with the spec's. It must be the only
            /// controller of its job that moves the base rates.
            #[must_use]
            pub fn opening(&self) -> Option<Opening> {
                match self {
                    $(Self::$variant(controller) => controller.opening(),)*
                }
            }

            /// Whether the controller may change base rates.
            #[must_use]
            pub fn moves_rates(&self) -> bool {
                match self {
                    $(Self::$variant(controller) => controller.moves_rates(),)*
                }
            }

            /// Whether the only move is a cooldown, which stays on top of the moves of other controllers.
            #[must_use]
            pub fn only_cools(&self) -> bool {
                match self {
                    $(Self::$variant(controller) => controller.only_cools(),)*
                }
            }

            /// Whether anything that the trainer is told may depend on the controller.
            #[must_use]
            pub fn steers(&self) -> bool {
                match self {
                    $(Self::$variant(controller) => controller.steers(),)*
                }
            }

            /// Whether what was measured more than once at a step is observed at once, and not one value after another.
            #[must_use]
            pub fn takes_steps_whole(&self) -> bool {
                match self {
                    $(Self::$variant(controller) => controller.takes_steps_whole(),)*
                }
            }

            /// Whether `state` is of this kind of controller.
            #[must_use]
            pub fn owns(&self, state: &State) -> bool {
                match (self, state) {
                    $((Self::$variant(_), State::$variant(_)) => true,)*
                    _ => false,
                }
            }

            /// Whether the controller can do nothing without `metric`.
            fn needs(&self, metric: &str) -> bool {
                match self {
                    $(Self::$variant(controller) => controller.needs(metric),)*
                }
            }

            /// What the controller does without `metric`; `None` if that does not matter.
            fn without(&self, state: &State, metric: &str) -> Option<String> {
                match (self, state) {
                    $((Self::$variant(controller), State::$variant(state)) => controller.without(state, metric),)*
                    _ => None,
                }
            }

            /// The metrics that the controller looks at.
            #[must_use]
            pub fn metrics(&self) -> Vec<&str> {
                match self {
                    $(Self::$variant(controller) => controller.metrics(),)*
                }
            }

            /// What the controller is doing, apart from what it lacks; empty if the state is of another kind.
            fn activity(&self, state: &State) -> Status {
                match (self, state) {
                    $((Self::$variant(controller), State::$variant(state)) => controller.status(state),)*
                    _ => Status::default(),
                }
            }

            /// Notes that a trainer begins at `step`, for the first time or after a restart, and has no copies of
            /// earlier states. Returns the actions of the trainer at that step.
            #[must_use]
            pub fn begin_attempt(&self, state: &mut State, step: u64) -> Vec<lrs_model::decision::Action> {
                match (self, state) {
                    $((Self::$variant(controller), State::$variant(state)) => controller.begin_attempt(state, step),)*
                    _ => Vec::new(),
                }
            }

            /// Observes one step.
            ///
            /// A metric that is NaN or infinite is an ordinary observation. A sample without the metric leaves the
            /// state as it is. The state of another kind of controller is replaced by the initial state.
            #[must_use]
            pub fn observe(&self, state: &mut State, observation: &Observation<'_>) -> Outcome {
                match (self, &mut *state) {
                    $((Self::$variant(controller), State::$variant(state)) => controller.observe(state, observation),)*
                    _ => {
                        *state = self.initial(observation.effective_step);
                        self.observe(state, observation)
                    }
                }
            }
        }
    };
}
pub(crate) use controllers;
