//! The steps that were trained without a final directive.

use std::ops::RangeInclusive;

/// The most stretches that are kept. Steps in further stretches are only counted.
const STRETCHES: usize = 1000;

/// The steps that were trained at planned rates or at the rates of the step before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FallbackSteps {
    count: u64,
    stretches: Vec<RangeInclusive<u64>>,
}

impl FallbackSteps {
    /// The number of steps.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The first 1000 unbroken stretches of steps, rising.
    #[must_use]
    pub fn stretches(&self) -> &[RangeInclusive<u64>] {
        &self.stretches
    }

    /// Adds a step; steps come in rising order.
    pub(super) fn record(&mut self, step: u64) {
        self.count += 1;
        let full = self.stretches.len() >= STRETCHES;
        match self.stretches.last_mut() {
            Some(last) if last.end().checked_add(1) == Some(step) => *last = *last.start()..=step,
            _ if full => {}
            _ => self.stretches.push(step..=step),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbouring_steps_become_one_stretch() {
        let mut steps = FallbackSteps::default();
        for step in [3, 4, 5, 9] {
            steps.record(step);
        }
        assert_eq!(steps.count(), 4);
        assert_eq!(steps.stretches(), [3..=5, 9..=9]);
    }

    #[test]
    fn what_is_remembered_is_bounded_and_the_count_is_not() {
        let mut steps = FallbackSteps::default();
        for step in 0..5000 {
            steps.record(2 * step);
        }
        assert_eq!((steps.count(), steps.stretches().len()), (5000, STRETCHES));
    }
}
