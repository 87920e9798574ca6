//! `inverse_sqrt`: the base rate times `(1 + t / timescale)^-1/2`.
//!
//! Vaswani et al., "Attention Is All You Need", 2017, section 5.3. <https://arxiv.org/abs/1706.03762>

use serde::{Deserialize, Serialize};

use super::form::{Expansion, Form};
use crate::node::Node;

/// The parameters.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct InverseSqrt {
    /// The time scale in steps, at least 1. Required.
    pub(crate) timescale: u64,
}

impl Form for InverseSqrt {
    /// `power_law(base, timescale, 1/2)`.
    fn expand(&self, x: &mut Expansion<'_>) -> Node {
        Node::power_law(Node::BASE, x.required_steps("timescale", self.timescale), 0.5)
    }
}
