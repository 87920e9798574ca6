//! `exponential`: the base rate times `gamma^(t / decay_steps)`.

use serde::{Deserialize, Serialize};

use super::form::{Expansion, Form};
use crate::node::Node;

/// The parameters.
#[derive(Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Exponential {
    /// The factor for `decay_steps` steps, greater than 0. Required.
    pub(crate) gamma: f64,
    /// The number of steps in which the rate is multiplied by `gamma` once, at least 1.
    pub(crate) decay_steps: u64,
}

impl Default for Exponential {
    fn default() -> Self {
        Self { gamma: 0.0, decay_steps: 1 }
    }
}

impl Form for Exponential {
    /// `geometric(base, gamma, decay_steps)`.
    fn expand(&self, x: &mut Expansion<'_>) -> Node {
        x.required("gamma", self.gamma);
        let every = x.steps("decay_steps", self.decay_steps, 1);
        Node::geometric(Node::BASE, self.gamma, every)
    }
}
