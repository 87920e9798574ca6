//! The names people know, each written out in the algebra as `proto/lrs/v1/schedule.proto` says. One family a file.
//!
//! Each function checks the parameters of a form, with fields as seen from the form, and gives its expansion.

use super::{check, node::Node};
use lrs_model::{schedule::Floor, violation::Violations};

pub(super) mod cyclic;
pub(super) mod decay;
pub(super) mod drops;
pub(super) mod phases;

/// The rate to fall to, given in the field `floor`.
fn floor(floor: Option<Floor>, v: &mut Violations) -> Node {
    v.within("floor", |v| match floor {
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
