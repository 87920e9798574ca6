//! At most so many a second: for lines of the log that callers can cause.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// Lets a number of things pass in each second, and counts the others.
#[derive(Debug)]
pub struct Throttle {
    a_second: u32,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// When the second that is counted began.
    since: Option<Instant>,
    passed: u32,
    left_out: u64,
}

impl Throttle {
    /// Lets `a_second` pass each second.
    #[must_use]
    pub const fn new(a_second: u32) -> Self {
        Self { a_second, inner: Mutex::new(Inner { since: None, passed: 0, left_out: 0 }) }
    }

    /// Whether one more may pass. If not, it is counted.
    pub fn passes(&self) -> bool {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if inner.since.is_none_or(|since| now.duration_since(since) >= Duration::from_secs(1)) {
            (inner.since, inner.passed) = (Some(now), 0);
        }
        if inner.passed < self.a_second {
            inner.passed += 1;
            return true;
        }
        inner.left_out += 1;
        false
    }

    /// Counts one that passed here and was left out elsewhere.
    pub fn leave_out(&self) {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).left_out += 1;
    }

    /// How many have been left out since the last call.
    pub fn take_left_out(&self) -> u64 {
        std::mem::take(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner).left_out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_second_lets_so_many_pass_and_counts_the_others() {
        let throttle = Throttle::new(2);
        assert_eq!([(); 5].map(|()| throttle.passes()), [true, true, false, false, false]);
        assert_eq!((throttle.take_left_out(), throttle.take_left_out()), (3, 0));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(throttle.passes());
    }
}
