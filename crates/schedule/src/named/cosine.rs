//! `cosine`: cosine annealing from the base rate to a floor, which is held after it.
//!
//! Loshchilov and Hutter, "SGDR", ICLR 2017, equation 5, without restarts. <https://arxiv.org/abs/1608.03983>

use serde::{Deserialize, Serialize};

use super::{
    floor::{self, Floor},
    form::{Expansion, Form},
};
use crate::node::Node;
use lrs_model::schedule::Shape;

/// The parameters.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Cosine {
    /// The length in steps, at least 1. Default: what is left of the job.
    pub(crate) decay_steps: Option<u64>,
    /// The rate to fall to. Default: 0.
    pub(crate) floor: Option<Floor>,
}

impl Form for Cosine {
    /// `ease(base, floor, decay_steps, cosine)`.
    fn expand(&self, x: &mut Expansion<'_>) -> Node {
        let over = x.length("decay_steps", self.decay_steps, 1);
        Node::ease(Node::BASE, floor::node(self.floor, x), over, Shape::Cosine)
    }
}
