//! The figures of the training loss: area, stability and plateaus.

use super::{
    area::Area,
    plateau::{PlateauFigures, PlateauTally},
    stability::{StabilityFigures, StabilityTally},
};

/// The figures of a job's training loss.
#[derive(Clone, Debug, PartialEq)]
pub struct LossFigures {
    /// The area under the curve of finite losses, by trapezoids, in losses times steps; `None` for fewer than two.
    pub area: Option<f64>,
    /// The area divided by the steps it spans: the mean loss, comparable between runs of different lengths.
    pub mean: Option<f64>,
    /// Spikes and divergences.
    pub stability: StabilityFigures,
    /// Where it did not fall; `None` if there are too few losses.
    pub plateau: Option<PlateauFigures>,
}

/// The figures so far.
#[derive(Clone, Debug, Default)]
pub(super) struct LossTally {
    area: Area,
    stability: StabilityTally,
    plateau: PlateauTally,
    count: u64,
}

impl LossTally {
    pub(super) fn push(&mut self, step: u64, loss: f64) {
        self.count += 1;
        self.area.push(step, loss);
        self.stability.push(step, loss);
        self.plateau.push(step, loss);
    }

    /// See [`PlateauTally::smoothed`].
    pub(super) fn smoothed(&self, most: usize) -> Vec<(u64, f64)> {
        self.plateau.smoothed(most)
    }

    /// `None` if no loss was reported.
    pub(super) fn figures(&self) -> Option<LossFigures> {
        (self.count > 0).then(|| LossFigures {
            area: self.area.area(),
            mean: self.area.height(),
            stability: self.stability.figures(),
            plateau: self.plateau.figures(),
        })
    }
}
