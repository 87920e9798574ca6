//! The training that a schedule is for.

use lrs_model::spec::Spec;

/// What a schedule may have to know about the training that it is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Training {
    /// Its length in steps; `None` is open-ended.
    pub total_steps: Option<u64>,
    /// The steps of an epoch, if they are known.
    pub steps_per_epoch: Option<u64>,
    /// The tokens in a step, if they are known.
    pub tokens_per_step: Option<u64>,
}

impl From<Option<u64>> for Training {
    /// A training of so many steps, with epochs of unknown length.
    fn from(total_steps: Option<u64>) -> Self {
        Self { total_steps, ..Self::default() }
    }
}

impl From<&Spec> for Training {
    fn from(spec: &Spec) -> Self {
        Self {
            total_steps: spec.total_steps,
            steps_per_epoch: spec.steps_per_epoch,
            tokens_per_step: spec.tokens_per_step,
        }
    }
}
