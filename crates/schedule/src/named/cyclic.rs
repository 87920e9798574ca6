//! `cyclic`: a triangle from a floor up to the base rate and down again, over and over.
//!
//! Smith, "Cyclical Learning Rates for Training Neural Networks", 2017. <https://arxiv.org/abs/1506.01186>

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
pub(crate) struct Cyclic {
    /// Steps from the floor to the peak, at least 1. Required.
    pub(crate) up_steps: u64,
    /// Steps from the peak to the floor, at least 1. Default: `up_steps`.
    pub(crate) down_steps: Option<u64>,
    /// The rate at the bottom. Default: 0.
    pub(crate) floor: Option<Floor>,
    /// The height of a triangle above the floor over the height of the triangle before, at least 0.
    pub(crate) scale: f64,
}

impl Default for Cyclic {
    fn default() -> Self {
        Self { up_steps: 0, down_steps: None, floor: None, scale: 1.0 }
    }
}

impl Form for Cyclic {
    /// `repeat(seq([r], [ease(floor, base, r), ease(base, floor, 1 - r)]), up_steps + down_steps)`, where `r` is the
    /// part of a cycle that is spent rising.
    ///
    /// With a `scale` the height above the floor shrinks:
    /// `sum(floor, product(sum(base, -floor), repeat(triangle from 0 to 1, scale)))`.
    fn expand(&self, x: &mut Expansion<'_>) -> Node {
        let up = x.required_steps("up_steps", self.up_steps);
        let down = self.down_steps.map_or(up, |down| x.steps("down_steps", down, 1));
        x.at_least("scale", self.scale, 0.0);
        let floor = floor::node(self.floor, x);
        let rising = up / (up + down);
        let cycles = |bottom: Node, top: Node| {
            let rise = Node::ease(bottom.clone(), top.clone(), rising, Shape::Linear);
            let fall = Node::ease(top, bottom, 1.0 - rising, Shape::Linear);
            Node::repeat(Node::seq(vec![rising], vec![rise, fall]), up + down, 1.0, self.scale)
        };
        let Some(minus_floor) = floor::negative(&floor, self.scale) else {
            return cycles(floor, Node::BASE);
        };
        let height = Node::Sum(vec![Node::BASE, minus_floor]);
        let triangle = cycles(Node::Constant(0.0), Node::Constant(1.0));
        Node::Sum(vec![floor, Node::Product(vec![height, triangle])])
    }
}
