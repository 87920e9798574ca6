//! Where cycles of growing length begin.

use super::curve::saturate;
use lrs_model::number::exact;

/// Cycles of `first`, `first * growth`, `first * growth^2`, … steps, from time 0 on, without end.
///
/// Boundaries are sums of lengths, not logarithms: where the logarithm rounds down, as it does for 243 to the base 3,
/// `floor(log(…))` puts a time on a boundary into the wrong cycle.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Cycles {
    pub(super) first: f64,  // greater than 0
    pub(super) growth: f64, // at least 1
}

/// One cycle.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Cycle {
    /// Counted from 0. Whole, or infinite where the count leaves the range of `f64`.
    pub(super) index: f64,
    pub(super) start: f64,
    pub(super) length: f64,
    /// Where the next one starts, to the bit.
    pub(super) end: f64,
}

/// So many boundaries are added up one by one. Later cycles, which exist only for a growth below about 1.1, are found
/// by the closed form of the sum, so that finding a cycle takes bounded time for every growth.
const ADDED_UP: f64 = 256.0;
/// How often a closed-form guess is corrected. Rounding puts it off by a few cycles in 2^53 at most.
const CORRECTIONS: usize = 16;

impl Cycles {
    /// The cycle that `t >= 0` falls into. A boundary belongs to its right.
    ///
    /// Lengths such as 100/3 have no exact multiples, so a time within the [`tolerance`] of a boundary lies on it.
    pub(super) fn at(self, t: f64) -> Cycle {
        if self.growth <= 1.0 {
            let index = (t / self.first + tolerance(self.first) / self.first).floor();
            return Cycle::new(index, index * self.first, self.first);
        }
        let mut cycle = Cycle::new(0.0, 0.0, self.first);
        while cycle.is_over(t) {
            if cycle.index >= ADDED_UP {
                return self.far(cycle, t);
            }
            cycle = self.after(cycle);
        }
        cycle
    }

    /// When cycle `index` begins.
    pub(super) fn start_of(self, index: u64) -> f64 {
        if self.growth <= 1.0 {
            return saturate(exact(index) * self.first);
        }
        let mut cycle = Cycle::new(0.0, 0.0, self.first);
        while cycle.index < ADDED_UP.min(exact(index)) {
            cycle = self.after(cycle);
        }
        let more = exact(index) - cycle.index;
        saturate(if more > 0.0 { self.start_beyond(cycle, more) } else { cycle.start })
    }

    fn after(self, cycle: Cycle) -> Cycle {
        Cycle::new(cycle.index + 1.0, cycle.end, cycle.length * self.growth)
    }

    /// When the cycle `count` cycles after `from` begins: the geometric series in closed form.
    fn start_beyond(self, from: Cycle, count: f64) -> f64 {
        let grown = self.growth - 1.0;
        from.start + from.length * (libm::expm1(count * libm::log1p(grown)) / grown)
    }

    /// The cycle of a `t` after the beginning of `from`: the series solved for the number of its terms, then corrected
    /// by comparing with the sums themselves.
    fn far(self, from: Cycle, t: f64) -> Cycle {
        let grown = self.growth - 1.0;
        let lengths = (t - from.start) / from.length;
        let mut count = (libm::log1p(lengths * grown) / libm::log1p(grown)).floor().max(0.0);
        for _ in 0..CORRECTIONS {
            let cycle = self.between(from, count);
            if cycle.is_over(t) {
                count += 1.0;
            } else if count > 0.0 && t < cycle.start - tolerance(cycle.length) {
                count -= 1.0;
            } else {
                break;
            }
        }
        self.between(from, count)
    }

    /// The cycle `count` cycles after `from`, from its own beginning to that of the next.
    fn between(self, from: Cycle, count: f64) -> Cycle {
        let (start, end) = (self.start_beyond(from, count), self.start_beyond(from, count + 1.0));
        Cycle { index: from.index + count, start, length: end - start, end }
    }
}

/// A time this near to a boundary lies on it: 10^-12 of a cycle, and always less than a step.
fn tolerance(length: f64) -> f64 {
    (1e-12 * length).min(0.25)
}

