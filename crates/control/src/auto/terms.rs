//! Values that the parts of the loop exchange.

use std::collections::BTreeMap;

/// The step of an observation, and the first step whose rate it can change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct When {
    pub(super) step: u64,
    pub(super) effective_step: u64,
}

/// The figures behind a decision, by name.
pub(super) type Figures = Vec<(&'static str, f64)>;

/// The figures in the form that a decision stores.
pub(super) fn evidence(figures: Figures) -> BTreeMap<String, f64> {
    figures.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}
