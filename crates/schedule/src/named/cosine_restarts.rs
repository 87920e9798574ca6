//! `cosine_restarts`: cosine annealing with warm restarts.
//!
//! Loshchilov and Hutter, "SGDR", ICLR 2017. <https://arxiv.org/abs/1608.03983>

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
pub(crate) struct CosineRestarts {
    /// The length of the first cycle in steps, at least 1. Required.
    pub(crate) first_steps: u64,
    /// The length of a cycle over the length of the cycle before, at least 1.
    pub(crate) growth: f64,
    /// The peak of a cycle over the peak of the cycle before, at least 0. The floor does not shrink.
    pub(crate) scale: f64,
    /// The rate to fall to. Default: 0.
    pub(crate) floor: Option<Floor>,
}

impl Default for CosineRestarts {
    fn default() -> Self {
        Self { first_steps: 0, growth: 1.0, scale: 1.0, floor: None }
    }
}

impl Form for CosineRestarts {
    /// `repeat(ease(base, floor, 1, cosine), first_steps, growth)`.
    ///
    /// With a `scale` the peaks shrink and the floor does not, so that the value is
    /// `floor + (base * scale^i - floor) w`, where `w` falls from 1 to 0. Multiplied out:
    /// `sum(floor, product(base, repeat(w, scale)), product(-floor, repeat(w)))`.
    fn expand(&self, x: &mut Expansion<'_>) -> Node {
        let first = x.required_steps("first_steps", self.first_steps);
        x.at_least("growth", self.growth, 1.0);
        x.at_least("scale", self.scale, 0.0);
        let floor = floor::node(self.floor, x);
        let Some(minus_floor) = floor::negative(&floor, self.scale) else {
            let fall = Node::ease(Node::BASE, floor, 1.0, Shape::Cosine);
            return Node::repeat(fall, first, self.growth, self.scale);
        };
        let fall = |scale| {
            let fall = Node::ease(Node::Constant(1.0), Node::Constant(0.0), 1.0, Shape::Cosine);
            Node::repeat(fall, first, self.growth, scale)
        };
        let peaks = Node::Product(vec![Node::BASE, fall(self.scale)]);
        let lifted = Node::Product(vec![minus_floor, fall(1.0)]);
        Node::Sum(vec![floor, peaks, lifted])
    }
}
