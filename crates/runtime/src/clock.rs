//! The time of day, and time that only passes. All code asks a [`Clock`] for both, so that tests can set them.

use std::{
    sync::atomic::{AtomicI64, Ordering},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use lrs_model::job::Timestamp;

/// A source of time.
pub trait Clock: Send + Sync {
    /// The time of day now. It may stand still or go back.
    fn now(&self) -> Timestamp;

    /// The time that has passed since some moment. It never goes back, nobody can set it, and it counts the time in
    /// which the process or the machine stood still.
    fn monotonic(&self) -> Duration;
}

/// The time of day at the start of the process and the time that has passed since: whoever sets the clock meanwhile
/// changes nothing in it. Right if the clock was right at the start.
#[derive(Clone, Copy, Debug)]
pub struct Steady {
    start: Timestamp,
    passed: Duration,
}

impl Steady {
    /// Begins now.
    #[must_use]
    pub fn begin(clock: &dyn Clock) -> Self {
        Self { start: clock.now(), passed: clock.monotonic() }
    }

    /// How long ago it began.
    #[must_use]
    pub fn age(&self, clock: &dyn Clock) -> Duration {
        clock.monotonic().saturating_sub(self.passed)
    }

    /// What the time of day is if nobody has set the clock since the beginning.
    #[must_use]
    pub fn now(&self, clock: &dyn Clock) -> Timestamp {
        Timestamp(self.start.0.saturating_add(micros(self.age(clock))))
    }

    /// The earlier of the two times of day: what was certainly over then is over now.
    #[must_use]
    pub fn at_least(&self, clock: &dyn Clock) -> Timestamp {
        self.now(clock).min(clock.now())
    }

    /// The later of the two times of day: what ends now has not ended before.
    #[must_use]
    pub fn at_most(&self, clock: &dyn Clock) -> Timestamp {
        self.now(clock).max(clock.now())
    }
}

/// The operating system's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place where the time is read")]
    fn now(&self) -> Timestamp {
        // A clock set to before 1970 counts as 1970: no stored time is negative.
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp(micros(since_epoch))
    }

    #[cfg(target_os = "linux")]
    fn monotonic(&self) -> Duration {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
    }

    #[cfg(not(target_os = "linux"))]
    #[expect(clippy::disallowed_methods, reason = "the one place where the time is read")]
    fn monotonic(&self) -> Duration {
        static BEGUN: std::sync::LazyLock<std::time::Instant> = std::sync::LazyLock::new(std::time::Instant::now);
        BEGUN.elapsed()
    }
}

/// A clock that stands still until a test moves it.
#[derive(Debug, Default)]
pub struct ManualClock {
    now: AtomicI64,
    passed: AtomicI64,
}

impl ManualClock {
    /// A clock that stands at `now`.
    #[must_use]
    pub fn at(now: Timestamp) -> Self {
        Self { now: AtomicI64::new(now.0), passed: AtomicI64::new(0) }
    }

    /// Lets time pass.
    pub fn advance(&self, by: Duration) {
        self.now.fetch_add(micros(by), Ordering::SeqCst);
        self.passed.fetch_add(micros(by), Ordering::SeqCst);
    }

    /// Sets the time of day, while no time passes.
    pub fn set(&self, now: Timestamp) {
        self.now.store(now.0, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.now.load(Ordering::SeqCst))
    }

    fn monotonic(&self) -> Duration {
        Duration::from_micros(self.passed.load(Ordering::SeqCst).unsigned_abs())
    }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manual_clock_moves_only_when_it_is_moved() {
        let clock = ManualClock::at(Timestamp(7));
        assert_eq!(clock.now(), Timestamp(7));
        clock.advance(Duration::from_millis(2));
        assert_eq!((clock.now(), clock.monotonic()), (Timestamp(2007), Duration::from_millis(2)));
        clock.set(Timestamp(5));
        assert_eq!((clock.now(), clock.monotonic()), (Timestamp(5), Duration::from_millis(2)));
    }

    #[test]
    fn the_system_clock_does_not_go_back() {
        let mut before = SystemClock.monotonic();
        for _ in 0..1000 {
            let now = SystemClock.monotonic();
            assert!(now >= before);
            before = now;
        }
    }

    #[test]
    fn whoever_sets_the_clock_changes_no_steady_time() {
        let hour = 3_600_000_000;
        let clock = ManualClock::at(Timestamp(10 * hour));
        let steady = Steady::begin(&clock);
        clock.advance(Duration::from_hours(1));
        for (set, earlier, later) in [(5, 5, 11), (50, 11, 50)] {
            clock.set(Timestamp(set * hour));
            assert_eq!(steady.at_least(&clock), Timestamp(earlier * hour));
            assert_eq!(steady.at_most(&clock), Timestamp(later * hour));
        }
    }

    #[test]
    fn the_system_clock_is_past_the_year_2020() {
        assert!(SystemClock.now() > Timestamp(1_577_836_800_000_000));
    }
}
