//! Statistics of windows of telemetry: a window for each job and metric, computed in batches over all live jobs.
//!
//! The order of operations is part of the definition of every statistic, so that any [`Backend`] gives the same bits.
//! Sums run over 32 strided lanes and a fixed tree ([`sum`]), order statistics and rank statistics are exact, nothing
//! is contracted, and only `+ - * /`, `sqrt` and comparisons are used. All numbers are f64 or integers. Values that are
//! not finite are left out first; their number is a statistic of its own.
//!
//! The functions for one window are public too, because controllers use them directly.

use std::ops::Range;

pub mod accelerated;
mod batch;
pub mod break_even;
pub mod choice;
pub mod cpu;
#[cfg(feature = "cuda")]
pub mod cuda;
#[cfg(not(feature = "cuda"))]
#[path = "no_cuda.rs"]
pub mod cuda;
pub mod device;
pub mod extremes;
pub mod linear;
pub mod noise;
pub mod order;
pub mod rank;
pub mod record;
pub mod resident;
pub mod rings;
pub mod running;
pub mod stationary;
pub mod sum;

use linear::{Moments, Trend};
use lrs_model::number::exact as number;
use order::Quantiles;
use rank::{MannKendall, TheilSen};

/// The most values in a window.
pub const MAX_WINDOW: usize = 1024;

/// Windows of different lengths, one after the other. The values of a window are in step order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Windows {
    values: Vec<f64>,
    /// Where each window ends in `values`.
    ends: Vec<usize>,
}

/// A window has more values than [`MAX_WINDOW`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("window {window} has {length} values: at most {MAX_WINDOW} are allowed")]
pub struct WindowTooLong {
    /// The index of the window, from 0.
    pub window: usize,
    /// How many values it has.
    pub length: usize,
}

impl Windows {
    /// No windows yet, with room for `windows` windows and `values` values in all.
    #[must_use]
    pub fn with_capacity(windows: usize, values: usize) -> Self {
        Self { values: Vec::with_capacity(values), ends: Vec::with_capacity(windows) }
    }

    /// Adds a window; it may be empty.
    ///
    /// # Errors
    /// If the window is too long; then nothing is added.
    pub fn push(&mut self, window: &[f64]) -> Result<(), WindowTooLong> {
        if window.len() > MAX_WINDOW {
            return Err(WindowTooLong { window: self.len(), length: window.len() });
        }
        self.values.extend_from_slice(window);
        self.ends.push(self.values.len());
        Ok(())
    }

    /// How many windows there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are no windows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The values of window `i`, if it exists.
    #[must_use]
    pub fn get(&self, i: usize) -> Option<&[f64]> {
        let end = *self.ends.get(i)?;
        let start = i.checked_sub(1).map_or(0, |before| self.ends[before]);
        Some(&self.values[start..end])
    }

    /// All values, one window after the other.
    #[must_use]
    pub fn values(&self) -> &[f64] {
        &self.values
    }

    /// The place of window `i` in [`Windows::values`], if it exists.
    #[must_use]
    pub fn range(&self, i: usize) -> Option<Range<usize>> {
        let end = *self.ends.get(i)?;
        Some(i.checked_sub(1).map_or(0, |before| self.ends[before])..end)
    }
}

/// The wanted groups of statistics. Their costs differ by orders of magnitude.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "a set of four")]
pub struct Wanted {
    /// [`Summary::moments`] and [`Summary::trend`]: linear in the window's length.
    pub linear: bool,
    /// [`Summary::quantiles`]: two sorts.
    pub order: bool,
    /// [`Summary::mann_kendall`]: a sort, or all pairs.
    pub mann_kendall: bool,
    /// [`Summary::theil_sen`]: all pairs.
    pub theil_sen: bool,
}

impl Wanted {
    /// Every statistic.
    pub const ALL: Self = Self { linear: true, order: true, mann_kendall: true, theil_sen: true };

    /// Each group alone, by its name.
    pub const GROUPS: [(&'static str, Self); 4] = {
        let none = Self { linear: false, order: false, mann_kendall: false, theil_sen: false };
        [
            ("linear", Self { linear: true, ..none }),
            ("order", Self { order: true, ..none }),
            ("mann_kendall", Self { mann_kendall: true, ..none }),
            ("theil_sen", Self { theil_sen: true, ..none }),
        ]
    };

    /// The groups that both sides want.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            linear: self.linear && other.linear,
            order: self.order && other.order,
            mann_kendall: self.mann_kendall && other.mann_kendall,
            theil_sen: self.theil_sen && other.theil_sen,
        }
    }

    /// Whether no group is wanted.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self == Self::default()
    }
}

