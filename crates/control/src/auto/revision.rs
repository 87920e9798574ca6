//! The revisions of the rule: a row of constants and switches each.
//!
//! A job is registered with the newest revision and keeps it, so that a release with a better rule changes no running
//! job, and stored jobs replay. A new revision is a new row. A constant or switch in which revisions differ is a field
//! here.

/// A revision of the rule.
#[derive(Debug, PartialEq)]
pub(super) struct Revision {
    /// The share of the training that the cooldown takes, with evaluations and without.
    pub(super) cooldown_share: f64,
    pub(super) blind_cooldown_share: f64,
    /// The divisors of the rate that a search found. Early in the training, the best rate for the next steps lies above
    /// the best rate for all steps, so each divisor is more than 1. It is larger where no step can be undone, and where
    /// no evaluation steers.
    pub(super) short_sight: f64,
    pub(super) caution: f64,
    pub(super) blind_caution: f64,
    /// Whether a search decides on the next stage before it knows all losses of the present stage, so that it need not
    /// wait out the decision lag.
    pub(super) looks_ahead: bool,
    /// How many standard errors apart two stages still tie, with copies and without.
    pub(super) tie: f64,
    pub(super) cautious_tie: f64,
    /// How many standard errors worse than the best a stage must be to end the search, once a stage has clearly
    /// improved on the first loss: with copies and without.
    pub(super) worse: f64,
    pub(super) cautious_worse: f64,
    /// A loss above the first loss by this many times the size of the first loss plus its spread does harm that no
    /// later stage shows. The rate of its stage is too high, whatever the other losses are.
    pub(super) spike: f64,
    /// Whether evaluations may raise the rate that a search found.
    pub(super) climbs: bool,
    /// Whether a raise is fourfold where the evaluation improves evenly.
    pub(super) climbs_by_four: bool,
}

/// Every revision, the first one first.
const REVISIONS: [Revision; 1] = [Revision {
    cooldown_share: 0.3,
    blind_cooldown_share: 0.5,
    short_sight: 1.5,
    caution: 2.0,
    blind_caution: 2.5,
    looks_ahead: true,
    tie: 2.0,
    cautious_tie: 3.0,
    worse: 1.0,
    cautious_worse: 0.0,
    spike: 10.0,
    climbs: true,
    climbs_by_four: true,
}];

/// The number of the newest revision; the first is 1.
pub(super) const NEWEST: u64 = REVISIONS.len() as u64;

/// The revision with this number, if it exists.
pub(super) fn revision(number: u64) -> Option<&'static Revision> {
    REVISIONS.get(usize::try_from(number).ok()?.checked_sub(1)?)
}

#[cfg(test)]
pub(super) const NEWEST_ROW: &Revision = &REVISIONS[REVISIONS.len() - 1];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn revisions_are_numbered_from_1_to_the_newest() {
        assert_eq!((revision(0), revision(NEWEST + 1)), (None, None));
        assert_eq!(revision(NEWEST), Some(NEWEST_ROW));
    }
}
