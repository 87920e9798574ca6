//! Ranges of numbers, with the same message everywhere.

use lrs_model::{MAX_STEP, number::exact, violation::Violations};

/// The most entries of one list: parts, boundaries, factors, terms, milestones.
pub const MAX_LIST: usize = 4096;

/// Refuses `value` unless it is finite and `allowed`; `range` says in words what is allowed.
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

/// The number of steps in `field`. Refuses a number below `least`, and answers `least` then.
pub(super) fn steps(field: &str, given: u64, least: u64, v: &mut Violations) -> f64 {
    if (least..=MAX_STEP).contains(&given) {
        exact(given)
    } else {
        v.refuse(field, given, format!("from {least} to 2^53 - 1"));
        exact(least)
    }
}

/// Refuses anything but a finite number above 0, where 0 is the same as no number.
pub(super) fn required(field: &str, value: f64, v: &mut Violations) {
    if value == 0.0 {
        v.add(field, "is required: must be finite and greater than 0");
    } else {
        positive(field, value, v);
    }
}

/// The number of steps in `field`, where 0 is the same as no number. Answers 1 for what it refuses.
pub(super) fn required_steps(field: &str, given: u64, v: &mut Violations) -> f64 {
    if given == 0 {
        v.add(field, "is required: must be from 1 to 2^53 - 1");
        return 1.0;
    }
    steps(field, given, 1, v)
}

/// Whether a list of `len` entries is short enough to be read; refuses it if not.
pub(super) fn list_fits(field: &str, len: usize, v: &mut Violations) -> bool {
    if len > MAX_LIST {
        v.add(field, format!("{len} entries are not allowed: must be at most {MAX_LIST}"));
    }
    len <= MAX_LIST
}
