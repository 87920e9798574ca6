//! `warmup`: a ramp to the base rate, then another schedule, whose own time starts there.
//!
//! Goyal et al., "Accurate, Large Minibatch SGD", 2017, section 2.2. <https://arxiv.org/abs/1706.02677>

use serde::{Deserialize, Serialize};

use super::form::{Expansion, Form};
use crate::node::Node;
use lrs_model::schedule::{ScheduleSpec, Shape};

/// The parameters.
#[derive(Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(clippy::struct_field_names, reason = "the names of the message")]
pub(crate) struct Warmup {
    /// The length of the ramp in steps.
    pub(crate) warmup_steps: u64,
    /// The first rate as a fraction of the base rate, at least 0.
    pub(crate) start_factor: f64,
    /// The shape of the ramp.
    pub(crate) shape: Shape,
    /// What follows the ramp.
    pub(crate) schedule: ScheduleSpec,
}

impl Default for Warmup {
    fn default() -> Self {
        Self { warmup_steps: 0, start_factor: 0.0, shape: Shape::Linear, schedule: ScheduleSpec::Base(1.0) }
    }
}

impl Form for Warmup {
    /// `seq([warmup_steps], [ease(base * start_factor, base, warmup_steps, shape), schedule])`.
    fn expand(&self, x: &mut Expansion<'_>) -> Node {
        let end = x.steps("warmup_steps", self.warmup_steps, 0);
        x.at_least("start_factor", self.start_factor, 0.0);
        x.shape(self.shape);
        let ramp = Node::ease(Node::Base(self.start_factor), Node::BASE, end, self.shape);
        let then = x.part("schedule", &self.schedule, end);
        Node::seq(vec![end], vec![ramp, then])
    }

    fn parts_mut(&mut self) -> Vec<&mut ScheduleSpec> {
        vec![&mut self.schedule]
    }
}
