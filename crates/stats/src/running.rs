//! Statistics that are updated at every step instead of being computed over a window.
//!
//! They take the values in step order; a value that is not finite changes nothing. The states are plain values.

use serde::{Deserialize, Serialize};

use super::number;

/// A fast and a slow exponential moving average, and the variance around the slow one.
///
/// `m += a (x - m)` with `a` = 0.1 and 0.01. `v = (1 - a) (v + a (x - m)^2)` with the slow average's `a` and its mean
/// before the step. Both averages start at the first value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Averages {
    /// The fast average.
    pub fast: f64,
    /// The slow average.
    pub slow: f64,
    /// The variance around the slow average.
    pub variance: f64,
    /// How many values have come.
    pub count: u64,
}

const FAST: f64 = 0.1;
const SLOW: f64 = 0.01;

impl Averages {
    /// The averages after one more value.
    #[must_use]
    pub fn with(self, value: f64) -> Self {
        if !value.is_finite() {
            return self;
        }
        if self.count == 0 {
            return Self { fast: value, slow: value, variance: 0.0, count: 1 };
        }
        let distance = value - self.slow;
        Self {
            fast: self.fast + FAST * (value - self.fast),
            slow: self.slow + SLOW * distance,
            variance: (1.0 - SLOW) * (self.variance + SLOW * distance * distance),
            count: self.count + 1,
        }
    }
}

/// Page and Hinkley's test for a rise of the mean.
///
/// `m = sum of (x - mean so far - delta)`; the test raises an alarm when `m` exceeds its least value by more than a
/// threshold. Page, "Continuous inspection schemes", Biometrika 41 (1954); Hinkley, "Inference about the change-point
/// from cumulative sum tests", Biometrika 58 (1971).
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PageHinkley {
    mean: f64,
    sum: f64,
    least: f64,
    count: u64,
}

impl PageHinkley {
    /// The test after one more value; `delta` is the largest rise that does not matter.
    #[must_use]
    pub fn with(self, value: f64, delta: f64) -> Self {
        if !value.is_finite() {
            return self;
        }
        let count = self.count + 1;
        let mean = self.mean + (value - self.mean) / number(count);
        let sum = self.sum + (value - mean - delta);
        Self { mean, sum, least: self.least.min(sum), count }
    }

    /// How far the sum lies above its least value; the caller raises an alarm above its own threshold.
    #[must_use]
    pub fn rise(self) -> f64 {
        self.sum - self.least
    }
}

/// A one-sided cumulative sum for a rise: `s = max(0, s + (x - mean) / deviation - 0.5)`, with an alarm above 8.
///
/// Page, "Continuous inspection schemes", Biometrika 41 (1954).
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Cusum {
    sum: f64,
}

impl Cusum {
    const SLACK: f64 = 0.5;
    const ALARM: f64 = 8.0;

    /// The sum after one more value. While nothing changes, the values have this `mean` and standard `deviation`. A
    /// `deviation` of 0 adds nothing.
    #[must_use]
    pub fn with(self, value: f64, mean: f64, deviation: f64) -> Self {
        if !value.is_finite() || deviation.is_nan() || deviation <= 0.0 {
            return self;
        }
        Self { sum: (self.sum + (value - mean) / deviation - Self::SLACK).max(0.0) }
    }

    /// The sum, at least 0.
    #[must_use]
    pub fn sum(self) -> f64 {
        self.sum
    }

    /// Whether the values have risen.
    #[must_use]
    pub fn is_alarmed(self) -> bool {
        self.sum > Self::ALARM
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn averages_begin_at_the_first_value_and_follow_the_others() {
        let one = Averages::default().with(5.0);
        assert_eq!((one.fast, one.slow, one.variance), (5.0, 5.0, 0.0));
        let two = one.with(6.0);
        assert!((two.fast - 5.1).abs() < 1e-12 && (two.slow - 5.01).abs() < 1e-12);
        assert!((two.variance - 0.0099).abs() < 1e-12);
        assert_eq!(two.with(f64::NAN), two);
    }

    #[test]
    fn a_rise_alarms_and_noise_does_not() {
        let noise = |i: u32| if i.is_multiple_of(2) { 1.0 } else { -1.0 };
        let (mut hinkley, mut cusum) = (PageHinkley::default(), Cusum::default());
        for i in 0..200 {
            hinkley = hinkley.with(noise(i), 0.1);
            cusum = cusum.with(noise(i), 0.0, 1.0);
        }
        assert!(hinkley.rise() < 2.0 && !cusum.is_alarmed(), "{} {}", hinkley.rise(), cusum.sum());
        for i in 0..30 {
            hinkley = hinkley.with(noise(i) + 2.0, 0.1);
            cusum = cusum.with(noise(i) + 2.0, 0.0, 1.0);
        }
        assert!(hinkley.rise() > 20.0 && cusum.is_alarmed(), "{} {}", hinkley.rise(), cusum.sum());
    }

    #[test]
    fn infinities_leave_everything_as_it_is() {
        let (hinkley, cusum) = (PageHinkley::default().with(1.0, 0.0), Cusum::default().with(9.0, 0.0, 1.0));
        assert_eq!(hinkley.with(f64::INFINITY, 0.0), hinkley);
        assert_eq!((cusum.with(f64::NEG_INFINITY, 0.0, 1.0), cusum.with(9.0, 0.0, 0.0)), (cusum, cusum));
    }
}
