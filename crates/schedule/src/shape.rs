//! Unit curves: how an ease goes from 0 to 1 with the fraction that is done.

use std::f64::consts::PI;

use super::{check, curve::saturate};
use lrs_model::{schedule::Shape, violation::Violations};

/// Checks the parameters of `shape`, which lie below the field `shape`.
pub(super) fn check(shape: Shape, v: &mut Violations) {
    v.within("shape", |v| match shape {
        Shape::Linear | Shape::Cosine | Shape::OneMinusSqrt => {}
        Shape::CosinePower(k) => check::positive("cosine_power", k, v),
        Shape::Poly(k) => check::positive("poly", k, v),
        Shape::Power(k) => check::positive("power", k, v),
        Shape::Exp(ratio) => {
            // At 1 it is the straight line, but the formula divides by 0.
            let allowed = ratio > 0.0 && (ratio - 1.0).abs() > 0.0;
            check::that("exp", ratio, allowed, "finite, greater than 0 and not 1", v);
        }
        Shape::Tanh { lower, upper } => v.within("tanh", |v| {
            check::finite("lower", lower, v);
            check::finite("upper", upper, v);
        }),
        Shape::Log(n) => check::that("log", n, n > 1.0, "finite and greater than 1", v),
    });
}

/// The weight of the end when the fraction `p >= 0` is done; the weight of the start is the rest up to 1.
///
/// For `p` in `0..=1`, every curve but `log` stays in `0..=1`, and every curve but `log` and `tanh` is exactly 0 at 0
/// and exactly 1 at 1. Above 1 the formula goes on. Where it has no real value, as a fractional power of a negative
/// number, the curve has ended at 1. Always finite.
pub(super) fn weight(shape: Shape, p: f64) -> f64 {
    let weight = match shape {
        Shape::Linear => p,
        Shape::Cosine => (1.0 - libm::cos(PI * p)) / 2.0,
        Shape::CosinePower(k) => 1.0 - libm::pow(0.5 * (1.0 + libm::cos(PI * p)), k),
        Shape::Poly(k) => 1.0 - libm::pow(1.0 - p, k),
        Shape::Power(k) => libm::pow(p, k),
        Shape::OneMinusSqrt => 1.0 - (1.0 - p).sqrt(),
        Shape::Exp(ratio) => 1.0 - (libm::pow(ratio, p) - ratio) / (1.0 - ratio),
        Shape::Tanh { lower, upper } => 1.0 - 0.5 * (1.0 - libm::tanh(lower * (1.0 - p) + upper * p)),
        Shape::Log(n) => libm::log(p * n + 1.0) / libm::log(n),
    };
    if weight.is_nan() { 1.0 } else { saturate(weight) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXACT_AT_BOTH_ENDS: [Shape; 9] = [
        Shape::Linear,
        Shape::Cosine,
        Shape::CosinePower(0.7),
        Shape::Poly(2.5),
        Shape::Power(0.5),
        Shape::OneMinusSqrt,
        Shape::Exp(0.1),
        Shape::Exp(7.0),
        Shape::Exp(1.0 + f64::EPSILON),
    ];

    #[test]
    fn shapes_that_reach_their_ends_reach_them_exactly() {
        for shape in EXACT_AT_BOTH_ENDS {
            assert_eq!(weight(shape, 0.0).to_bits(), 0.0_f64.to_bits(), "{shape:?}");
            assert_eq!(weight(shape, 1.0).to_bits(), 1.0_f64.to_bits(), "{shape:?}");
        }
    }

    #[test]
    fn tanh_comes_near_its_ends_and_log_passes_its_end() {
        let tanh = Shape::Tanh { lower: -7.0, upper: 3.0 };
        assert!((0.0..1e-5).contains(&weight(tanh, 0.0)));
        assert!((0.99..1.0).contains(&weight(tanh, 1.0)));
        assert!((weight(Shape::Log(10.0), 1.0) - libm::log10(11.0)).abs() < 1e-15);
    }

    #[test]
    fn past_the_end_a_formula_without_a_real_value_has_ended() {
        assert!((weight(Shape::Poly(0.5), 1.5) - 1.0).abs() < f64::EPSILON);
        assert!((weight(Shape::OneMinusSqrt, 1.5) - 1.0).abs() < f64::EPSILON);
        assert!((weight(Shape::Poly(1.0), 1.5) - 1.5).abs() < f64::EPSILON);
        assert!(weight(Shape::Cosine, 2.0).abs() < f64::EPSILON);
    }

    #[test]
    fn no_fraction_however_large_gives_nan() {
        for shape in EXACT_AT_BOTH_ENDS.into_iter().chain([Shape::Tanh { lower: -1.0, upper: 1.0 }, Shape::Log(2.0)]) {
            for p in [f64::MAX, f64::INFINITY, 1e16] {
                assert!(weight(shape, p).is_finite(), "{shape:?} at {p}");
            }
        }
    }
}
