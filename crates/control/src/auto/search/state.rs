//! The state of a search: the stage under way, and the stages that are over.

use serde::{Deserialize, Serialize};

use super::stage::Stage;

/// The rate of the first stage, as a share of the given rate: so low that a given rate 30 times too high does no harm.
pub(super) const FIRST_SHARE: f64 = 1.0 / 64.0;
/// The rate while the first loss is measured, as a share of the first stage's rate.
const PROBE_SHARE: f64 = 1.0 / 4096.0;
/// A stage takes a hundredth of the training, within limits: long stages would make the search of a long training
/// costly.
const STAGE_SHARE: u64 = 100;
const MIN_STAGE_STEPS: u64 = 8;
const LONG_STAGE_STEPS: u64 = 20;
const LONG_STAGE_SHARE: u64 = 1000;
const MAX_STAGE_STEPS: u64 = 200;
/// The length of a stage where the length of the training is not known.
const OPEN_STAGE_STEPS: u64 = 20;
/// No stage begins after this share of the training.
const LIMIT_SHARE: u64 = 4;

/// What the search remembers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(in crate::auto) struct SearchState {
    /// Steps a stage.
    pub(super) stage_steps: usize,
    /// No stage begins at or after this step.
    pub(super) limit_step: u64,
    /// The rate on trial, as a multiple of the given rate.
    pub(super) scale: f64,
    /// The finite losses of this stage so far, at most one a step.
    pub(super) losses: Vec<f64>,
    /// The first loss and its standard error; `None` until they have been measured.
    pub(super) first: Option<(f64, f64)>,
    /// The stages that are over, at most 48 and none twice.
    pub(super) stages: Vec<Stage>,
    pub(super) restarts: u32,
    /// The first step of this stage.
    pub(super) begins_at: u64,
    /// The next stage, once it has been decided on.
    pub(super) ahead: Option<Ahead>,
}

/// A stage that has not begun.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Ahead {
    pub(super) begins_at: u64,
    pub(super) scale: f64,
    /// Whether the trainer keeps the state at the beginning of this stage, which is the end of the stage before.
    pub(super) is_kept: bool,
}

impl SearchState {
    /// The state at the beginning of a search at step `start` of a training of `total_steps`.
    pub(in crate::auto) fn new(start: u64, total_steps: Option<u64>) -> Self {
        let left = total_steps.map(|total| total.saturating_sub(start));
        let stage_steps = left.map_or(OPEN_STAGE_STEPS, |left| {
            let longest = (left / LONG_STAGE_SHARE).clamp(LONG_STAGE_STEPS, MAX_STAGE_STEPS);
            (left / STAGE_SHARE).clamp(MIN_STAGE_STEPS, longest)
        });
        Self {
            stage_steps: usize::try_from(stage_steps).unwrap_or(usize::MAX),
            limit_step: left.map_or(u64::MAX, |left| start + left / LIMIT_SHARE),
            scale: FIRST_SHARE * PROBE_SHARE,
            losses: Vec::new(),
            first: None,
            stages: Vec::new(),
            restarts: 0,
            begins_at: start,
            ahead: None,
        }
    }

    /// The rate on trial, or the rate of the next stage once that has been decided on, as a multiple of the given rate.
    pub(in crate::auto) fn scale(&self) -> f64 {
        self.ahead.map_or(self.scale, |ahead| ahead.scale)
    }

    /// How many stages are over.
    pub(in crate::auto) fn stages(&self) -> usize {
        self.stages.len()
    }

    /// The trainer has restarted and has no copies; the stage begins again.
    pub(in crate::auto) fn lose_copies(&mut self) {
        self.losses.clear();
        self.stages.iter_mut().for_each(|stage| stage.is_kept = false);
        // The trainer before was told to keep this copy; the new trainer was not.
        self.ahead.iter_mut().for_each(|next| next.is_kept = false);
    }

    /// Begins the stage again, because some of its steps ran at another rate.
    pub(in crate::auto) fn begin_stage_again(&mut self) {
        self.losses.clear();
    }

    /// Begins the stage at the step `begins_at`, with the rate `scale`.
    pub(super) fn enter(&mut self, begins_at: u64, scale: f64) {
        (self.begins_at, self.scale) = (begins_at, scale);
    }

    pub(super) fn best(&self) -> Option<&Stage> {
        let order = |a: &&Stage, b: &&Stage| {
            let (a, b) = (a.key(), b.key());
            a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)).then(a.2.total_cmp(&b.2))
        };
        self.stages.iter().min_by(order)
    }
}
