//! What every room with tasks needs: the clock, turns at large work, and the metrics.

pub mod aside;
pub mod clock;
pub mod metrics;
