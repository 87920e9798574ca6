//! The nouns of the service: names, specs, jobs, attempts, telemetry, decisions. Every other crate builds on them.

pub mod change;
pub mod controller;
pub mod decision;
pub mod etag;
pub mod filter;
pub mod job;
pub mod library;
pub mod name;
pub mod number;
pub mod schedule;
pub mod spec;
pub mod telemetry;
pub mod typed;
pub mod violation;

/// The largest step that a caller may name. Every step up to it is exact as an `f64`.
pub const MAX_STEP: u64 = (1 << 53) - 1;
