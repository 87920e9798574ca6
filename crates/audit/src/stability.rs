//! Stability of the loss: spikes, divergences, and values that are not finite.

use lrs_stats::running::Averages;

/// A loss at least this many standard deviations above its running average is a spike.
const SPIKE_DEVIATIONS: f64 = 6.0;
/// The number of first losses that their spread is estimated from.
const WARM_UP: u64 = 32;
/// The gain of training counts once it is this many standard deviations of the first losses.
const GAIN_DEVIATIONS: f64 = 6.0;
/// The share of the gain that a divergence gives back.
const LOST_SHARE: f64 = 0.5;

/// The figures of the loss's stability.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StabilityFigures {
    /// Losses that are NaN or infinite.
    pub not_finite: u64,
    /// The step of the first of them.
    pub first_not_finite_step: Option<u64>,
    /// Stretches of losses each more than 6 standard deviations above the running average (a weight of 0.01 for the
    /// newest loss).
    pub spikes: u64,
    /// The first step of the first of them.
    pub first_spike_step: Option<u64>,
    /// Stretches in which the loss was not finite, or its running average (a weight of 0.1) had given back more than
    /// half of what training had gained.
    pub divergences: u64,
    /// The first step of the first of them.
    pub first_divergence_step: Option<u64>,
    /// Whether training ended in a divergence.
    pub ended_diverged: bool,
}

/// The figures so far.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct StabilityTally {
    figures: StabilityFigures,
    averages: Averages,
    in_spike: bool,
    /// The average and the standard deviation of the first losses.
    start: Option<(f64, f64)>,
    lowest: f64,
}

impl StabilityTally {
    pub(super) fn push(&mut self, step: u64, loss: f64) {
        self.count_spike(step, loss);
        if !loss.is_finite() {
            self.figures.not_finite += 1;
            self.figures.first_not_finite_step.get_or_insert(step);
        }
        self.averages = self.averages.with(loss);
        if self.start.is_none() && self.averages.count == WARM_UP {
            self.start = Some((self.averages.fast, self.averages.variance.sqrt()));
            self.lowest = self.averages.fast;
        }
        let diverged = !loss.is_finite() || self.has_lost();
        if diverged && !self.figures.ended_diverged {
            self.figures.divergences += 1;
            self.figures.first_divergence_step.get_or_insert(step);
        }
        self.figures.ended_diverged = diverged;
        self.lowest = self.lowest.min(self.averages.fast);
    }

    fn count_spike(&mut self, step: u64, loss: f64) {
        let Averages { slow, variance, count, .. } = self.averages;
        let is_spike = count >= WARM_UP && loss - slow > SPIKE_DEVIATIONS * variance.sqrt();
        if is_spike && !self.in_spike {
            self.figures.spikes += 1;
            self.figures.first_spike_step.get_or_insert(step);
        }
        self.in_spike = is_spike;
    }

    fn has_lost(&self) -> bool {
        self.start.is_some_and(|(start, deviation)| {
            let gained = start - self.lowest;
            gained > GAIN_DEVIATIONS * deviation && self.averages.fast - self.lowest > LOST_SHARE * gained
        })
    }

    pub(super) fn figures(&self) -> StabilityFigures {
        self.figures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(losses: impl IntoIterator<Item = f64>) -> StabilityFigures {
        let mut tally = StabilityTally::default();
        for (step, loss) in (0..).zip(losses) {
            tally.push(step, loss);
        }
        tally.figures()
    }

    /// A loss that falls from 3 to about 1, with a little noise of a fixed pattern.
    fn falling(steps: u32) -> impl Iterator<Item = f64> + Clone {
        (0..steps).map(|i| 1.0 + 2.0 / (1.0 + f64::from(i) / 50.0) + 0.02 * f64::from((i * 7) % 11) - 0.1)
    }

    #[test]
    fn a_smooth_run_has_nothing_to_tell() {
        assert_eq!(figures(falling(2000)), StabilityFigures::default());
        assert_eq!(figures([]), StabilityFigures::default());
    }

    #[test]
    fn a_stretch_of_high_losses_is_one_spike() {
        let found =
            figures(falling(2000).enumerate().map(|(i, loss)| if (900..903).contains(&i) { 9.0 } else { loss }));
        assert_eq!((found.spikes, found.first_spike_step), (1, Some(900)));
        let found = figures(falling(2000).enumerate().map(|(i, loss)| if i % 600 == 599 { 9.0 } else { loss }));
        assert_eq!(found.spikes, 3);
    }

    #[test]
    fn a_run_that_goes_back_up_and_stays_there_has_diverged() {
        let found = figures(falling(1000).chain(std::iter::repeat_n(3.0, 500)));
        assert_eq!((found.divergences, found.ended_diverged), (1, true));
        assert!(found.first_divergence_step.is_some_and(|step| (1000..1050).contains(&step)), "{found:?}");
        let found = figures(falling(1000).chain(std::iter::repeat_n(3.0, 100)).chain(falling(1000).skip(500)));
        assert_eq!((found.divergences, found.ended_diverged), (1, false));
    }

    #[test]
    fn a_nan_is_a_divergence_for_as_long_as_it_lasts() {
        let found = figures(falling(100).chain([f64::NAN, f64::INFINITY]).chain(falling(100).skip(50)));
        assert_eq!((found.not_finite, found.first_not_finite_step), (2, Some(100)));
        assert_eq!((found.divergences, found.first_divergence_step, found.ended_diverged), (1, Some(100), false));
        assert!(figures([1.0, f64::NAN]).ended_diverged);
    }
}
