//! Controllers as they are written, not yet checked. The same fields as `lrs.v1.Controller`, where they are described.

use serde::{Deserialize, Serialize};

use super::library::LibraryCall;

/// A controller, as written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ControllerSpec {
    /// Multiplies the base rate by a factor when a metric has stopped improving.
    ReduceLrOnPlateau(ReduceLrOnPlateau),
    /// The same with the counting of Keras.
    KerasPlateau(KerasPlateau),
    /// The same with the counting of Optax.
    OptaxPlateau(OptaxPlateau),
    /// Raises the base rate while a metric improves, and lowers it while it does not.
    Greedy(Greedy),
    /// Finds the rate, holds it, cuts it on a plateau, cools down, and guards the run.
    Auto(Auto),
    /// Tries rising rates and reports what they did.
    RangeTest(RangeTest),
    /// Cuts the base rate when a statistical test finds no downward trend.
    StatisticalPlateau(StatisticalPlateau),
    /// Measures the gradient noise scale.
    NoiseScale(NoiseScale),
    /// One of the above in the words of another library.
    Library(LibraryController),
}

/// A library's scheduler that follows a metric.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LibraryController {
    /// Which, and with what arguments.
    #[serde(flatten)]
    pub call: LibraryCall,
    /// The metric, where the arguments do not name one.
    pub metric: Option<String>,
}

impl ControllerSpec {
    /// The kind's name, as in a spec.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::ReduceLrOnPlateau(_) => "reduce_lr_on_plateau",
            Self::KerasPlateau(_) => "keras_plateau",
            Self::OptaxPlateau(_) => "optax_plateau",
            Self::Greedy(_) => "greedy",
            Self::Auto(_) => "auto",
            Self::RangeTest(_) => "range_test",
            Self::StatisticalPlateau(_) => "statistical_plateau",
            Self::NoiseScale(_) => "noise_scale",
            Self::Library(_) => "library",
        }
    }
}

/// The parameters of the plateau controller.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "described in proto/lrs/v1/controller.proto")]
pub struct ReduceLrOnPlateau {
    pub metric: String,
    pub mode: Mode,
    pub factor: f64,
    pub patience: u64,
    pub threshold: f64,
    pub threshold_mode: ThresholdMode,
    pub cooldown: u64,
    /// Empty, one for all groups, or one a group.
    pub min_lr: Vec<f64>,
    pub eps: f64,
    pub start_step: u64,
}

impl Default for ReduceLrOnPlateau {
    /// PyTorch's defaults, over the training loss.
    fn default() -> Self {
        Self {
            metric: crate::telemetry::LOSS.to_owned(),
            mode: Mode::Min,
            factor: 0.1,
            patience: 10,
            threshold: 1e-4,
            threshold_mode: ThresholdMode::Rel,
            cooldown: 0,
            min_lr: Vec::new(),
            eps: 1e-8,
            start_step: 0,
        }
    }
}

/// The parameters of Keras' plateau controller.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "described in proto/lrs/v1/controller.proto")]
pub struct KerasPlateau {
    pub metric: String,
    pub mode: Mode,
    pub factor: f64,
    pub patience: u64,
    pub min_delta: f64,
    pub cooldown: u64,
    pub min_lr: f64,
}

impl Default for KerasPlateau {
    /// Keras' defaults, over the training loss.
    fn default() -> Self {
        Self {
            metric: crate::telemetry::LOSS.to_owned(),
            mode: Mode::Min,
            factor: 0.1,
            patience: 10,
            min_delta: 1e-4,
            cooldown: 0,
            min_lr: 0.0,
        }
    }
}

/// The parameters of Optax's plateau controller.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "described in proto/lrs/v1/controller.proto")]
pub struct OptaxPlateau {
    pub metric: String,
    pub factor: f64,
    pub patience: u64,
    pub rtol: f64,
    pub atol: f64,
    pub cooldown: u64,
    pub accumulation_size: u64,
    pub min_scale: f64,
}

