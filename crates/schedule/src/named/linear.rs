//! `linear`: a straight line from the base rate to a floor, which is held after it.

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
pub(crate) struct Linear {
    /// The length in steps, at least 1. Default: what is left of the job.
    pub(crate) decay_steps: Option<u64>,
    /// The rate to fall to. Default: 0.
    pub(crate) floor: Option<Floor>,
}

impl Form for Linear {
    /// `ease(base, floor, decay_steps)`.
    fn expand(&self, x: &mut Expansion<'_>) -> Node {
        let over = x.length("decay_steps", self.decay_steps, 1);
        Node::ease(Node::BASE, floor::node(self.floor, x), over, Shape::Linear)
    }
}
