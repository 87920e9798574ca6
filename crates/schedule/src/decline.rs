//! Decay without an end: exponential, and by a power of time.

use super::{
    check,
    curve::{Curve, saturate},
};
use lrs_model::{schedule as spec, violation::Violations};

/// `value * rate^(t / every)`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Geometric<C> {
    pub(super) value: C,
    pub(super) rate: f64,
    pub(super) every: f64,
}

/// Checks all parameters but the value.
pub(super) fn check_geometric(spec: &spec::Geometric, v: &mut Violations) {
    check::required("rate", spec.rate, v);
    check::positive("every", spec.every, v);
}

impl<C: Curve> Geometric<C> {
    pub(super) fn at(&self, t: f64, base: f64) -> f64 {
        saturate(self.value.at(t, base) * saturate(libm::pow(self.rate, t / self.every)))
    }
}

/// `value * (1 + t / tau)^-exponent`: inverse time at exponent 1, inverse square root at 1/2.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct PowerLaw<C> {
    pub(super) value: C,
    pub(super) tau: f64,
    pub(super) exponent: f64,
}

/// Checks all parameters but the value.
pub(super) fn check_power_law(spec: &spec::PowerLaw, v: &mut Violations) {
    check::required("tau", spec.tau, v);
    check::finite("exponent", spec.exponent, v);
}

impl<C: Curve> PowerLaw<C> {
    pub(super) fn at(&self, t: f64, base: f64) -> f64 {
        saturate(self.value.at(t, base) * saturate(libm::pow(1.0 + t / self.tau, -self.exponent)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::Node;

    #[test]
    fn a_geometric_halves_every_so_often() {
        let geometric = Geometric { value: Node::BASE, rate: 0.5, every: 10.0 };
        for (t, value) in [(0.0, 8.0), (10.0, 4.0), (30.0, 1.0)] {
            assert_eq!(geometric.at(t, 8.0).to_bits(), f64::to_bits(value));
        }
    }

    #[test]
    fn a_power_law_is_inverse_time_or_inverse_square_root() {
        let law = |exponent| PowerLaw { value: Node::BASE, tau: 4.0, exponent };
        assert_eq!(law(1.0).at(12.0, 1.0).to_bits(), 0.25_f64.to_bits());
        assert_eq!(law(0.5).at(12.0, 1.0).to_bits(), 0.5_f64.to_bits());
    }

    #[test]
    fn growth_without_bound_stops_at_the_largest_number() {
        let grown = Geometric { value: Node::Constant(-2.0), rate: 10.0, every: 1.0 };
        assert_eq!(grown.at(1e6, 1.0).to_bits(), (-f64::MAX).to_bits());
        let nothing = Geometric { value: Node::Constant(0.0), rate: 10.0, every: 1.0 };
        assert_eq!(nothing.at(1e6, 1.0).to_bits(), 0.0_f64.to_bits());
    }
}
