//! The open loop: a rate as a pure function of the step.
//!
//! A [`ScheduleSpec`] is what somebody wrote; a [`Schedule`] is the same thing checked once, so that asking it for a
//! value can not fail. Whatever the form, it ends up as an expression of a dozen primitives ([`expand`] shows which), and
//! each primitive lives in a file of its own below this one.
//!
//! Time is an `f64` inside, because a schedule within a `repeat` sees fractions of a cycle. All transcendental functions
//! are the `libm` crate's, so the same step has the same bits on every machine.

use lrs_model::{MAX_STEP, schedule::ScheduleSpec, spec::Spec, violation::Violations};

mod breakpoints;
mod build;
mod chain;
mod check;
pub mod compat;
mod cycles;
mod decline;
mod ease;
mod horizon;
mod named;
mod node;
mod pace;
mod pointwise;
mod repeat;
mod seq;
mod shape;
mod time;
mod written;

use node::Node;

pub use breakpoints::MAX_BREAKPOINTS;
pub use build::{MAX_DEPTH, MAX_LIST, MAX_NODES};

/// What a schedule may have to know about the training that it is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Training {
    /// Its length in steps; `None` is open-ended.
    pub total_steps: Option<u64>,
    /// The steps of an epoch, if they are known.
    pub steps_per_epoch: Option<u64>,
}

impl From<Option<u64>> for Training {
    /// A training of so many steps, with epochs that nobody knows the length of.
    fn from(total_steps: Option<u64>) -> Self {
        Self { total_steps, steps_per_epoch: None }
    }
}

impl From<&Spec> for Training {
    fn from(spec: &Spec) -> Self {
        Self { total_steps: spec.total_steps, steps_per_epoch: spec.steps_per_epoch }
    }
}

/// A schedule whose parameters have been checked.
///
/// It is a value: evaluating it changes nothing, so repeated and out-of-order calls give the same bits.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    root: Node,
    uses_base: bool,
}

impl Schedule {
    /// Checks and compiles `spec` for a `training`; its number of steps alone will do.
    ///
    /// Everything that is wrong is added to `violations`, with paths such as `seq.parts[2].cosine.floor.min_lr`; then, and
    /// only then, the result is `None`. Refused are parameters outside the ranges given in
    /// `proto/lrs/v1/schedule.proto`, named forms without a length where there are no `total_steps` to take it from, and
    /// schedules beyond [`MAX_DEPTH`], [`MAX_NODES`] or [`MAX_LIST`].
    pub fn try_new(spec: &ScheduleSpec, training: impl Into<Training>, violations: &mut Violations) -> Option<Self> {
        let wrong_before = violations.len();
        let root = build::build(spec, training.into(), violations);
        (violations.len() == wrong_before).then(|| Self { uses_base: root.uses_base(), root })
    }

    /// The value at `step` for a group whose base rate is `base`.
    ///
    /// Finite for every input, and never -0. A result beyond the range of `f64`, at any place of the expression, is the largest finite
    /// number of its sign; a `base` that is NaN counts as 0; a step above [`MAX_STEP`] counts as [`MAX_STEP`].
    #[must_use]
    pub fn value_at(&self, step: u64, base: f64) -> f64 {
        self.value_at_time(node::exact(step.min(MAX_STEP)), base)
    }

    /// The value at any `time` in steps, between two of them too: the curve that [`value_at`](Self::value_at) is read off
    /// at whole steps. A time below 0 or NaN counts as 0.
    #[must_use]
    pub fn value_at_time(&self, time: f64, base: f64) -> f64 {
        let base = if base.is_nan() { 0.0 } else { node::saturate(base) };
        // A zero of either sign is the rate 0.
        self.root.at(node::saturate(time.max(0.0)), base) + 0.0
    }

    /// Of how many parts it is made, written out in the algebra.
    #[must_use]
    pub fn size(&self) -> usize {
        self.root.size()
    }

    /// Whether the value may depend on the base rate. If not, moving the base rate moves nothing.
    #[must_use]
    pub fn uses_base(&self) -> bool {
        self.uses_base
    }

    /// Steps in `0..=end` between which the curve is smooth, in rising order, each once; `0` and `end` are among them.
    ///
    /// At every boundary, restart, stair and end of a phase there are two: the first step at or after it, and the one
    /// before. A curve drawn through these and any others therefore shows every jump. At most [`MAX_BREAKPOINTS`]: beyond
    /// that outer boundaries are preferred to inner ones, and of too many cycles or stairs an even selection is given.
    #[must_use]
    pub fn breakpoints(&self, end: u64) -> Vec<u64> {
        breakpoints::of(&self.root, end.min(MAX_STEP))
    }
}

/// `spec` with every named form written out in the algebra; the values are the same, bit for bit.
///
/// Forms without a length of their own take what is left of the `training`.
/// What is wrong is added to `violations` as by [`Schedule::try_new`]; the result is then of no use, but does no harm.
pub fn expand(spec: &ScheduleSpec, training: impl Into<Training>, violations: &mut Violations) -> ScheduleSpec {
    written::spec_of(&build::build(spec, training.into(), violations))
}
