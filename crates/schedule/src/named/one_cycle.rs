//! `one_cycle`: up from `peak / div_factor` to the peak, which is the base rate, then down to
//! `peak / (div_factor final_div_factor)`.
//!
//! Smith and Topin, "Super-Convergence", 2018. <https://arxiv.org/abs/1708.07120>

use serde::{Deserialize, Serialize};

use super::form::{Expansion, Form};
use crate::node::Node;
use lrs_model::schedule::Shape;

/// The parameters.
#[derive(Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct OneCycle {
    /// The length of the cycle in steps, at least 2. Default: what is left of the job.
    pub(crate) total_steps: Option<u64>,
    /// The fraction of the cycle that is spent rising, greater than 0 and less than 1.
    pub(crate) pct_start: f64,
    /// The peak divided by the first rate, at least 1.
    pub(crate) div_factor: f64,
    /// The first rate divided by the last, at least 1.
    pub(crate) final_div_factor: f64,
    /// The shape of both phases.
    pub(crate) shape: Shape,
}

impl Default for OneCycle {
    fn default() -> Self {
        Self { total_steps: None, pct_start: 0.3, div_factor: 25.0, final_div_factor: 1e4, shape: Shape::Cosine }
    }
}

impl Form for OneCycle {
    /// `seq([peak], [ease(base / div_factor, base, …), ease(base, base / div_factor / final_div_factor, …)])`.
    ///
    /// Steps are whole: the peak is at `floor(pct_start * total_steps)`, and the end at `total_steps - 1`. If both are
    /// the same step, it has the last rate.
    fn expand(&self, x: &mut Expansion<'_>) -> Node {
        let total = x.length("total_steps", self.total_steps, 2).floor();
        let allowed = self.pct_start > 0.0 && self.pct_start < 1.0;
        x.check("pct_start", self.pct_start, allowed, "greater than 0 and less than 1");
        x.at_least("div_factor", self.div_factor, 1.0);
        x.at_least("final_div_factor", self.final_div_factor, 1.0);
        x.shape(self.shape);
        let end = total - 1.0;
        // A fraction a rounding short of 1 may give the whole.
        let peak = (self.pct_start * total).floor().min(end);
        let first = 1.0 / self.div_factor;
        let last = first / self.final_div_factor;
        let rise = Node::ease(Node::Base(first), Node::BASE, peak, self.shape);
        let fall = Node::ease(Node::BASE, Node::Base(last), end - peak, self.shape);
        Node::seq(vec![peak], vec![rise, fall])
    }
}
