//! What every room with tasks needs: the clock, heavy work, waits between tries, causes of errors, the metrics.

pub mod backoff;
pub mod clock;
pub mod error;
pub mod heavy;
pub mod metrics;
