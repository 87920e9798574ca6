//! A stage of the search that is over, compared with the first loss and with other stages.

use lrs_model::number::exact;
use serde::{Deserialize, Serialize};

use crate::auto::terms::Figures;

/// How many standard errors make a clear difference.
pub(in crate::auto) const CLEAR: f64 = 4.0;

/// What is remembered of a stage.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(in crate::auto) struct Stage {
    /// The median of the stage's losses; `None` if the stage blew up.
    pub(in crate::auto) loss: Option<f64>,
    /// The standard error of the loss.
    pub(in crate::auto) error: f64,
    pub(in crate::auto) scale: f64,
    /// Whether the trainer has kept the state at the end of the stage.
    pub(in crate::auto) is_kept: bool,
}

impl Stage {
    /// The sort key for finding the best stage; a stage that blew up comes last.
    pub(in crate::auto) fn key(&self) -> (f64, f64, f64) {
        (self.loss.unwrap_or(f64::INFINITY), self.error, self.scale)
    }

    /// The standard error of the difference between this stage's loss and a value with this `error`.
    pub(in crate::auto) fn error_to(&self, error: f64) -> f64 {
        (self.error * self.error + error * error).sqrt()
    }

    /// The figures behind a decision at the end of this stage, whose number is `number`.
    pub(in crate::auto) fn figures(&self, number: usize, first: (f64, f64)) -> Figures {
        vec![
            ("first_loss", first.0),
            ("first_error", first.1),
            ("stage_loss", self.loss.unwrap_or(f64::INFINITY)),
            ("stage_error", self.error),
            ("stage", exact(number)),
            ("scale", self.scale),
        ]
    }

    /// Whether the stage is clearly below the `first` loss, which comes with its standard error.
    pub(in crate::auto) fn has_left(&self, first: (f64, f64)) -> bool {
        self.loss.is_some_and(|loss| loss < first.0 - CLEAR * self.error_to(first.1))
    }

    /// Whether the stage is within `errors` standard errors of the `best`.
    pub(in crate::auto) fn ties(&self, best: &Self, errors: f64) -> bool {
        let bound = best.loss.unwrap_or(f64::INFINITY) + errors * self.error_to(best.error);
        self.loss.is_some_and(|loss| loss <= bound)
    }
}
