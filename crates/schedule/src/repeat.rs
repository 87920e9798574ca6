//! One schedule over and over.

use super::{
    check,
    curve::{Curve, saturate},
    cycles::Cycles,
};
use lrs_model::{number::exact, schedule as spec, violation::Violations};

/// `body` on `[0, 1)` stretched over cycles, cycle `i` multiplied by `scale^i`; after `limit` of them, `after`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Repeat<C> {
    pub(super) body: C,
    pub(super) cycles: Cycles,
    pub(super) scale: f64,
    pub(super) limit: Option<Limit>,
    pub(super) after: C,
}

/// The end of the last cycle.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Limit {
    /// How many cycles there are.
    pub(super) count: u64,
    /// When the last cycle is over.
    pub(super) end: f64,
}

/// Checks all parameters but the two schedules.
pub(super) fn check(spec: &spec::Repeat, v: &mut Violations) {
    check::required("first", spec.first, v);
    check::at_least("growth", spec.growth, 1.0, v);
    check::at_least("scale", spec.scale, 0.0, v);
}

impl<C: Curve> Repeat<C> {
    pub(super) fn at(&self, t: f64, base: f64) -> f64 {
        let cycle = self.cycles.at(t);
        match self.limit {
            Some(limit) if cycle.index >= exact(limit.count) => self.after.at((t - limit.end).max(0.0), base),
            _ => saturate(self.body.at(cycle.done(t), base) * saturate(libm::pow(self.scale, cycle.index))),
        }
    }
}

impl Limit {
    /// The end of the `count`-th of `cycles`.
    pub(super) fn new(count: u64, cycles: Cycles) -> Self {
        Self { count, end: cycles.start_of(count) }
    }
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "every value is exact")]
mod tests {
    use super::*;
    use crate::node::Node;
    use lrs_model::schedule::Shape;

    #[test]
    fn cycles_grow_and_shrink_and_end() {
        let body = Node::ease(Node::Constant(8.0), Node::Constant(0.0), 1.0, Shape::Linear);
        let cycles = Cycles { first: 2.0, growth: 2.0 };
        let after = Node::ease(Node::Constant(-1.0), Node::Constant(-3.0), 2.0, Shape::Linear);
        let repeat = Repeat { body, cycles, scale: 0.5, limit: Some(Limit::new(2, cycles)), after };

        let values: Vec<f64> = (0..9).map(|t| repeat.at(f64::from(t), 1.0)).collect();

        assert_eq!(values, [8.0, 4.0, 4.0, 3.0, 2.0, 1.0, -1.0, -2.0, -3.0]);
    }

    #[test]
    fn a_scale_of_nothing_leaves_the_first_cycle() {
        let Node::Repeat(repeat) = Node::repeat(Node::BASE, 3.0, 1.0, 0.0) else { panic!("a repeat") };
        assert_eq!([0.0, 2.0, 3.0, 7.0].map(|t| repeat.at(t, 5.0)), [5.0, 5.0, 0.0, 0.0]);
    }
}
