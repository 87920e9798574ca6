//! Checks and conversions that the targets share.

use lrs_model::violation::Violations;

/// Each violation must name a field and a reason.
pub(super) fn check_violations(violations: &Violations) {
    for violation in violations.iter() {
        assert!(!violation.field.is_empty(), "no field is named: {violation:?}");
        assert!(!violation.description.is_empty(), "{} is refused without a reason", violation.field);
    }
}

/// The input as text, if it is valid UTF-8.
pub(super) fn text(data: &[u8]) -> Option<&str> {
    std::str::from_utf8(data).ok()
}
