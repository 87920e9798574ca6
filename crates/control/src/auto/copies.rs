//! What the copies are called that a trainer of tier 2 is told to keep.

/// The guard's copies that are held at once: two good ones, one on trial, one being replaced.
pub(super) const COPIES: u64 = 4;

/// The state that training began with.
pub(super) const START: &str = "start";
/// That of the best evaluation.
pub(super) const BEST: &str = "best";
/// That before a raise on trial.
pub(super) const LOWER: &str = "lower-rate";

/// The state at the end of a stage of the search.
pub(super) fn stage_copy(stage: usize) -> String {
    format!("stage-{stage}")
}

/// A state that the guard may go back to.
pub(super) fn good_copy(copy: u64) -> String {
    debug_assert!(copy < COPIES, "copies are numbered below {COPIES}");
    format!("good-{copy}")
}
