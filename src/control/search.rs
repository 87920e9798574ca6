//! The line-search warm-up: finds the rate by itself, from below, while it trains.
//!
//! First the loss and its error are taken at almost no rate. Then stages of some steps each, at rates that rise from a
//! sixty-fourth of the one given. A stage is judged by the median of its losses and their standard error: while the first loss is
//! not clearly left the rate rises in big steps, then in small ones, until a stage brings no gain or blows up. The rate
//! chosen is the least one whose stage is as good as the best within the error, and training goes on from the end of that
//! stage. A stage that is too high is cut short; if even the first one is, the search begins anew much lower.
//!
//! Learning rate range test: Smith, "Cyclical Learning Rates for Training Neural Networks", WACV 2017,
//! <https://arxiv.org/abs/1506.01186>. Held stages with standard errors are our own; docs/controllers.md has what was measured.

use serde::{Deserialize, Serialize};

use crate::stats::{linear::standard_error, order::median};

/// Steps at almost no rate, for the first loss and its error.
const PROBE_STEPS: usize = 8;
/// The rate there, as a share of that of the first stage.
const PROBE_SHARE: f64 = 1.0 / 4096.0;
/// The rate of the first stage, as a share of the one given: low enough that one given 30 times too high harms nothing.
const FIRST_SHARE: f64 = 1.0 / 64.0;
/// How many standard errors make a difference.
const CLEAR: f64 = 4.0;
/// How many standard errors are still a tie.
const TIE: f64 = 3.0;
/// How often the search may begin anew, and how much lower each time.
const RESTARTS: u32 = 4;
const RESTART_FACTOR: f64 = 1.0 / 64.0;
/// A stage takes a hundredth of the training, within limits: long ones would make the search of a long training dear.
const STAGE_SHARE: u64 = 100;
const MIN_STAGE_STEPS: u64 = 8;
const LONG_STAGE_STEPS: u64 = 20;
const LONG_STAGE_SHARE: u64 = 1000;
const MAX_STAGE_STEPS: u64 = 200;
/// The stage length where the training's is not known.
const OPEN_STAGE_STEPS: u64 = 20;
/// No stage begins after this share of the training, or this many stages.
const LIMIT_SHARE: u64 = 4;
const MAX_STAGES: usize = 48;
/// A loss that stands for one that is not finite.
pub(super) const BLOWN_LOSS: f64 = 1e15;

/// The search of a job.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Search {
    /// Without snapshots a stage that is too high can not be undone: smaller steps, an earlier look, half of what was found.
    pub(super) is_cautious: bool,
}

/// What the search remembers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct SearchState {
    /// Steps a stage.
    stage_steps: usize,
    /// No stage begins at or after this step.
    limit_step: u64,
    /// The rate that is tried, as a multiple of the one given.
    scale: f64,
    /// Losses of this stage so far, one that is not finite as [`BLOWN_LOSS`].
    losses: Vec<f64>,
    /// The first loss and its standard error; `None` while it is being taken.
    first: Option<(f64, f64)>,
    stages: Vec<Stage>,
    restarts: u32,
}

/// A stage that is over.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Stage {
    /// The median of its losses; `None` if it blew up.
    loss: Option<f64>,
    /// Its standard error.
    error: f64,
    scale: f64,
    /// Whether the trainer has kept the state at its end.
    is_kept: bool,
}

impl Stage {
    /// For finding the best: one that blew up comes last.
    fn key(&self) -> (f64, f64, f64) {
        (self.loss.unwrap_or(f64::INFINITY), self.error, self.scale)
    }

    /// The standard error of the difference to another figure with `error`.
    fn error_to(&self, error: f64) -> f64 {
        (self.error * self.error + error * error).sqrt()
    }
}

/// What comes next.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Next {
    /// More of the same.
    Stay,
    /// The rate of the first stage.
    Begin(Figures),
    /// The next stage, after keeping the state at the end of stage number `kept`.
    Rise { kept: usize, figures: Figures },
    /// Back to the start, and anew much lower.
    Restart(Figures),
    /// The search is over: this rate, from the state at the end of stage `from`, or of the start.
    Found { scale: f64, from: Option<usize>, figures: Figures },
}

/// The figures behind a step of the search.
pub(super) type Figures = Vec<(&'static str, f64)>;

impl SearchState {
    /// The state at the beginning of a search at step `start` of a training of `total_steps`.
    pub(super) fn new(start: u64, total_steps: Option<u64>) -> Self {
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
        }
    }

    /// The rate that is tried, as a multiple of the one given.
    pub(super) fn scale(&self) -> f64 {
        self.scale
    }

    /// How many stages are over.
    pub(super) fn stages(&self) -> usize {
        self.stages.len()
    }

    /// The trainer has been started anew and has no copies; the stage begins again.
    pub(super) fn lose_copies(&mut self) {
        self.losses.clear();
        self.stages.iter_mut().for_each(|stage| stage.is_kept = false);
    }

    /// The stage begins again: some of its steps ran at another rate.
    pub(super) fn begin_stage_again(&mut self) {
        self.losses.clear();
    }

    fn best(&self) -> Option<&Stage> {
        let order = |a: &&Stage, b: &&Stage| {
            let (a, b) = (a.key(), b.key());
            a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)).then(a.2.total_cmp(&b.2))
        };
        self.stages.iter().min_by(order)
    }
}

