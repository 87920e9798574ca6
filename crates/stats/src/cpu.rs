//! The reference backend: uses all cores and their vector units.

use rayon::prelude::*;

use super::{Backend, Summary, Wanted, Windows, linear, number, order, rank};

/// Windows in one piece of work: enough to be worth handing to a core, few enough to spread evenly.
const PIECE: usize = 16;

/// Computes on the CPU.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cpu;

impl Backend for Cpu {
    fn name(&self) -> &'static str {
        "cpu"
    }

    fn summarise(&self, windows: &Windows, wanted: Wanted) -> Vec<Summary> {
        let mut summaries = vec![Summary::default(); windows.len()];
        summaries.par_chunks_mut(PIECE).enumerate().for_each(|(piece, summaries)| {
            let mut scratch = Vec::new();
            for (i, summary) in summaries.iter_mut().enumerate() {
                if let Some(window) = windows.get(piece * PIECE + i) {
                    *summary = summarise(window, wanted, &mut scratch);
                }
            }
        });
        summaries
    }
}

/// The statistics of one window. `scratch` is memory to reuse.
#[must_use]
pub fn summarise(window: &[f64], wanted: Wanted, scratch: &mut Vec<f64>) -> Summary {
    scratch.clear();
    let values = if window.iter().all(|value| value.is_finite()) {
        window
    } else {
        scratch.extend(window.iter().filter(|value| value.is_finite()));
        &scratch[..]
    };
    let finite = values.len();
    let bad = window.len() - finite;
    let mut summary = Summary {
        finite,
        bad_share: if bad == 0 { 0.0 } else { number(bad) / number(window.len()) },
        ..Summary::default()
    };
    if wanted.linear {
        summary.moments = linear::moments(values);
        summary.trend = linear::trend(values);
    }
    if wanted.mann_kendall {
        summary.mann_kendall = rank::mann_kendall(values);
    }
    if wanted.theil_sen {
        summary.theil_sen = rank::theil_sen(values);
    }
    if wanted.order {
        // Last, because it sorts.
        if scratch.is_empty() {
            scratch.extend_from_slice(window);
        }
        scratch.retain(|value| value.is_finite());
        summary.quantiles = order::quantiles(scratch);
    }
    summary.with_one_nan()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Debug text shows every digit, and shows a NaN as such.
    fn text(summaries: &[Summary]) -> String {
        format!("{summaries:?}")
    }

    fn windows() -> impl Strategy<Value = Vec<Vec<f64>>> {
        let value = prop_oneof![
            6 => -10.0..10.0f64,
            2 => (-2i8..3).prop_map(f64::from),
            1 => Just(f64::NAN),
            1 => Just(f64::INFINITY),
            1 => Just(-0.0),
        ];
        prop::collection::vec(prop::collection::vec(value, 0..90), 0..60)
    }

    fn batch(windows: &[Vec<f64>]) -> Windows {
        let mut batch = Windows::default();
        for window in windows {
            batch.push(window).unwrap();
        }
        batch
    }

    #[test]
    fn an_empty_window_and_one_without_a_finite_value_have_nothing_but_their_counts() {
        let found = Cpu.summarise(&batch(&[vec![], vec![f64::NAN, f64::INFINITY]]), Wanted::ALL);
        assert_eq!(found[0], Summary::default());
        assert_eq!(found[1], Summary { bad_share: 1.0, ..Summary::default() });
    }

    #[test]
    fn only_what_is_wanted_is_computed() {
        let wanted = Wanted { order: true, ..Wanted::default() };
        let found = Cpu.summarise(&batch(&[vec![1.0, 2.0, 3.0]]), wanted)[0];
        assert!(found.quantiles.is_some());
        assert_eq!((found.moments, found.trend, found.mann_kendall, found.theil_sen), (None, None, None, None));
    }

    proptest! {
        #[test]
        fn the_bits_do_not_depend_on_the_batch_or_on_how_many_threads_there_are(windows in windows(), threads in 1usize..5) {
            let alone: Vec<Summary> =
                windows.iter().flat_map(|window| Cpu.summarise(&batch(std::slice::from_ref(window)), Wanted::ALL)).collect();
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let together = pool.install(|| Cpu.summarise(&batch(&windows), Wanted::ALL));
            prop_assert_eq!(text(&together), text(&alone));
        }

        #[test]
        fn values_that_are_not_finite_are_as_if_they_had_not_come(windows in windows()) {
            let clean: Vec<Vec<f64>> =
                windows.iter().map(|window| window.iter().copied().filter(|x| x.is_finite()).collect()).collect();
            let with = Cpu.summarise(&batch(&windows), Wanted::ALL);
            let without = Cpu.summarise(&batch(&clean), Wanted::ALL);
            for ((with, without), (window, clean)) in with.iter().zip(&without).zip(windows.iter().zip(&clean)) {
                prop_assert_eq!(with.finite, clean.len());
                prop_assert!((with.bad_share * number(window.len().max(1)) - number(window.len() - clean.len())).abs() < 1e-9);
                prop_assert_eq!(text(&[Summary { bad_share: 0.0, ..*with }]), text(&[*without]));
            }
        }
    }
}
