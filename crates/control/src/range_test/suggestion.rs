//! Rates read off the curve of a range test, as fastai does.
//!
//! Follows fastai 2.8.12, `fastai/callback/schedule.py`: `valley`, `slide`, `minimum` and `steep`, on the part of the
//! curve that `Learner.lr_find` keeps. <https://github.com/fastai/fastai/blob/main/fastai/callback/schedule.py>

use lrs_model::spec::Suggestion;

/// fastai's `lr_diff`: how many rates lie between the two slopes that a slide compares.
const SLIDE_APART: usize = 15;
/// fastai's `thresh`: the slide goes on while the two slopes differ by more than this.
const SLIDE_THRESHOLD: f64 = 0.005;

/// The suggestion from the smoothed `losses` at these rising `rates`; the losses must be finite. `None` if there are
/// too few: the minimum and the valley need 1, the steepest 2, a slide 16.
pub(super) fn suggest(suggestion: Suggestion, rates: &[f64], losses: &[f64]) -> Option<f64> {
    match suggestion {
        Suggestion::Steepest => steepest(rates, losses),
        Suggestion::Valley => valley(rates, losses),
        Suggestion::Slide => slide(rates, losses),
        Suggestion::Minimum => minimum(rates, losses),
    }
}

/// The rate at which the loss falls fastest to the next rate, over the logarithm of the rate.
fn steepest(rates: &[f64], losses: &[f64]) -> Option<f64> {
    let slope = |(loss, rate): (&[f64], &[f64])| (loss[1] - loss[0]) / (libm::log(rate[1]) - libm::log(rate[0]));
    let slopes = losses.windows(2).zip(rates.windows(2)).map(slope);
    Some(rates[first_least(slopes)?])
}

/// The rate about halfway along the longest falling subsequence.
///
/// Found in pairs, O(n^2), as in fastai, because the order decides between subsequences of equal length. The
/// subsequence is taken to begin as many places before its end as it has members, even if it leaves places out; its
/// middle is a third and a sixth of its length from there.
fn valley(rates: &[f64], losses: &[f64]) -> Option<f64> {
    let mut lengths = vec![1; losses.len()];
    let mut end = 0;
    for i in 1..losses.len() {
        for j in 0..i {
            if losses[i] < losses[j] && lengths[i] < lengths[j] + 1 {
                lengths[i] = lengths[j] + 1;
            }
            if lengths[end] < lengths[i] {
                end = i;
            }
        }
    }
    // A subsequence that begins with the first rate is taken to begin before it. Where nothing falls, there is only the
    // first rate.
    let length = if end == 0 { 0 } else { lengths[end] };
    let from_first = end + length / 3 + length / 6;
    let place = from_first.checked_sub(length).unwrap_or(losses.len().saturating_sub(1));
    rates.get(place).copied()
}

/// The rate of the left of two slopes 15 rates apart; both move from the right end to the left until they are about
/// equal.
fn slide(rates: &[f64], losses: &[f64]) -> Option<f64> {
    let mut left = losses.len().checked_sub(SLIDE_APART + 1)?;
    let mut rate = rates[left];
    while (slope_at(losses, left + SLIDE_APART) - slope_at(losses, left)).abs() > SLIDE_THRESHOLD {
        rate = rates[left];
        let Some(next) = left.checked_sub(1) else { break };
        left = next;
    }
    Some(rate)
}

/// `NumPy`'s `gradient`: the mean slope to the two neighbours, and at an end the slope to the only neighbour.
fn slope_at(losses: &[f64], i: usize) -> f64 {
    match (i.checked_sub(1), losses.get(i + 1)) {
        (Some(before), Some(after)) => (after - losses[before]) / 2.0,
        (Some(before), None) => losses[i] - losses[before],
        (None, Some(after)) => after - losses[i],
        (None, None) => 0.0,
    }
}

/// A tenth of the rate with the least loss.
fn minimum(rates: &[f64], losses: &[f64]) -> Option<f64> {
    Some(rates[first_least(losses.iter().copied())?] / 10.0)
}

/// The place of the least value; of equal values, the first.
fn first_least(values: impl Iterator<Item = f64>) -> Option<usize> {
    values.enumerate().reduce(|least, value| if value.1 < least.1 { value } else { least }).map(|(place, _)| place)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATES: [f64; 6] = [1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0];

    #[test]
    fn the_steepest_is_where_the_greatest_fall_begins() {
        assert_eq!(suggest(Suggestion::Steepest, &RATES, &[5.0, 4.9, 3.0, 2.0, 2.0, 6.0]), Some(1e-2));
    }

    #[test]
    fn the_minimum_is_a_tenth_of_the_first_of_the_best() {
        assert_eq!(suggest(Suggestion::Minimum, &RATES, &[5.0, 4.0, 2.0, 2.0, 3.0, 6.0]), Some(1e-1 / 10.0));
    }

    #[test]
    fn a_curve_that_only_rises_has_its_valley_at_the_first_rate() {
        assert_eq!(suggest(Suggestion::Valley, &RATES, &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]), Some(1e-3));
    }

    #[test]
    fn two_falling_losses_wrap_around_as_in_python() {
        // By fastai's own rule the valley begins at place -1, and its middle is there too.
        assert_eq!(suggest(Suggestion::Valley, &RATES[..2], &[2.0, 1.0]), Some(1e-2));
    }

    #[test]
    fn a_curve_that_is_too_short_has_no_suggestion() {
        for (suggestion, enough) in
            [(Suggestion::Steepest, 2), (Suggestion::Valley, 1), (Suggestion::Slide, 16), (Suggestion::Minimum, 1)]
        {
            let rates: Vec<f64> = (1..=enough).map(f64::from).collect();
            let losses = vec![1.0; rates.len()];
            assert!(suggest(suggestion, &rates, &losses).is_some(), "{suggestion:?}");
            assert_eq!(suggest(suggestion, &rates[1..], &losses[1..]), None, "{suggestion:?}");
        }
    }
}
