//! What a search has found, in a sentence for people.

use std::cmp::Ordering;

use super::{Stage, state::SearchState};
use crate::wording::brief;

/// How many rates are named; of more, the lowest and the highest.
const NAMED: usize = 12;
/// A rate that is not in the list of those tried differs from each of them by more than this share.
const SAME: f64 = 1e-9;

impl SearchState {
    /// The rates tried, what was wrong with those that were not taken, and the rate that training goes on at: `scale`
    /// times `base_lr`.
    pub(in crate::auto) fn story(&self, base_lr: f64, scale: f64, is_given: bool) -> String {
        let rate = |scale: f64| brief(base_lr * scale);
        let mut scales: Vec<f64> = self.stages.iter().map(|stage| stage.scale).collect();
        scales.sort_by(f64::total_cmp);
        scales.dedup_by(|a, b| (*a - *b).abs() <= SAME * b.abs());
        let tried = match scales.as_slice() {
            [] => return format!("training at {}", rate(scale)),
            few if few.len() <= NAMED => few.iter().map(|&scale| rate(scale)).collect::<Vec<_>>().join(", "),
            [lowest, .., highest] => format!("{} rates from {} to {}", scales.len(), rate(*lowest), rate(*highest)),
            [_] => String::new(),
        };
        let verdicts: Vec<String> = self
            .best()
            .into_iter()
            .flat_map(|best| self.stages.iter().filter_map(|stage| verdict(stage, best, &rate(stage.scale))))
            .collect();
        let verdict = match verdicts.last() {
            Some(verdict) => format!("; {verdict}"),
            None => "; none was worse than the others".to_owned(),
        };
        let why = if is_given { " as given, because the steps for the search have run out" } else { "" };
        format!("tried {tried}{verdict}; training at {}{why}", rate(scale))
    }
}

/// What was wrong with a rate above the best one.
fn verdict(stage: &Stage, best: &Stage, rate: &str) -> Option<String> {
    let (Some(loss), Some(best_loss)) = (stage.loss, best.loss) else {
        return Some(format!("{rate} was too high: the loss blew up")).filter(|_| stage.loss.is_none());
    };
    let errors = (loss - best_loss) / stage.error_to(best.error);
    let is_above = stage.scale.total_cmp(&best.scale) == Ordering::Greater;
    (is_above && errors > 0.0).then(|| format!("{rate} was worse by {errors:.1} standard errors"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn story(stages: &[(f64, Option<f64>)], scale: f64, is_given: bool) -> String {
        let mut state = SearchState::new(0, Some(1000));
        state.stages = stages.iter().map(|&(scale, loss)| Stage { loss, error: 0.1, scale, is_kept: false }).collect();
        state.story(0.01, scale, is_given)
    }

    #[test]
    fn it_names_the_rates_what_was_wrong_and_where_training_goes_on() {
        let stages = [(0.25, Some(3.0)), (0.5, Some(2.0)), (1.0, Some(1.0)), (2.0, Some(1.5))];
        assert_eq!(
            story(&stages, 0.667, false),
            "tried 0.0025, 0.005, 0.01, 0.02; 0.02 was worse by 3.5 standard errors; training at 0.00667"
        );
        assert_eq!(
            story(&[(0.25, Some(3.0)), (1.0, None)], 0.25, false),
            "tried 0.0025, 0.01; 0.01 was too high: the loss blew up; training at 0.0025"
        );
        assert_eq!(
            story(&stages[..2], 1.0, true),
            "tried 0.0025, 0.005; none was worse than the others; training at 0.01 as given, because the steps for the \
             search have run out"
        );
    }

    #[test]
    fn of_many_rates_it_names_the_lowest_and_the_highest() {
        let many: Vec<_> = (0..40).map(|i| (f64::from(1 + i), Some(f64::from(50 - i)))).collect();
        assert!(
            story(&many, 1.0, false).starts_with("tried 40 rates from 0.01 to 0.4; none"),
            "{}",
            story(&many, 1.0, false)
        );
    }
}
