//! Chores that come again and again.

use std::time::Duration;

use tokio::time::{Interval, MissedTickBehavior, interval};

/// A tick every `period`, the first at once. After a late tick the next one is a whole period later.
pub(super) fn every(period: Duration) -> Interval {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}