impl Search {
    /// Takes in the loss of a step that ran at the rate tried; `None` is one that is not finite. `can_keep` says whether the
    /// trainer keeps copies, `caution` what the rate found is divided by.
    pub(super) fn observe(
        self,
        state: &mut SearchState,
        step: u64,
        loss: Option<f64>,
        can_keep: bool,
        caution: f64,
    ) -> Next {
        let Some(first) = state.first else { return probe(state, loss) };
        state.losses.push(loss.unwrap_or(BLOWN_LOSS));
        let is_blown = loss.is_none() || self.is_blown(state, first);
        if !is_blown && state.losses.len() < state.stage_steps {
            return Next::Stay;
        }
        let losses = std::mem::take(&mut state.losses);
        let mut over = Stage { loss: None, error: 0.0, scale: state.scale, is_kept: false };
        if !is_blown {
            (over.loss, over.error) = (Some(median(&losses)), standard_error(&losses));
        }
        let mut figures = vec![
            ("first_loss", first.0),
            ("first_error", first.1),
            ("stage_loss", over.loss.unwrap_or(f64::INFINITY)),
            ("stage_error", over.error),
            ("stage", count(state.stages.len())),
            ("scale", over.scale),
        ];

        let is_worse = over.loss.is_none_or(|loss| loss > first.0 + CLEAR * over.error_to(first.1));
        if state.stages.is_empty() && is_worse && state.restarts < RESTARTS {
            state.restarts += 1;
            state.scale *= RESTART_FACTOR;
            return Next::Restart(figures);
        }
        let spread = first.1 * count(PROBE_STEPS).sqrt();
        let no_gain = match (over.loss, state.best().map(|best| (*best, best.loss))) {
            (None, _) => true,
            (Some(_), None | Some((_, None))) => false,
            (Some(loss), Some((best, Some(best_loss)))) => {
                let clearly = (CLEAR * over.error_to(best.error)).max(3.0 * spread);
                if is_left(&best, first) { loss >= best_loss } else { loss > best_loss + clearly }
            }
        };
        over.is_kept = can_keep && !no_gain;
        state.stages.push(over);
        let is_over = no_gain || step >= state.limit_step || state.stages.len() >= MAX_STAGES;
        let Some(best) = state.best().copied() else { return Next::Stay };
        let has_left = is_left(&best, first);
        if !is_over {
            let up = match (self.is_cautious, has_left) {
                (true, true) => 1.5,
                (true, false) | (false, true) => 2.0,
                (false, false) => 4.0,
            };
            state.scale *= up;
            return Next::Rise { kept: state.stages.len() - 1, figures };
        }
        figures.push(("best_loss", best.loss.unwrap_or(f64::INFINITY)));
        figures.push(("best_scale", best.scale));
        let (chosen, scale) = if has_left { Self::least_tie(state, best) } else { stability_limit(state, best) };
        state.scale = scale / caution;
        let from = chosen.filter(|&i| state.stages[i].is_kept);
        Next::Found { scale: state.scale, from, figures }
    }

    /// Whether the last losses leave no doubt that the rate is too high.
    fn is_blown(self, state: &SearchState, first: (f64, f64)) -> bool {
        let Some(last) = state.losses.len().checked_sub(3).map(|i| median(&state.losses[i..])) else { return false };
        let lowest = state.stages.iter().filter_map(|stage| stage.loss).fold(first.0, f64::min);
        let spread = first.1 * count(PROBE_STEPS).sqrt();
        last > 2.0 * first.0 + 10.0 * first.1 || self.is_cautious && last > lowest + 4.0 * spread
    }

    /// The least rate whose stage is as good as the best within the error.
    fn least_tie(state: &SearchState, best: Stage) -> (Option<usize>, f64) {
        let is_tied = |stage: &Stage| {
            let bound = best.loss.unwrap_or(f64::INFINITY) + TIE * stage.error_to(best.error);
            stage.loss.is_some_and(|loss| loss <= bound)
        };
        let good = state.stages.iter().enumerate().filter(|(_, stage)| is_tied(stage));
        let least = good.min_by(|(_, a), (_, b)| a.scale.total_cmp(&b.scale));
        (least.map(|(i, _)| i), least.map_or(best.scale, |(_, stage)| stage.scale))
    }
}

/// Takes the first loss, at almost no rate.
fn probe(state: &mut SearchState, loss: Option<f64>) -> Next {
    state.losses.extend(loss);
    if state.losses.len() < PROBE_STEPS {
        return Next::Stay;
    }
    let losses = std::mem::take(&mut state.losses);
    let first = (median(&losses), standard_error(&losses));
    state.first = Some(first);
    state.scale = FIRST_SHARE;
    Next::Begin(vec![("first_loss", first.0), ("first_error", first.1)])
}

/// Whether a stage is clearly below the first loss.
fn is_left(stage: &Stage, first: (f64, f64)) -> bool {
    stage.loss.is_some_and(|loss| loss < first.0 - CLEAR * stage.error_to(first.1))
}

/// Where no stage left the first loss only the limit of stability is known: a quarter of the highest rate that held.
fn stability_limit(state: &SearchState, best: Stage) -> (Option<usize>, f64) {
    let held = state.stages.iter().filter(|stage| stage.loss.is_some()).map(|stage| stage.scale);
    let highest = held.fold(None, |high: Option<f64>, scale| Some(high.map_or(scale, |high| high.max(scale))));
    let from =
        state.stages.iter().position(|stage| stage.loss.is_some() && stage.scale.to_bits() == best.scale.to_bits());
    (from, highest.unwrap_or(best.scale / 8.0) / 4.0)
}

/// A small count as a number.
#[expect(clippy::cast_precision_loss, reason = "counts here are below 2^53")]
fn count(count: usize) -> f64 {
    count as f64
}
