//! Numbers in sentences for people.

/// `x` with three significant digits.
pub(super) fn brief(x: f64) -> String {
    let rounded: f64 = format!("{x:.2e}").parse().unwrap_or(x);
    // Very small and very large numbers have an exponent.
    format!("{rounded:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_told_in_three_digits() {
        for (x, told) in [(0.012_345, "0.0123"), (1.234e-7, "1.23e-7"), (98_765.0, "98800.0"), (f64::NAN, "NaN")] {
            assert_eq!(brief(x), told);
        }
    }
}
