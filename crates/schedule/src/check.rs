//! Ranges of numbers, refused in the same words everywhere.

use lrs_model::violation::Violations;

/// Refuses `value` unless it is finite and `allowed`, which `range` says in words.
pub(super) fn that(field: &str, value: f64, allowed: bool, range: &str, v: &mut Violations) {
    if !(value.is_finite() && allowed) {
        v.refuse(field, value, range);
    }
}

/// Refuses NaN and infinities.
pub(super) fn finite(field: &str, value: f64, v: &mut Violations) {
    that(field, value, true, "finite", v);
}

/// Refuses anything but a finite number above 0.
pub(super) fn positive(field: &str, value: f64, v: &mut Violations) {
    that(field, value, value > 0.0, "finite and greater than 0", v);
}

/// Refuses anything but a finite number from `least` up.
pub(super) fn at_least(field: &str, value: f64, least: f64, v: &mut Violations) {
    that(field, value, value >= least, &format!("finite and at least {least}"), v);
}
