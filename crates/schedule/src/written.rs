//! An expression as a spec again, so that people can see what their schedule expands to.

use super::node::Node;
use lrs_model::schedule::{
    Chain, ChainLink, Clamp, Ease, Geometric, Pace, PowerLaw, Repeat, ScheduleSpec, Sequence, Shift, Stair,
};

/// `node` as a spec; it has forms of the algebra only.
pub(super) fn spec_of(node: &Node) -> ScheduleSpec {
    use ScheduleSpec as S;
    let all = |nodes: &[Node]| nodes.iter().map(spec_of).collect();
    match node {
        Node::Constant(value) => S::Constant(*value),
        Node::Base(factor) => S::Base(*factor),
        Node::Ease(node) => S::Ease(Box::new(Ease {
            start: spec_of(&node.start),
            end: spec_of(&node.end),
            over: node.over,
            shape: node.shape,
            past: node.past,
            warp: node.warp,
        })),
        Node::Geometric(node) => {
            S::Geometric(Box::new(Geometric { value: spec_of(&node.value), rate: node.rate, every: node.every }))
        }
        Node::PowerLaw(node) => {
            S::PowerLaw(Box::new(PowerLaw { value: spec_of(&node.value), tau: node.tau, exponent: node.exponent }))
        }
        Node::Seq(node) => S::Seq(Sequence { boundaries: node.boundaries.clone(), parts: all(&node.parts) }),
        Node::Repeat(node) => S::Repeat(Box::new(Repeat {
            body: spec_of(&node.body),
            first: node.cycles.first,
            growth: node.cycles.growth,
            scale: node.scale,
            limit: node.limit.map(|limit| limit.count),
            after: spec_of(&node.after),
        })),
        Node::Stair(node) => S::Stair(Box::new(Stair { schedule: spec_of(&node.schedule), every: node.every })),
        Node::Shift(node) => S::Shift(Box::new(Shift { schedule: spec_of(&node.schedule), steps: node.steps })),
        Node::Product(factors) => S::Product { factors: all(factors) },
        Node::Sum(terms) => S::Sum { terms: all(terms) },
        Node::Clamp(node) => S::Clamp(Box::new(Clamp {
            schedule: spec_of(&node.schedule),
            min: node.min.as_ref().map(spec_of),
            max: node.max.as_ref().map(spec_of),
        })),
        Node::Pace(node) => S::Pace(Box::new(Pace {
            schedule: spec_of(&node.schedule),
            units: node.units,
            steps: node.steps,
            whole: node.whole,
            unit: None,
        })),
        Node::Chain(node) => S::Chain(Chain {
            links: node
                .links
                .iter()
                .map(|link| ChainLink {
                    schedule: spec_of(&link.schedule),
                    floor: link.floor,
                    running: link.running,
                    resets: link.resets.clone(),
                    always_resets: link.always_resets,
                })
                .collect(),
            steps: node.steps,
        }),
    }
}