impl Default for OptaxPlateau {
    /// Optax's defaults, over the training loss.
    fn default() -> Self {
        Self {
            metric: crate::telemetry::LOSS.to_owned(),
            factor: 0.1,
            patience: 10,
            rtol: 1e-4,
            atol: 0.0,
            cooldown: 0,
            accumulation_size: 1,
            min_scale: 0.0,
        }
    }
}

/// The parameters of the greedy controller.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "described in proto/lrs/v1/controller.proto")]
pub struct Greedy {
    pub metric: String,
    pub mode: Mode,
    pub factor: f64,
    pub patience: u64,
    pub threshold: f64,
    pub threshold_mode: ThresholdMode,
    pub cooldown: u64,
    pub warmup: u64,
    /// One for all groups, or one a group.
    pub min_lr: Vec<f64>,
    /// One for all groups, or one a group.
    pub max_lr: Vec<f64>,
    pub eps: f64,
    pub window: u64,
    pub reset_after: u64,
}

impl Default for Greedy {
    /// The defaults of transformers, over the training loss.
    fn default() -> Self {
        Self {
            metric: crate::telemetry::LOSS.to_owned(),
            mode: Mode::Min,
            factor: 0.95,
            patience: 10,
            threshold: 1e-6,
            threshold_mode: ThresholdMode::Abs,
            cooldown: 0,
            warmup: 0,
            min_lr: vec![1e-3],
            max_lr: vec![1.0],
            eps: 1e-8,
            window: 1,
            reset_after: 500,
        }
    }
}

/// The parameters of the recommended controller. What is `None` is found from the job.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "described in proto/lrs/v1/controller.proto")]
pub struct Auto {
    pub evaluation_metric: Option<String>,
    pub search: Option<bool>,
    pub plateau_cuts: Option<bool>,
    pub cooldown: Option<bool>,
    pub guard: Option<bool>,
    pub keep_best: Option<bool>,
    /// Of a stored job from before there were revisions: the first.
    #[serde(default = "first_revision")]
    pub revision: Option<u64>,
}

impl Auto {
    /// The newest revision of the machine. A job is registered with it and keeps it (`Spec::with_revision`), so that a release with a better machine
    /// changes no running job, and old ones replay.
    ///
    /// 2: what ties in a search has left the first loss itself; a search does not wait out the decision lag; a longer cooldown.
    /// 3: a rate found is raised while that pays; fewer errors are a tie.
    /// 4: a search ends at a stage that is worse by an error, and at a loss far above the first; where an evaluation improves
    /// evenly, more is tried.
    pub const REVISION: u64 = 4;
}

#[expect(clippy::unnecessary_wraps, reason = "serde wants the field's type")]
fn first_revision() -> Option<u64> {
    Some(1)
}

/// The parameters of the range test.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "described in proto/lrs/v1/controller.proto")]
pub struct RangeTest {
    pub start_lr: f64,
    pub end_lr: f64,
    pub rates: u64,
    pub steps_per_rate: u64,
    pub divergence_factor: f64,
}

impl Default for RangeTest {
    /// Those of fastai's `lr_find`.
    fn default() -> Self {
        Self { start_lr: 1e-7, end_lr: 10.0, rates: 100, steps_per_rate: 1, divergence_factor: 4.0 }
    }
}

/// The parameters of the statistical plateau test.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "described in proto/lrs/v1/controller.proto")]
pub struct StatisticalPlateau {
    pub metric: String,
    pub window: u64,
    pub threshold: f64,
    pub factor: f64,
    pub min_lr: Option<f64>,
}

impl Default for StatisticalPlateau {
    fn default() -> Self {
        let metric = crate::telemetry::LOSS.to_owned();
        Self { metric, window: 256, threshold: 2.0, factor: 0.5, min_lr: None }
    }
}

/// The parameters of the noise scale.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "described in proto/lrs/v1/controller.proto")]
pub struct NoiseScale {
    pub window: u64,
}

impl Default for NoiseScale {
    fn default() -> Self {
        Self { window: 256 }
    }
}

/// Which direction of a metric is better.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Lower is better.
    #[default]
    Min,
    /// Higher is better.
    Max,
}

/// How a threshold is meant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ThresholdMode {
    /// A fraction of the best value.
    #[default]
    Rel,
    /// An absolute difference.
    Abs,
}
