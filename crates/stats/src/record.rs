//! The row that a kernel writes for a window: 64-bit words, and how to read them.
//!
//! Word 0 is the number of finite values. After it come the words of each wanted group, in the order of [`Wanted`]'s
//! fields. A statistic that is not defined for so few values is not written, so its words mean nothing.

use super::{
    Summary, Wanted,
    linear::{Moments, Trend},
    number,
    order::Quantiles,
    rank::{MannKendall, TheilSen},
};

const LINEAR_WORDS: usize = 13;
const ORDER_WORDS: usize = 6;
const RANK_WORDS: usize = 3;

/// Where each group's words begin in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The number of words in a row.
    pub stride: usize,
    /// The first word of moments and trend, if they are wanted.
    pub linear: Option<usize>,
    /// The first word of the quantiles.
    pub order: Option<usize>,
    /// The first word of Mann and Kendall's test.
    pub mann_kendall: Option<usize>,
    /// The first word of Theil and Sen's slope.
    pub theil_sen: Option<usize>,
}

impl Layout {
    /// The layout for these groups.
    #[must_use]
    pub fn new(wanted: Wanted) -> Self {
        let mut stride = 1;
        let mut place = |is_wanted: bool, words: usize| {
            let begin = stride;
            is_wanted.then(|| {
                stride += words;
                begin
            })
        };
        let linear = place(wanted.linear, LINEAR_WORDS);
        let order = place(wanted.order, ORDER_WORDS);
        let mann_kendall = place(wanted.mann_kendall, RANK_WORDS);
        let theil_sen = place(wanted.theil_sen, RANK_WORDS);
        Self { stride, linear, order, mann_kendall, theil_sen }
    }

    /// Reads the row of a window of `length` values into its summary.
    ///
    /// `None` if the row cannot be the row of such a window: then its writer is not to be trusted.
    #[must_use]
    pub fn read(&self, row: &[u64], length: usize) -> Option<Summary> {
        let finite = usize::try_from(*row.first()?).ok().filter(|&finite| finite <= length)?;
        if row.len() != self.stride {
            return None;
        }
        let bad = length - finite;
        let words = |begin: Option<usize>, least: usize| begin.filter(|_| finite >= least).map(|begin| &row[begin..]);
        let summary = Summary {
            finite,
            bad_share: if bad == 0 { 0.0 } else { number(bad) / number(length) },
            moments: match words(self.linear, 1) {
                Some(words) => Some(moments(words, finite)?),
                None => None,
            },
            trend: words(self.linear, 3).map(trend),
            quantiles: words(self.order, 1).map(quantiles),
            mann_kendall: words(self.mann_kendall, 2).map(mann_kendall),
            theil_sen: words(self.theil_sen, 2).map(theil_sen),
        };
        Some(summary.with_one_nan())
    }

    /// The row that a kernel writes for this summary; words that mean nothing are 7.
    pub(crate) fn row(&self, summary: &Summary) -> Vec<u64> {
        let mut row = vec![7; self.stride];
        let mut put = |begin: Option<usize>, at: usize, words: &[u64]| {
            if let Some(begin) = begin {
                row[begin + at..][..words.len()].copy_from_slice(words);
            }
        };
        if let Some(m) = summary.moments {
            let [last, min, max, mean, variance] = [m.last, m.min, m.max, m.mean, m.variance].map(f64::to_bits);
            put(self.linear, 0, &[last, min, m.first_argmin as u64, max, mean, variance]);
        }
        if let Some(t) = summary.trend {
            let words = [t.slope, t.slope_t2, t.neighbour_correlation, t.effective_n, t.halves_z2].map(f64::to_bits);
            put(self.linear, 6, &words);
            let batch = t.batch_variance.map_or(0, f64::to_bits);
            put(self.linear, 11, &[u64::from(t.batch_variance.is_some()), batch]);
        }
        if let Some(q) = summary.quantiles {
            put(self.order, 0, &[q.median, q.mad, q.q10, q.q25, q.q75, q.q90].map(f64::to_bits));
        }
        if let Some(m) = summary.mann_kendall {
            put(self.mann_kendall, 0, &[m.s, m.tied_pairs, m.variance_18].map(i64::cast_unsigned));
        }
        if let Some(t) = summary.theil_sen {
            put(self.theil_sen, 0, &[t.slope, t.low, t.high].map(f64::to_bits));
        }
        row[0] = summary.finite as u64;
        row
    }
}

fn moments(words: &[u64], finite: usize) -> Option<Moments> {
    Some(Moments {
        last: f64::from_bits(words[0]),
        min: f64::from_bits(words[1]),
        first_argmin: usize::try_from(words[2]).ok().filter(|&place| place < finite)?,
        max: f64::from_bits(words[3]),
        mean: f64::from_bits(words[4]),
        variance: f64::from_bits(words[5]),
    })
}

fn trend(words: &[u64]) -> Trend {
    Trend {
        slope: f64::from_bits(words[6]),
        slope_t2: f64::from_bits(words[7]),
        neighbour_correlation: f64::from_bits(words[8]),
        effective_n: f64::from_bits(words[9]),
        halves_z2: f64::from_bits(words[10]),
        batch_variance: (words[11] == 1).then(|| f64::from_bits(words[12])),
    }
}

fn quantiles(words: &[u64]) -> Quantiles {
    Quantiles {
        median: f64::from_bits(words[0]),
        mad: f64::from_bits(words[1]),
        q10: f64::from_bits(words[2]),
        q25: f64::from_bits(words[3]),
        q75: f64::from_bits(words[4]),
        q90: f64::from_bits(words[5]),
    }
}

fn mann_kendall(words: &[u64]) -> MannKendall {
    let [s, tied_pairs, variance_18] = [words[0], words[1], words[2]].map(u64::cast_signed);
    MannKendall { s, tied_pairs, variance_18 }
}

fn theil_sen(words: &[u64]) -> TheilSen {
    TheilSen { slope: f64::from_bits(words[0]), low: f64::from_bits(words[1]), high: f64::from_bits(words[2]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_stand_one_after_the_other_and_what_is_not_wanted_takes_no_room() {
        let all = Layout::new(Wanted::ALL);
        assert_eq!((all.linear, all.order, all.mann_kendall, all.theil_sen), (Some(1), Some(14), Some(20), Some(23)));
        assert_eq!(all.stride, 26);
        let one = Layout::new(Wanted { theil_sen: true, ..Wanted::default() });
        assert_eq!((one.linear, one.theil_sen, one.stride), (None, Some(1), 4));
    }

    #[test]
    fn a_row_that_can_not_be_one_of_its_window_is_not_believed() {
        let layout = Layout::new(Wanted { linear: true, ..Wanted::default() });
        let mut row = vec![0; layout.stride];
        row[0] = 4;
        assert_eq!(layout.read(&row, 3), None, "more finite values than values");
        assert!(layout.read(&row, 4).is_some());
        assert_eq!(layout.read(&row[1..], 4), None, "too short");
        row[3] = 4;
        assert_eq!(layout.read(&row, 4), None, "the least value lies outside of the window");
    }
}
