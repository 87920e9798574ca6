//! Controllers as they are written, not yet checked. The same fields as `lrs.v1.Controller`, where they are described.

use serde::{Deserialize, Serialize};

/// A controller, as written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ControllerSpec {
    /// Multiplies the base rate by a factor when a metric has stopped improving.
    ReduceLrOnPlateau(ReduceLrOnPlateau),
}

impl ControllerSpec {
    /// The kind's name, as in a spec.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::ReduceLrOnPlateau(_) => "reduce_lr_on_plateau",
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
            metric: crate::model::telemetry::LOSS.to_owned(),
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
