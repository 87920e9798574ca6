//! Seeds that found a bug, with the bug. A seed stands for the same run only until the simulation changes, so each bug
//! also has a test of its own where possible.

/// Seed and finding.
pub const FOUND: &[(u64, &str)] = &[
    (219, "the simulation itself: a server that was asked to stop was asked for rates that it need not give"),
    (698, "steps given out under a spec without controllers were not final any more once controllers came back later"),
    (1194, "the simulation itself: a store that refuses to write again what it has written, which no store does"),
    (
        2_825_862_178,
        "a new spec for a fork that nobody trains yet took effect at step 0, and so changed the history that it shares",
    ),
    (
        4_083_077_958,
        "a search that ran out of steps told the trainer to go back to the end of its last stage, of which no copy had been asked for",
    ),
    (190, "a fork in the middle of a search was told to go back to a copy that its source's trainer was to keep"),
    (3_620_830_292, "what else was ordered in a pause let ramps and cooldowns go on to there"),
    (3_620_830_447, "of a job that was deleted while its telemetry was read a part was given out as the whole"),
    (4_057_847_360, "a process that had stood still called a step to resume from wrong that was right since"),
    (929, "the simulation itself: a rank stopped because a process that had stood still knew only an older attempt"),
];
