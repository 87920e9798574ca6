//! Sums in an order that every machine can reproduce: 32 lanes, then a tree.

/// How many lanes there are.
pub const LANES: usize = 32;

/// The sum of `term(i)` over `i` in `0..n`.
///
/// Lane `l` adds the terms of `i = l, l + 32, l + 64, …` to 0, in that order. Then lanes are added in pairs 16, 8, 4, 2
/// and 1 apart. The sum of no terms is 0. The order is the same on all hardware, and 32 lanes keep vector units busy.
#[must_use]
#[inline]
pub fn sum(n: usize, term: impl Fn(usize) -> f64) -> f64 {
    let mut lanes = [0.0; LANES];
    let whole = n - n % LANES;
    let mut start = 0;
    while start < whole {
        for (l, lane) in lanes.iter_mut().enumerate() {
            *lane += term(start + l);
        }
        start += LANES;
    }
    for (l, lane) in lanes.iter_mut().enumerate().take(n - whole) {
        *lane += term(whole + l);
    }
    fold(lanes)
}

/// The same sum over the items of a slice, which the compiler can vectorise.
#[must_use]
#[inline]
pub fn sum_of(values: &[f64], term: impl Fn(f64) -> f64) -> f64 {
    let mut lanes = [0.0; LANES];
    let (chunks, rest) = values.as_chunks::<LANES>();
    for chunk in chunks {
        for (lane, &value) in lanes.iter_mut().zip(chunk) {
            *lane += term(value);
        }
    }
    for (lane, &value) in lanes.iter_mut().zip(rest) {
        *lane += term(value);
    }
    fold(lanes)
}

fn fold(mut lanes: [f64; LANES]) -> f64 {
    for width in [16, 8, 4, 2, 1] {
        let (low, high) = lanes.split_at_mut(width);
        for (low, high) in low.iter_mut().zip(high) {
            *low += *high;
        }
    }
    lanes[0]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_order_is_strided_lanes_and_then_a_tree() {
        // Lane 0 gets 1e16 and then 1, which is lost. Lane 16 cancels the 1e16 in the first round.
        let mut values = [0.0; 33];
        (values[0], values[16], values[32]) = (1e16, -1e16, 1.0);
        assert_eq!(sum_of(&values, |x| x).to_bits(), 0.0_f64.to_bits());
        (values[32], values[1]) = (0.0, 1.0);
        assert_eq!(sum_of(&values, |x| x).to_bits(), 1.0_f64.to_bits());
    }

    proptest! {
        #[test]
        fn both_ways_give_the_same_bits(values in prop::collection::vec(-1e3..1e3f64, 0..200)) {
            let by_index = sum(values.len(), |i| values[i] * values[i]);
            prop_assert_eq!(by_index.to_bits(), sum_of(&values, |x| x * x).to_bits());
        }

        #[test]
        fn a_sum_of_small_whole_numbers_is_exact(values in prop::collection::vec(-1000i32..1000, 0..1025)) {
            let floats: Vec<f64> = values.iter().map(|&value| f64::from(value)).collect();
            let exact: i32 = values.iter().sum();
            prop_assert_eq!(sum_of(&floats, |x| x).to_bits(), (f64::from(exact) + 0.0).to_bits());
        }
    }
}
