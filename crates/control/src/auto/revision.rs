//! What a revision of the rule decides by: a row of constants and switches.
//!
//! A job is registered with the newest revision and keeps it, so that a release with a better rule changes no running job,
//! and stored jobs replay. A new revision is a new row; a constant or a switch in which revisions differ is a field here.

/// A revision of the rule.
#[derive(Debug, PartialEq)]
pub(super) struct Revision {
    /// The share of the training that is cooled down over, where evaluations come and where none do.
    pub(super) cooldown_share: f64,
    pub(super) blind_cooldown_share: f64,
    /// What the rate found is divided by. Near the beginning the best rate for the next steps lies above the best rate for
    /// all, so this is more than 1 everywhere; more where nothing can be undone, and where no evaluation steers.
    pub(super) short_sight: f64,
    pub(super) caution: f64,
    pub(super) blind_caution: f64,
    /// Whether a search decides on the next stage before all losses of this one are known, so that it need not wait out the
    /// decision lag.
    pub(super) looks_ahead: bool,
    /// How many standard errors are still a tie between stages, with copies and without.
    pub(super) tie: f64,
    pub(super) cautious_tie: f64,
    /// How many standard errors a stage must be worse than the best to end the search, once the first loss is left: with
    /// copies and without.
    pub(super) worse: f64,
    pub(super) cautious_worse: f64,
    /// A loss that lies so many times the size of the first loss and its spread above the first loss does harm that no later
    /// stage shows: its stage is too high, whatever the other losses are.
    pub(super) spike: f64,
    /// Whether evaluations may raise the rate that a search found.
    pub(super) climbs: bool,
    /// Whether a raise is by four where the evaluation improves evenly.
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

/// The revision of this number, if there is one.
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
