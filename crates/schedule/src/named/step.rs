//! `step`: the base rate times `gamma^floor(t / step_size)`.

use serde::{Deserialize, Serialize};

use super::form::{Expansion, Form};
use crate::node::Node;

/// The parameters.
#[derive(Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Step {
    /// The number of steps between drops, at least 1. Required.
    pub(crate) step_size: u64,
    /// The factor of each drop, greater than 0.
    pub(crate) gamma: f64,
}

impl Default for Step {
    fn default() -> Self {
        Self { step_size: 0, gamma: 0.1 }
    }
}

impl Form for Step {
    /// `stair(geometric(base, gamma, step_size), step_size)`.
    fn expand(&self, x: &mut Expansion<'_>) -> Node {
        let every = x.required_steps("step_size", self.step_size);
        x.positive("gamma", self.gamma);
        Node::stair(Node::geometric(Node::BASE, self.gamma, every), every)
    }
}
