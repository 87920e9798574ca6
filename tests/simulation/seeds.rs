//! Seeds that found a bug, and what it was. They mean the same run only until the simulation itself changes; the bug each
//! found has a test of its own where one could be written.

/// Seed and finding.
pub const FOUND: &[(u64, &str)] = &[
    (219, "the simulation itself: a server that was asked to stop was asked for rates that it need not give"),
    (698, "steps given out under a spec without controllers were not final any more once controllers came back later"),
    (1194, "the simulation itself: a store that refuses to write again what it has written, which no store does"),
    (
        2_825_862_178,
        "a new spec for a fork that nobody trains yet took effect at step 0, and so changed the history that it shares",
    ),
];
