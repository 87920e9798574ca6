//! `wsd`: warm-up, a stable stretch at the base rate, and a decay to a floor at the end.
//!
//! Hu et al., "Unveiling the Potential of Small Language Models", 2024, section 4, <https://arxiv.org/abs/2404.06395>.
//!
//! The default shape is after Hägele et al., "Scaling Laws and Compute-Optimal Training Beyond Fixed Training
//! Durations", 2024, <https://arxiv.org/abs/2405.18392>.

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
pub(crate) struct Wsd {
    /// The length of the ramp from 0 in steps.
    pub(crate) warmup_steps: u64,
    /// The length of the decay in steps, at least 1. Default: a fifth of all three parts, rounded.
    pub(crate) decay_steps: Option<u64>,
    /// The length of all three parts in steps. Default: what is left of the job.
    pub(crate) total_steps: Option<u64>,
    /// The rate to fall to. Default: 0.
    pub(crate) floor: Option<Floor>,
    /// The shape of the decay: by default the "1-sqrt" cooldown.
    pub(crate) shape: Shape,
}

impl Default for Wsd {
    fn default() -> Self {
        Self { warmup_steps: 0, decay_steps: None, total_steps: None, floor: None, shape: Shape::Power(0.5) }
    }
}

impl Form for Wsd {
    /// `seq([warmup_steps, total_steps - decay_steps], [ramp, base, ease(base, floor, decay_steps, shape)])`.
    fn expand(&self, x: &mut Expansion<'_>) -> Node {
        let wrong_before = x.violations().len();
        let warmup = x.steps("warmup_steps", self.warmup_steps, 0);
        let given = self.decay_steps.map(|decay| x.steps("decay_steps", decay, 1));
        let total = x.length("total_steps", self.total_steps, 1);
        let decay = given.unwrap_or_else(|| libm::round(total / 5.0).max(1.0));
        if x.violations().len() == wrong_before && warmup + decay > total {
            let field = if self.total_steps.is_some() { "total_steps" } else { "decay_steps" };
            let sum = warmup + decay;
            let problem = format!(
                "warmup_steps + decay_steps = {sum} is not allowed: must be at most the {total} steps there are"
            );
            x.violations().add(field, problem);
        }
        let floor = floor::node(self.floor, x);
        x.shape(self.shape);
        let ramp = Node::ease(Node::Constant(0.0), Node::BASE, warmup, Shape::Linear);
        let fall = Node::ease(Node::BASE, floor, decay, self.shape);
        Node::seq(vec![warmup, total - decay], vec![ramp, Node::BASE, fall])
    }
}
