//! The rate that a search chooses at its end: the stage to go on from, and the rate as a multiple of the given rate.

use super::stage::Stage;

/// The lowest rate whose stage is within `errors` standard errors of the `best` and clearly below the `first` loss.
/// Without the second condition, a stage that gained nothing would tie with a best stage that is still close to the
/// first loss.
pub(super) fn least_tie(stages: &[Stage], best: Stage, first: (f64, f64), errors: f64) -> (Option<usize>, f64) {
    let is_tied = |stage: &Stage| stage.ties(&best, errors) && stage.has_left(first);
    let good = stages.iter().enumerate().filter(|(_, stage)| is_tied(stage));
    let least = good.min_by(|(_, a), (_, b)| a.scale.total_cmp(&b.scale));
    (least.map(|(i, _)| i), least.map_or(best.scale, |(_, stage)| stage.scale))
}

/// A quarter of the highest rate that held, for a search in which no stage is clearly below the first loss: there only
/// the limit of stability is known. A rate has held if its stage is within `errors` standard errors of the `best`.
pub(super) fn stability_limit(stages: &[Stage], best: Stage, errors: f64) -> (Option<usize>, f64) {
    let held = stages.iter().filter(|stage| stage.ties(&best, errors)).map(|stage| stage.scale);
    let highest = held.fold(None, |high: Option<f64>, scale| Some(high.map_or(scale, |high| high.max(scale))));
    let from = stages.iter().position(|stage| stage.loss.is_some() && stage.scale.to_bits() == best.scale.to_bits());
    (from, highest.unwrap_or(best.scale / 8.0) / 4.0)
}
