//! Forms that drop the base rate by a factor: every so many steps, or at milestones.

use crate::{
    build::list_fits,
    check,
    decline::Geometric,
    horizon::steps,
    node::{Node, exact, saturate},
    seq::Seq,
    time::Stair,
};
use lrs_model::{
    schedule::{MultiStep, StepDecay},
    violation::Violations,
};

/// `stair(geometric(base, gamma, step_size), step_size)`.
pub(crate) fn step(form: &StepDecay, v: &mut Violations) -> Node {
    let every = steps("step_size", form.step_size, 1, v);
    check::positive("gamma", form.gamma, v);
    let schedule = Node::Geometric(Box::new(Geometric { value: Node::BASE, rate: form.gamma, every }));
    Node::Stair(Box::new(Stair { schedule, every }))
}

/// `seq(milestones, [base, base * gamma, base * gamma^2, …])`.
pub(crate) fn multi_step(form: &MultiStep, v: &mut Violations) -> Node {
    check::positive("gamma", form.gamma, v);
    if !list_fits("milestones", form.milestones.len(), v) {
        return Node::BASE;
    }
    let mut before = 0;
    let mut boundaries = Vec::with_capacity(form.milestones.len());
    for (i, &milestone) in form.milestones.iter().enumerate() {
        let field = format!("milestones[{i}]");
        boundaries.push(steps(&field, milestone, 0, v));
        if milestone < before {
            v.refuse(&field, milestone, format!("at least {before}, the milestone before it"));
        }
        before = milestone;
    }
    let drops = (0..).take(boundaries.len() + 1).map(exact);
    let parts = drops.map(|drops| Node::Base(saturate(libm::pow(form.gamma, drops)))).collect();
    Seq::node(boundaries, parts)
}
