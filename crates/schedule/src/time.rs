//! The two changes of time: stairs and shifts.

use super::{
    check,
    curve::{Curve, saturate},
};
use lrs_model::{schedule as spec, violation::Violations};

/// `schedule` at `floor(t / every) * every`: constant over stairs of equal length.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Stair<C> {
    pub(super) schedule: C,
    pub(super) every: f64,
}

/// Checks the length of a stair.
pub(super) fn check_stair(spec: &spec::Stair, v: &mut Violations) {
    check::required("every", spec.every, v);
}

impl<C: Curve> Stair<C> {
    pub(super) fn at(&self, t: f64, base: f64) -> f64 {
        self.schedule.at(saturate((t / self.every).floor() * self.every), base)
    }
}

/// `schedule` at `t + steps`; time below 0 counts as 0.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Shift<C> {
    pub(super) schedule: C,
    pub(super) steps: f64,
}

/// Checks the number of steps.
pub(super) fn check_shift(spec: &spec::Shift, v: &mut Violations) {
    check::finite("steps", spec.steps, v);
}

impl<C: Curve> Shift<C> {
    pub(super) fn at(&self, t: f64, base: f64) -> f64 {
        self.schedule.at(saturate(t + self.steps).max(0.0), base)
    }
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "every value is exact")]
mod tests {
    use super::*;
    use crate::node::Node;
    use lrs_model::schedule::Shape;

    fn clock() -> Node {
        Node::ease(Node::Constant(0.0), Node::Constant(64.0), 64.0, Shape::Linear)
    }

    #[test]
    fn a_stair_sees_the_time_it_began_at() {
        let stair = Stair { schedule: clock(), every: 2.5 };
        assert_eq!([0.0, 2.0, 2.5, 4.9, 5.0].map(|t| stair.at(t, 1.0)), [0.0, 0.0, 2.5, 2.5, 5.0]);
    }

    #[test]
    fn a_shift_sees_a_later_time_or_waits_at_the_beginning() {
        let shift = |steps| Shift { schedule: clock(), steps };
        assert_eq!([0.0, 1.0].map(|t| shift(3.0).at(t, 1.0)), [3.0, 4.0]);
        assert_eq!([0.0, 2.0, 3.0, 4.0].map(|t| shift(-3.0).at(t, 1.0)), [0.0, 0.0, 0.0, 1.0]);
    }
}