impl Cycle {
    fn new(index: f64, start: f64, length: f64) -> Self {
        Self { index, start, length, end: start + length }
    }

    fn is_over(self, t: f64) -> bool {
        t >= self.end - tolerance(self.length)
    }

    /// The fraction of the cycle that is done at `t`, in `[0, 1)`.
    pub(super) fn done(self, t: f64) -> f64 {
        const BELOW_ONE: f64 = 1.0 - f64::EPSILON / 2.0;
        let done = (t - self.start) / self.length;
        // A cycle that begins at infinity has the length NaN: nothing of it is done.
        if done > 0.0 { done.min(BELOW_ONE) } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use lrs_model::MAX_STEP;

    #[test]
    fn boundaries_that_a_logarithm_misses_are_found() {
        let cycles = Cycles { first: 10.0, growth: 3.0 };
        let cycle = cycles.at(1210.0); // 10 (1 + 3 + 9 + 27 + 81)
        assert_eq!(cycle, Cycle::new(5.0, 1210.0, 2430.0));
        assert_eq!(cycles.at(1209.0).index.to_bits(), 4.0_f64.to_bits());
    }

    #[test]
    fn a_fraction_of_the_job_has_its_boundaries_on_whole_steps() {
        for (total, parts) in [(100.0, 3.0), (1000.0, 7.0), (100_000.0, 3.0)] {
            let cycles = Cycles { first: total / parts, growth: 1.0 };
            let cycle = cycles.at(total);
            assert_eq!(cycle.index.to_bits(), parts.to_bits(), "{total} in {parts}");
            assert!(cycle.done(total) < 1e-9);
        }
    }

    #[test]
    fn growth_barely_above_one_is_found_at_the_largest_step() {
        for growth in [1.0 + f64::EPSILON, 1.0 + 1e-12, 1.000_001, 1.001, 1.05, 1e300] {
            for first in [5e-324, 1e-9, 0.3, 1.0, 1e6] {
                let t = exact(MAX_STEP);
                let cycle = Cycles { first, growth }.at(t);
                assert!((0.0..1.0).contains(&cycle.done(t)), "{first} {growth}: {cycle:?}");
            }
        }
    }

    #[test]
    fn far_cycles_follow_on_from_those_added_up() {
        let cycles = Cycles { first: 8.0, growth: 1.001 };
        let mut sum = Cycle::new(0.0, 0.0, 8.0);
        for _ in 0..3000 {
            let middle = sum.start + sum.length / 2.0;
            let found = cycles.at(middle);
            assert_eq!(found.index.to_bits(), sum.index.to_bits());
            assert!((found.start - sum.start).abs() <= 1e-9 * sum.start.max(1.0));
            sum = cycles.after(sum);
        }
    }

    proptest! {
        #[test]
        fn equal_cycles_are_exact_at_any_step(first in 1_u64..1 << 40, step in 0..=MAX_STEP) {
            let cycle = Cycles { first: exact(first), growth: 1.0 }.at(exact(step));
            prop_assert_eq!(cycle.index.to_bits(), exact(step / first).to_bits());
            prop_assert_eq!(cycle.start.to_bits(), exact(step / first * first).to_bits());
        }

        #[test]
        fn doubling_cycles_are_exact_at_any_step(first in 1_u64..1000, step in 0..=MAX_STEP) {
            let (mut index, mut start, mut length) = (0_u64, 0, first);
            while step >= start + length {
                (index, start, length) = (index + 1, start + length, length * 2);
            }
            let cycle = Cycles { first: exact(first), growth: 2.0 }.at(exact(step));
            prop_assert_eq!(cycle, Cycle::new(exact(index), exact(start), exact(length)));
        }

        #[test]
        fn a_cycle_begins_where_it_is_said_to(first in 0.1_f64..100.0, growth in 1.0_f64..1.1, index in 0_u64..300) {
            let cycles = Cycles { first, growth };
            let start = cycles.start_of(index);
            prop_assert_eq!(cycles.at(start).index.to_bits(), exact(index).to_bits());
        }
    }
}
