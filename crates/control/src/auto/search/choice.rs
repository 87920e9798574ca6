//! Which rate a search chooses once it is over: the stage to go on from, and the rate as a multiple of the one given.

use super::stage::Stage;

/// The least rate whose stage is as good as the `best` within so many `errors`, and has left the `first` loss itself: where
/// the first loss is still close, stages that gained nothing would tie with it.
pub(super) fn least_tie(stages: &[Stage], best: Stage, first: (f64, f64), errors: f64) -> (Option<usize>, f64) {
    let is_tied = |stage: &Stage| stage.ties(&best, errors) && stage.has_left(first);
    let good = stages.iter().enumerate().filter(|(_, stage)| is_tied(stage));
    let least = good.min_by(|(_, a), (_, b)| a.scale.total_cmp(&b.scale));
    (least.map(|(i, _)| i), least.map_or(best.scale, |(_, stage)| stage.scale))
}

/// Where no stage left the first loss only the limit of stability is known: a quarter of the highest rate that held. A rate
/// whose stage is worse than the `best` by more than so many `errors` has not held.
pub(super) fn stability_limit(stages: &[Stage], best: Stage, errors: f64) -> (Option<usize>, f64) {
    let held = stages.iter().filter(|stage| stage.ties(&best, errors)).map(|stage| stage.scale);
    let highest = held.fold(None, |high: Option<f64>, scale| Some(high.map_or(scale, |high| high.max(scale))));
    let from = stages.iter().position(|stage| stage.loss.is_some() && stage.scale.to_bits() == best.scale.to_bits());
    (from, highest.unwrap_or(best.scale / 8.0) / 4.0)
}
