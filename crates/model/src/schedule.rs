//! A schedule as it is written: the algebra and the named forms, not yet checked.
//!
//! The same tree as `lrs.v1.Schedule`, where every form and field is described. Values are rates: [`ScheduleSpec::Base`]
//! is a multiple of the parameter group's base rate, [`ScheduleSpec::Constant`] an absolute number.

use serde::{Deserialize, Serialize};

use super::library::LibraryCall;

/// A schedule, as written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "each form is described once, in proto/lrs/v1/schedule.proto")]
pub enum ScheduleSpec {
    Constant(f64),
    Base(f64),
    Ease(Box<Ease>),
    Geometric(Box<Geometric>),
    PowerLaw(Box<PowerLaw>),
    Seq(Sequence),
    Repeat(Box<Repeat>),
    Stair(Box<Stair>),
    Shift(Box<Shift>),
    Product(Vec<ScheduleSpec>),
    Sum(Vec<ScheduleSpec>),
    Clamp(Box<Clamp>),
    Pace(Box<Pace>),
    Chain(Chain),
    Warmup(Box<Warmup>),
    Cosine(Decay),
    Linear(Decay),
    Polynomial(Polynomial),
    Step(StepDecay),
    MultiStep(MultiStep),
    Exponential(Exponential),
    InverseSqrt(InverseSqrt),
    OneCycle(OneCycle),
    Wsd(WarmupStableDecay),
    CosineRestarts(CosineRestarts),
    Cyclic(Cyclic),
    Library(LibrarySchedule),
}

/// A scheduler of another library, in its words.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LibrarySchedule {
    /// Which, and with what arguments.
    #[serde(flatten)]
    pub call: LibraryCall,
    /// What it counts.
    pub unit: Unit,
}

/// What a library's scheduler counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Optimizer updates.
    #[default]
    Step,
    /// Whole epochs.
    Epoch,
    /// Samples, so many a step.
    Sample(u64),
    /// Tokens, so many a step.
    Token(u64),
}

/// `lerp(start, end, e(t / over))`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "described in the proto")]
pub struct Ease {
    pub start: ScheduleSpec,
    pub end: ScheduleSpec,
    pub over: f64,
    pub shape: Shape,
    pub past: Past,
    pub warp: f64,
}

/// How an ease goes from 0 to 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "described in the proto")]
pub enum Shape {
    #[default]
    Linear,
    Cosine,
    CosinePower(f64),
    Poly(f64),
    Power(f64),
    OneMinusSqrt,
    Exp(f64),
    Tanh {
        lower: f64,
        upper: f64,
    },
    Log(f64),
}

/// What an ease does after its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Past {
    /// The end value for ever.
    #[default]
    Hold,
    /// The formula goes on.
    Continue,
}

/// `value * rate^(t / every)`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "described in the proto")]
pub struct Geometric {
    pub value: ScheduleSpec,
    pub rate: f64,
    pub every: f64,
}

/// `value * (1 + t / tau)^-exponent`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "described in the proto")]
pub struct PowerLaw {
    pub value: ScheduleSpec,
    pub tau: f64,
    pub exponent: f64,
}

/// Part `i` from boundary `i - 1` on, in its own time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "described in the proto")]
pub struct Sequence {
    pub boundaries: Vec<f64>,
    pub parts: Vec<ScheduleSpec>,
}

/// `body` on `[0, 1)` in cycles.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "described in the proto")]
pub struct Repeat {
    pub body: ScheduleSpec,
    pub first: f64,
    pub growth: f64,
    pub scale: f64,
    pub limit: Option<u64>,
    pub after: ScheduleSpec,
}

/// `schedule` at `floor(t / every) * every`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "described in the proto")]
pub struct Stair {
    pub schedule: ScheduleSpec,
    pub every: f64,
}

/// `schedule` at `max(t + steps, 0)`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "described in the proto")]
pub struct Shift {
    pub schedule: ScheduleSpec,
    pub steps: f64,
}

/// `schedule` within bounds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "described in the proto")]
pub struct Clamp {
    pub schedule: ScheduleSpec,
    pub min: Option<ScheduleSpec>,
    pub max: Option<ScheduleSpec>,
}

/// `schedule` at `t * units / steps`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "described in the proto")]
pub struct Pace {
    pub schedule: ScheduleSpec,
    pub units: u64,
    pub steps: u64,
    pub whole: bool,
}

/// Schedulers that take turns changing one rate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "described in the proto")]
pub struct Chain {
    pub links: Vec<ChainLink>,
    pub steps: u64,
}

/// One scheduler of a chain.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "described in the proto")]
pub struct ChainLink {
    pub schedule: ScheduleSpec,
    pub floor: f64,
    pub running: bool,
    pub resets: Resets,
}

/// The steps at which a link sets the rate to its schedule's value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Resets {
    /// These.
    At(Vec<u64>),
    /// All.
    Always,
}

/// A floor to fall to.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Floor {
    /// An absolute rate.
    MinLr(f64),
    /// A fraction of the base rate.
    MinFactor(f64),
}

/// A ramp, then `schedule`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "described in the proto")]
pub struct Warmup {
    pub warmup_steps: u64,
    pub start_factor: f64,
    pub shape: Shape,
    pub schedule: ScheduleSpec,
}

/// A fall from the base rate to a floor: the parameters of `cosine` and `linear`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "described in the proto")]
pub struct Decay {
    pub decay_steps: Option<u64>,
    pub floor: Option<Floor>,
}

/// A polynomial fall from the base rate to a floor.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "described in the proto")]
pub struct Polynomial {
    pub decay_steps: Option<u64>,
    pub floor: Option<Floor>,
    pub power: f64,
}

/// A drop every so many steps.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "described in the proto")]
pub struct StepDecay {
    pub step_size: u64,
    pub gamma: f64,
}

/// A drop at each milestone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "described in the proto")]
pub struct MultiStep {
    pub milestones: Vec<u64>,
    pub gamma: f64,
}

/// A smooth exponential fall.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "described in the proto")]
pub struct Exponential {
    pub gamma: f64,
    pub decay_steps: u64,
}

/// Proportional to the inverse square root of the step.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "described in the proto")]
pub struct InverseSqrt {
    pub timescale: u64,
}

/// The one-cycle policy.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "described in the proto")]
pub struct OneCycle {
    pub total_steps: Option<u64>,
    pub pct_start: f64,
    pub div_factor: f64,
    pub final_div_factor: f64,
    pub shape: Shape,
}

/// Warm-up, stable, decay.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "described in the proto")]
pub struct WarmupStableDecay {
    pub warmup_steps: u64,
    pub decay_steps: u64,
    pub total_steps: Option<u64>,
    pub floor: Option<Floor>,
    pub shape: Shape,
}

/// Cosine annealing with warm restarts.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "described in the proto")]
pub struct CosineRestarts {
    pub first_steps: u64,
    pub growth: f64,
    pub scale: f64,
    pub floor: Option<Floor>,
}

/// A triangle over and over.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "described in the proto")]
pub struct Cyclic {
    pub up_steps: u64,
    pub down_steps: Option<u64>,
    pub floor: Option<Floor>,
    pub scale: f64,
}
