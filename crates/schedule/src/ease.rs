//! From one schedule to another over a number of steps.

use super::{
    check,
    curve::{Curve, saturate},
    shape,
};
use lrs_model::{
    schedule as spec,
    schedule::{Past, Shape},
    violation::Violations,
};

/// `lerp(start, end, e((t / over)^warp))`, where `e` is the shape.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Ease<C> {
    pub(super) start: C,
    pub(super) end: C,
    pub(super) over: f64, // in steps, or within a `repeat` in cycles
    pub(super) shape: Shape,
    pub(super) past: Past,
    pub(super) warp: f64,
}

/// Checks all parameters but the two schedules.
pub(super) fn check(spec: &spec::Ease, v: &mut Violations) {
    check::at_least("over", spec.over, 0.0, v);
    shape::check(spec.shape, v);
    check::positive("warp", spec.warp, v);
}

impl<C: Curve> Ease<C> {
    /// Between the values of start and end, both included, as long as the shape stays in `0..=1`.
    pub(super) fn at(&self, t: f64, base: f64) -> f64 {
        let done = if self.over > 0.0 { t / self.over } else { 1.0 };
        let done = match self.past {
            Past::Hold => done.min(1.0),
            Past::Continue => done,
        };
        let weight = shape::weight(self.shape, libm::pow(done, self.warp));
        lerp(self.start.at(t, base), self.end.at(t, base), weight)
    }
}

/// `x (1 - w) + y w`: exact at both ends, which `x + w (y - x)` is not.
fn lerp(x: f64, y: f64, w: f64) -> f64 {
    // Each product on its own: otherwise two infinities of different sign could meet.
    let sum = saturate(saturate(x * (1.0 - w)) + saturate(y * w));
    // The sum may leave the bounds by a rounding.
    if (0.0..=1.0).contains(&w) { sum.clamp(x.min(y), x.max(y)) } else { sum }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::Node;

    fn line(over: f64, past: Past) -> Ease<Node> {
        Ease { start: Node::Constant(1.0), end: Node::Constant(0.25), over, shape: Shape::Linear, past, warp: 1.0 }
    }

    fn assert_at(ease: &Ease<Node>, t: f64, value: f64) {
        assert_eq!(ease.at(t, 1.0).to_bits(), value.to_bits(), "at {t}");
    }

    #[test]
    fn it_goes_from_start_to_end_and_holds() {
        let ease = line(4.0, Past::Hold);
        for (t, value) in [(0.0, 1.0), (1.0, 0.8125), (2.0, 0.625), (4.0, 0.25), (9.0, 0.25)] {
            assert_at(&ease, t, value);
        }
    }

    #[test]
    fn a_line_that_continues_extrapolates() {
        assert_at(&line(4.0, Past::Continue), 8.0, -0.5);
    }

    #[test]
    fn without_a_length_it_is_at_its_end() {
        assert_at(&line(0.0, Past::Hold), 0.0, 0.25);
        assert_at(&line(0.0, Past::Continue), 7.0, 0.25);
    }

    #[test]
    fn the_warp_bends_the_fraction_done() {
        let ease = Ease { warp: 2.0, ..line(4.0, Past::Hold) };
        assert_at(&ease, 2.0, 0.8125);
        assert_at(&ease, 4.0, 0.25);
    }

    #[test]
    fn between_equal_ends_it_is_constant_to_the_bit() {
        let ease = Ease { start: Node::Constant(0.1), end: Node::Constant(0.1), ..line(7.0, Past::Hold) };
        for t in 0..7 {
            assert_at(&ease, f64::from(t), 0.1);
        }
    }
}
