//! Controllers, and the words that they share with others.

use super::plain;
use lrs_model::{
    controller::{ControllerSpec, Mode},
    violation::Violations,
};
use lrs_proto as proto;

/// A controller with the parameters that are set; `None` if it has no kind, which has been noted.
pub fn from_proto(controller: &proto::Controller, violations: &mut Violations) -> Option<ControllerSpec> {
    serde_json::from_value(plain::read(controller, violations)).ok()
}

/// A controller on the wire; empty if this release does not know its kind.
#[must_use]
pub fn to_proto(controller: &ControllerSpec) -> proto::Controller {
    serde_json::to_value(controller).ok().and_then(|value| plain::write(&value).ok()).unwrap_or_default()
}

/// Which direction is better; lower unless said otherwise.
pub fn mode_from_proto(mode: i32, violations: &mut Violations) -> Mode {
    match proto::Mode::try_from(mode) {
        Ok(proto::Mode::Unspecified | proto::Mode::Min) => Mode::Min,
        Ok(proto::Mode::Max) => Mode::Max,
        Err(_) => {
            violations.refuse("mode", mode, "MODE_MIN or MODE_MAX");
            Mode::Min
        }
    }
}

/// The same on the wire.
#[must_use]
pub fn mode_to_proto(mode: Mode) -> proto::Mode {
    match mode {
        Mode::Min => proto::Mode::Min,
        Mode::Max => proto::Mode::Max,
    }
}
