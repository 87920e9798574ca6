//! Seeds that found a bug, and what it was. They mean the same run only until the simulation itself changes; the bug each
//! found has a test of its own where one could be written.

/// Seed and finding.
pub const FOUND: &[(u64, &str)] = &[];

/// Seeds that break a promise and whose cause is not mended yet. They are known faults of the service, told in docs/reliability.md;
/// every other seed must keep every promise.
pub const OPEN: &[(u64, &str)] = &[
    (219, "promise 1: step 0 of attempt 1 was final, and now the call is refused: the server is shutting down"),
    (698, "promise 1: step 42 of attempt 6 was final, and now it is not"),
    (1194, "promise 3: step 0 of attempt 5 was given rate 0.5; spec, decisions and telemetry say 0.3"),
];
