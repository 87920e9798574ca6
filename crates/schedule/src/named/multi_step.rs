//! `multi_step`: the base rate times `gamma` for every milestone at or before the step.

use serde::{Deserialize, Serialize};

use super::form::{Expansion, Form};
use crate::{curve::saturate, node::Node};
use lrs_model::number::exact;

/// The parameters.
#[derive(Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct MultiStep {
    /// The steps at which the rate drops, not falling. A milestone listed twice counts twice.
    pub(crate) milestones: Vec<u64>,
    /// The factor of each drop, greater than 0.
    pub(crate) gamma: f64,
}

impl Default for MultiStep {
    fn default() -> Self {
        Self { milestones: Vec::new(), gamma: 0.1 }
    }
}

impl Form for MultiStep {
    /// `seq(milestones, [base, base * gamma, base * gamma^2, …])`.
    fn expand(&self, x: &mut Expansion<'_>) -> Node {
        x.positive("gamma", self.gamma);
        if !x.list_fits("milestones", self.milestones.len()) {
            return Node::BASE;
        }
        let mut before = 0;
        let mut boundaries = Vec::with_capacity(self.milestones.len());
        for (i, &milestone) in self.milestones.iter().enumerate() {
            let field = format!("milestones[{i}]");
            boundaries.push(x.steps(&field, milestone, 0));
            if milestone < before {
                x.violations().refuse(&field, milestone, format!("at least {before}, the milestone before it"));
            }
            before = milestone;
        }
        let drops = (0_u64..).take(boundaries.len() + 1).map(exact);
        let parts = drops.map(|drops| Node::Base(saturate(libm::pow(self.gamma, drops)))).collect();
        Node::seq(boundaries, parts)
    }
}
