//! Checks of controllers' parameters, with the same messages everywhere.

use lrs_model::{telemetry::is_metric_name, violation::Violations};

/// Refuses a text that cannot be the name of a metric.
pub(super) fn metric(name: &str, v: &mut Violations) {
    if !is_metric_name(name) {
        v.refuse("metric", format!("{name:?}"), "1 to 100 characters without spaces");
    }
}

/// Refuses anything but a factor between 0 and 1.
pub(super) fn shrinking(field: &str, value: f64, v: &mut Violations) {
    if !(value > 0.0 && value < 1.0) {
        v.refuse(field, value, "greater than 0 and less than 1");
    }
}

/// Refuses negative numbers, infinities and NaN.
pub(super) fn not_negative(field: &str, value: f64, v: &mut Violations) {
    if !(value.is_finite() && value >= 0.0) {
        v.refuse(field, value, "finite and at least 0");
    }
}
