//! Schedules combined value by value: product, sum, bounds.

use super::curve::{Curve, saturate};

/// The product, multiplied from the first factor on.
pub(super) fn product<C: Curve>(factors: &[C], t: f64, base: f64) -> f64 {
    factors.iter().fold(1.0, |product, factor| saturate(product * factor.at(t, base)))
}

/// The sum, added from the first term on.
pub(super) fn sum<C: Curve>(terms: &[C], t: f64, base: f64) -> f64 {
    terms.iter().fold(0.0, |sum, term| saturate(sum + term.at(t, base)))
}

/// `min(max(schedule, min), max)`: if the bounds cross, the upper bound counts.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Clamp<C> {
    pub(super) schedule: C,
    pub(super) min: Option<C>,
    pub(super) max: Option<C>,
}

impl<C: Curve> Clamp<C> {
    pub(super) fn at(&self, t: f64, base: f64) -> f64 {
        let value = self.schedule.at(t, base);
        let value = self.min.as_ref().map_or(value, |min| value.max(min.at(t, base)));
        self.max.as_ref().map_or(value, |max| value.min(max.at(t, base)))
    }
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "every value is exact")]
mod tests {
    use super::*;
    use crate::node::Node;

    #[test]
    fn where_bounds_cross_the_upper_one_counts() {
        let clamp = Clamp { schedule: Node::BASE, min: Some(Node::Constant(5.0)), max: Some(Node::Constant(3.0)) };
        assert_eq!([1.0, 4.0, 9.0].map(|base| clamp.at(0.0, base)), [3.0, 3.0, 3.0]);
    }

    #[test]
    fn each_bound_may_be_missing() {
        let from = Clamp { schedule: Node::BASE, min: Some(Node::Constant(2.0)), max: None };
        let to = Clamp { schedule: Node::BASE, min: None, max: Some(Node::Constant(2.0)) };
        assert_eq!([1.0, 4.0].map(|base| from.at(0.0, base)), [2.0, 4.0]);
        assert_eq!([1.0, 4.0].map(|base| to.at(0.0, base)), [1.0, 2.0]);
    }

    #[test]
    fn what_overflows_on_the_way_stays_a_number() {
        let huge = Node::Constant(f64::MAX);
        assert_eq!(product(&[huge.clone(), huge.clone(), Node::Constant(0.0)], 0.0, 1.0).to_bits(), 0.0_f64.to_bits());
        assert_eq!(sum(&[huge.clone(), huge, Node::Constant(-f64::MAX)], 0.0, 1.0).to_bits(), 0.0_f64.to_bits());
    }
}
