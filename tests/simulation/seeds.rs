//! Seeds that found a bug, and what it was. They mean the same run only until the simulation itself changes; the bug each
//! found has a test of its own where one could be written.

/// Seed and finding.
pub const FOUND: &[(u64, &str)] = &[];
