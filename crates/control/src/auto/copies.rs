//! Names of the copies that a trainer of tier 2 is told to keep.

/// How many copies the guard holds at once: two good ones, one on trial, and one being replaced.
pub(super) const COPIES: u64 = 4;

/// The state at the start of the training.
pub(super) const START: &str = "start";
/// The state at the best evaluation.
pub(super) const BEST: &str = "best";
/// The state before a raise on trial.
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
