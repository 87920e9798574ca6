//! How much is read or sent at once of jobs with many parameter groups.

/// Rates in a page of decisions, or in the directives that go down a stream together.
const RATES: usize = 65_536;
const DIRECTIVE_RATES: usize = 16_384;

/// How many decisions of a job are read at once: each may have a rate for each of its `groups`.
#[must_use]
pub fn decisions(groups: usize) -> u32 {
    u32::try_from((RATES / groups.max(1)).clamp(16, 1000)).unwrap_or(1000)
}

/// How many directives go down a stream together.
#[must_use]
pub fn directives(groups: usize) -> u64 {
    (DIRECTIVE_RATES / groups.max(1)).max(1) as u64
}

/// How many moves of the base rates of so many `groups` are kept in memory.
#[must_use]
pub fn moves(groups: usize) -> usize {
    (RATES / groups.max(1)).clamp(64, 1024)
}
