//! A curve: every form of the algebra is one.

/// A total function of local time and base rate.
pub(super) trait Curve {
    /// The value at local time `t`, finite. Needs `t` finite and at least 0, and `base` finite.
    fn at(&self, t: f64, base: f64) -> f64;
}

/// `x`; if `x` is infinite, the largest finite number of its sign. A NaN stays NaN.
pub(super) fn saturate(x: f64) -> f64 {
    x.clamp(-f64::MAX, f64::MAX)
}
