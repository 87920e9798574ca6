//! Plateaus: where the loss did not fall.

use lrs_stats::rank::mann_kendall;

use lrs_model::number::exact;

/// The most means of consecutive losses.
const MAX_MEANS: usize = 512;
/// The fewest means that plateaus are looked for in.
const MIN_MEANS: usize = 16;
/// About how many windows a curve is divided into.
const WINDOWS: usize = 8;
/// The fewest means of a window.
const MIN_WINDOW: usize = 8;
/// The square of the 95% quantile of the standard normal distribution: a one-sided test at 5%.
const Z2: f64 = 1.644_853_626_951_472_2 * 1.644_853_626_951_472_2;

/// The steps on a plateau: windows of about an eighth of the run in which Mann and Kendall's test (one-sided, 5%) finds
/// no fall of the loss.
#[derive(Clone, Debug, PartialEq)]
pub struct PlateauFigures {
    /// How many steps were on a plateau.
    pub steps: u64,
    /// Their share of all steps, in `[0, 1]`.
    pub share: f64,
    /// The plateaus: first step, and first step after it.
    pub stretches: Vec<(u64, u64)>,
}

/// The mean loss of consecutive stretches of equal numbers of losses, in bounded memory.
#[derive(Clone, Debug)]
pub(super) struct PlateauTally {
    means: Vec<Mean>,
    /// Losses a mean.
    size: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Mean {
    first: u64,
    last: u64,
    sum: f64,
    count: u64,
}

impl Mean {
    fn join(self, later: Self) -> Self {
        Self { first: self.first, last: later.last, sum: self.sum + later.sum, count: self.count + later.count }
    }

    fn value(&self) -> f64 {
        self.sum / exact(self.count)
    }
}

impl Default for PlateauTally {
    fn default() -> Self {
        Self { means: Vec::new(), size: 1 }
    }
}

impl PlateauTally {
    /// Takes the next loss. A loss that is not finite is left out.
    pub(super) fn push(&mut self, step: u64, loss: f64) {
        if !loss.is_finite() {
            return;
        }
        let next = Mean { first: step, last: step, sum: loss, count: 1 };
        if let Some(open) = self.means.last_mut().filter(|mean| mean.count < self.size) {
            *open = open.join(next);
            return;
        }
        if self.means.len() == MAX_MEANS {
            self.means = self.means.chunks(2).map(|pair| pair[1..].iter().fold(pair[0], |a, b| a.join(*b))).collect();
            self.size *= 2;
        }
        self.means.push(next);
    }

    /// The mean of each of at most `most` stretches, at the middle of its steps; nothing unless that is a good deal
    /// less than all losses.
    pub(super) fn smoothed(&self, most: usize) -> Vec<(u64, f64)> {
        let losses: u64 = self.means.iter().map(|mean| mean.count).sum();
        if most == 0 || losses < 2 * most as u64 {
            return Vec::new();
        }
        let joined = self.means.chunks(self.means.len().div_ceil(most)).map(|means| {
            let mean = means[1..].iter().fold(means[0], |a, b| a.join(*b));
            (u64::midpoint(mean.first, mean.last), mean.value())
        });
        joined.collect()
    }

    /// `None` for too few losses.
    pub(super) fn figures(&self) -> Option<PlateauFigures> {
        let (first, last) = (self.means.first()?, self.means.last()?);
        if self.means.len() < MIN_MEANS {
            return None;
        }
        let length = (self.means.len() / WINDOWS).max(MIN_WINDOW);
        let mut stretches: Vec<(u64, u64)> = Vec::new();
        let windows = self.means.len() / length;
        for i in 0..windows {
            // The rest at the end belongs to the last window.
            let end = if i + 1 == windows { self.means.len() } else { (i + 1) * length };
            let window = &self.means[i * length..end];
            if falls(window) {
                continue;
            }
            let (from, to) = (window[0].first, self.means.get(end).map_or(last.last + 1, |next| next.first));
            match stretches.last_mut().filter(|(_, end)| *end == from) {
                Some((_, end)) => *end = to,
                None => stretches.push((from, to)),
            }
        }
        let steps = stretches.iter().map(|(from, to)| to - from).sum();
        Some(PlateauFigures { steps, share: exact(steps) / exact(last.last + 1 - first.first), stretches })
    }
}

fn falls(window: &[Mean]) -> bool {
    let values: Vec<f64> = window.iter().map(Mean::value).collect();
    mann_kendall(&values).is_some_and(|test| test.s < 0 && test.z2() > Z2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(losses: impl IntoIterator<Item = f64>) -> Option<PlateauFigures> {
        let mut tally = PlateauTally::default();
        for (step, loss) in (0..).zip(losses) {
            tally.push(step, loss);
        }
        tally.figures()
    }

    #[test]
    fn a_loss_that_falls_all_the_time_has_no_plateau_and_one_that_stands_is_one() {
        let found = figures((0..1000).map(|i| 1.0 - f64::from(i) / 1000.0)).unwrap();
        assert_eq!((found.steps, found.stretches.len()), (0, 0));
        let found = figures((0..1000).map(|_| 1.0)).unwrap();
        assert_eq!((found.steps, found.stretches), (1000, vec![(0, 1000)]));
        assert!((found.share - 1.0).abs() < 1e-15);
    }

    #[test]
    fn half_a_plateau_is_found_as_half_whatever_the_length() {
        for length in [160, 1_000, 100_000_u32] {
            let loss = |i: u32| if i < length / 2 { 1.0 - f64::from(i) / f64::from(length) } else { 0.5 };
            let found = figures((0..length).map(loss)).unwrap();
            // To a window.
            assert!((found.share - 0.5).abs() < 0.13, "{length}: {}", found.share);
            assert_eq!(found.stretches.len(), 1, "{length}");
        }
    }

    #[test]
    fn a_loss_that_rises_is_on_a_plateau_too() {
        assert_eq!(figures((0..100).map(f64::from)).unwrap().steps, 100);
    }

    #[test]
    fn a_long_run_is_smoothed_to_a_few_means_and_a_short_one_is_not() {
        let mut tally = PlateauTally::default();
        (0..10_000).for_each(|step| tally.push(step, if step % 2 == 0 { 1.0 } else { 3.0 }));
        let smoothed = tally.smoothed(128);
        assert!((64..=128).contains(&smoothed.len()), "{}", smoothed.len());
        assert!(smoothed.iter().all(|(_, mean)| (mean - 2.0).abs() < 0.1));
        assert!(smoothed.is_sorted_by_key(|(step, _)| *step));
        assert_eq!(tally.smoothed(10_000), []);
        assert_eq!(PlateauTally::default().smoothed(1), []);
    }

    #[test]
    fn few_losses_say_nothing_and_memory_is_bounded() {
        assert_eq!(figures((0..15).map(f64::from)), None);
        assert_eq!(figures([f64::NAN; 100]), None);
        let mut tally = PlateauTally::default();
        (0..1_000_000).for_each(|step| tally.push(step, 1.0));
        assert!(tally.means.len() <= MAX_MEANS);
    }
}
