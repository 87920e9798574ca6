//! The open loop: a rate as a pure function of the step.
//!
//! A [`ScheduleSpec`] is a schedule as somebody wrote it. A [`Schedule`] is that schedule after it was checked, so
//! asking it for a value cannot fail. Every form becomes an expression of a dozen primitives, which [`expand`] shows.
//! Each primitive has a file here, each named form a file under `named`, and each library a file under `compat`.
//!
//! Time is an `f64` inside, because a schedule within a `repeat` sees fractions of a cycle. All transcendental
//! functions are the `libm` crate's, so the same step has the same bits on every machine.

use lrs_model::{MAX_STEP, number::exact, schedule::ScheduleSpec, violation::Violations};

mod breakpoints;
mod build;
mod canonical;
mod chain;
mod check;
pub mod compat;
mod curve;
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
mod training;
mod written;

use curve::{Curve as _, saturate};
use node::Node;

pub use breakpoints::MAX_BREAKPOINTS;
pub use build::{MAX_DEPTH, MAX_NODES};
pub use canonical::canonical;
pub use check::MAX_LIST;
pub use training::Training;

/// A schedule whose parameters have been checked.
///
/// It is a value: evaluating it changes nothing, so repeated and out-of-order calls give the same bits.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    root: Node,
    uses_base: bool,
}

impl Schedule {
    /// Checks and compiles `spec` for a `training`, which may be given as its number of steps.
    ///
    /// Adds everything that is wrong to `violations`, with paths such as `seq.parts[2].cosine.floor.min_lr`; if
    /// anything is, the result is `None`. It refuses parameters outside the ranges of `proto/lrs/v1/schedule.proto`,
    /// named forms without a length where there are no `total_steps` to take it from, and schedules beyond
    /// [`MAX_DEPTH`], [`MAX_NODES`] or [`MAX_LIST`].
    pub fn try_new(spec: &ScheduleSpec, training: impl Into<Training>, violations: &mut Violations) -> Option<Self> {
        let wrong_before = violations.len();
        let root = build::build(spec, training.into(), violations);
        (violations.len() == wrong_before).then(|| Self { uses_base: root.uses_base(), root })
    }

    /// The value at `step` for a group whose base rate is `base`.
    ///
    /// Finite for every input, and never -0. Wherever the expression leaves the range of `f64`, it continues with the
    /// largest finite number of that sign. A `base` that is NaN counts as 0, and a step above [`MAX_STEP`] as
    /// [`MAX_STEP`].
    #[must_use]
    pub fn value_at(&self, step: u64, base: f64) -> f64 {
        self.value_at_time(exact(step.min(MAX_STEP)), base)
    }

    /// The value at any `time` in steps, also between two steps: [`value_at`](Self::value_at) reads this curve at whole
    /// steps. A time below 0 or NaN counts as 0.
    #[must_use]
    pub fn value_at_time(&self, time: f64, base: f64) -> f64 {
        let base = if base.is_nan() { 0.0 } else { saturate(base) };
        // A zero of either sign is the rate 0.
        self.root.at(saturate(time.max(0.0)), base) + 0.0
    }

    /// The number of parts of the schedule, written out in the algebra.
    #[must_use]
    pub fn size(&self) -> usize {
        self.root.size()
    }

    /// Whether the value may depend on the base rate. If not, moving the base rate moves nothing.
    #[must_use]
    pub fn uses_base(&self) -> bool {
        self.uses_base
    }

    /// Steps in `0..=end` between which the curve is smooth, in rising order, each once, `0` and `end` included.
    ///
    /// Every boundary, restart, stair and end of a phase has two: the first step at or after it, and the step before.
    /// So a curve drawn through these steps shows every jump. There are at most [`MAX_BREAKPOINTS`]: if the curve has
    /// more, outer boundaries come before inner ones, and cycles and stairs are thinned evenly.
    #[must_use]
    pub fn breakpoints(&self, end: u64) -> Vec<u64> {
        breakpoints::of(&self.root, end.min(MAX_STEP))
    }
}

/// `spec` with every named form and every library's scheduler written out in the algebra; the values are the same, bit
/// for bit.
///
/// Forms without a length of their own take what is left of the `training`. What is wrong is added to `violations` as
/// by [`Schedule::try_new`]; the result is then a schedule, but not one with a meaning.
pub fn expand(spec: &ScheduleSpec, training: impl Into<Training>, violations: &mut Violations) -> ScheduleSpec {
    written::spec_of(&build::build(spec, training.into(), violations))
}
