//! `polynomial`: `floor + (base - floor) (1 - t / decay_steps)^power`; the floor is held after it.

use serde::{Deserialize, Serialize};

use super::{
    floor::{self, Floor},
    form::{Expansion, Form},
};
use crate::node::Node;
use lrs_model::schedule::Shape;

/// The parameters.
#[derive(Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Polynomial {
    /// The length in steps, at least 1. Default: what is left of the job.
    pub(crate) decay_steps: Option<u64>,
    /// The rate to fall to. Default: 0.
    pub(crate) floor: Option<Floor>,
    /// The exponent, greater than 0.
    pub(crate) power: f64,
}

impl Default for Polynomial {
    fn default() -> Self {
        Self { decay_steps: None, floor: None, power: 1.0 }
    }
}

impl Form for Polynomial {
    /// `ease(base, floor, decay_steps, poly(power))`.
    fn expand(&self, x: &mut Expansion<'_>) -> Node {
        let over = x.length("decay_steps", self.decay_steps, 1);
        let floor = floor::node(self.floor, x);
        x.positive("power", self.power);
        Node::ease(Node::BASE, floor, over, Shape::Poly(self.power))
    }
}
