//! The rate that a form falls to.

use serde::{Deserialize, Serialize};

use super::form::Expansion;
use crate::{check, node::Node};

/// A floor; where a form is given none, it falls to 0.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Floor {
    /// An absolute rate.
    MinLr(f64),
    /// A fraction of the base rate.
    MinFactor(f64),
}

/// The floor in the field `floor`.
pub(super) fn node(floor: Option<Floor>, x: &mut Expansion<'_>) -> Node {
    x.violations().within("floor", |v| match floor {
        None => Node::Constant(0.0),
        Some(Floor::MinLr(rate)) => {
            check::at_least("min_lr", rate, 0.0, v);
            Node::Constant(rate)
        }
        Some(Floor::MinFactor(factor)) => {
            check::at_least("min_factor", factor, 0.0, v);
            Node::Base(factor)
        }
    })
}

/// The negative of `floor`, for a curve whose cycles are scaled about it; `None` if the floor is 0 or nothing is
/// scaled.
pub(super) fn negative(floor: &Node, scale: f64) -> Option<Node> {
    #[expect(clippy::float_cmp, reason = "only at exactly 1 is there nothing to scale")]
    let unscaled = scale == 1.0;
    match floor {
        _ if unscaled => None,
        Node::Constant(rate) if *rate != 0.0 => Some(Node::Constant(-rate)),
        Node::Base(factor) if *factor != 0.0 => Some(Node::Base(-factor)),
        _ => None,
    }
}
