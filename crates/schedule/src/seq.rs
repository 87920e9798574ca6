//! One schedule after another.

use super::{
    check,
    curve::{Curve, saturate},
};
use lrs_model::violation::Violations;

/// Part `i` from boundary `i - 1` on, in its own time, which is 0 there. At a boundary the later part counts.
///
/// A boundary below 0 was passed before the beginning.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Seq<C> {
    pub(super) boundaries: Vec<f64>, // not falling, one fewer than parts
    pub(super) parts: Vec<C>,
}

/// Checks the boundaries of `parts` parts.
pub(super) fn check(boundaries: &[f64], parts: usize, v: &mut Violations) {
    // Without any part, the parts are what is missing.
    if parts > 0 && boundaries.len() + 1 != parts {
        let found = boundaries.len();
        v.add("boundaries", format!("{found} for {parts} parts is not allowed: must be one fewer than parts"));
    }
    let mut before = f64::NEG_INFINITY;
    for (i, &boundary) in boundaries.iter().enumerate() {
        let field = format!("boundaries[{i}]");
        check::finite(&field, boundary, v);
        if boundary < before {
            v.refuse(&field, boundary, format!("at least {before}, the boundary before it"));
        }
        before = boundary;
    }
}

impl<C: Curve> Seq<C> {
    pub(super) fn at(&self, t: f64, base: f64) -> f64 {
        let i = self.boundaries.partition_point(|&boundary| boundary <= t);
        self.parts[i].at(saturate(t - self.begin(i)), base)
    }

    /// When part `i` begins.
    pub(super) fn begin(&self, i: usize) -> f64 {
        if i == 0 { 0.0 } else { self.boundaries[i - 1] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::Node;
    use lrs_model::schedule::Shape;

    #[test]
    fn a_boundary_belongs_to_its_right_and_starts_a_time_of_its_own() {
        let ramp = Node::ease(Node::Constant(0.0), Node::Constant(4.0), 4.0, Shape::Linear);
        let seq = Seq {
            boundaries: vec![2.0, 2.5, 3.0],
            parts: vec![Node::BASE, Node::Constant(9.0), ramp, Node::Constant(7.0)],
        };
        let values: Vec<f64> = [0.0, 1.9, 2.0, 2.75, 3.0, 100.0].map(|t| seq.at(t, 1.0)).to_vec();
        assert_eq!(values, [1.0, 1.0, 9.0, 0.25, 7.0, 7.0]);
    }

    #[test]
    fn of_parts_that_begin_together_the_last_counts() {
        let seq = Seq { boundaries: vec![0.0, 0.0], parts: vec![Node::BASE, Node::Constant(2.0), Node::Constant(3.0)] };
        assert_eq!(seq.at(0.0, 1.0).to_bits(), 3.0_f64.to_bits());
    }
}