/// The statistics of one window. A statistic is `None` if it was not wanted or is not defined for so few values.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Summary {
    /// The number of finite values, n.
    pub finite: usize,
    /// The share of values that are not finite, in `[0, 1]`; 0 for an empty window.
    pub bad_share: f64,
    /// Mean, variance and extremes; `None` without finite values.
    pub moments: Option<Moments>,
    /// The trend over the window; `None` for fewer than 3 finite values.
    pub trend: Option<Trend>,
    /// Order statistics; `None` without finite values.
    pub quantiles: Option<Quantiles>,
    /// Mann and Kendall's test for a trend; `None` for fewer than 2 finite values.
    pub mann_kendall: Option<MannKendall>,
    /// Theil and Sen's slope; `None` for fewer than 2 finite values.
    pub theil_sen: Option<TheilSen>,
}

impl Summary {
    /// These statistics, with those that are missing taken from `other`.
    #[must_use]
    pub(crate) fn or(self, other: Self) -> Self {
        Self {
            moments: self.moments.or(other.moments),
            trend: self.trend.or(other.trend),
            quantiles: self.quantiles.or(other.quantiles),
            mann_kendall: self.mann_kendall.or(other.mann_kendall),
            theil_sen: self.theil_sen.or(other.theil_sen),
            ..self
        }
    }

    /// Replaces every NaN by [`f64::NAN`], because processors differ in the NaN of `inf - inf`.
    #[must_use]
    pub(crate) fn with_one_nan(mut self) -> Self {
        fn one<const N: usize>(values: [&mut f64; N]) {
            for value in values.into_iter().filter(|value| value.is_nan()) {
                *value = f64::NAN;
            }
        }
        if let Some(m) = &mut self.moments {
            one([&mut m.last, &mut m.min, &mut m.max, &mut m.mean, &mut m.variance]);
        }
        if let Some(t) = &mut self.trend {
            one([&mut t.slope, &mut t.slope_t2, &mut t.neighbour_correlation, &mut t.effective_n, &mut t.halves_z2]);
            if let Some(variance) = &mut t.batch_variance {
                one([variance]);
            }
        }
        if let Some(q) = &mut self.quantiles {
            one([&mut q.median, &mut q.mad, &mut q.q10, &mut q.q25, &mut q.q75, &mut q.q90]);
        }
        if let Some(t) = &mut self.theil_sen {
            one([&mut t.slope, &mut t.low, &mut t.high]);
        }
        self
    }
}

/// Computes statistics. All backends give the same bits.
pub trait Backend: Send + Sync {
    /// The name of the hardware, for logs and metrics: `cpu` or a device's name.
    fn name(&self) -> &str;

    /// The `wanted` statistics: one summary a window, in order.
    ///
    /// A backend that loses its device computes the batch on the CPU instead.
    fn summarise(&self, windows: &Windows, wanted: Wanted) -> Vec<Summary>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_keep_their_values_apart() {
        let mut windows = Windows::with_capacity(3, 3);
        for window in [&[1.0, 2.0][..], &[], &[3.0]] {
            windows.push(window).unwrap();
        }
        assert_eq!((windows.len(), windows.is_empty()), (3, false));
        assert_eq!(windows.get(0), Some(&[1.0, 2.0][..]));
        assert_eq!(windows.get(1), Some(&[][..]));
        assert_eq!((windows.get(2), windows.range(2)), (Some(&[3.0][..]), Some(2..3)));
        assert_eq!(windows.get(3), None);
    }

    #[test]
    fn a_window_that_is_too_long_is_refused_and_named() {
        let mut windows = Windows::default();
        windows.push(&[0.0; MAX_WINDOW]).unwrap();
        let error = windows.push(&[0.0; MAX_WINDOW + 1]).unwrap_err();
        assert_eq!(error.to_string(), "window 1 has 1025 values: at most 1024 are allowed");
        assert_eq!(windows.len(), 1);
    }
}
