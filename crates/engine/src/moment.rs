//! How long jobs have been idle, whoever sets the clock.

use std::time::Duration;

use lrs_model::job::{Idle, IdleBefore, Timestamp};
use lrs_runtime::clock::{Clock, Steady};

/// The moment at which jobs are looked at.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// How much time has passed.
    passed: Duration,
    stale_after: Duration,
    abandon_after: Duration,
    before: IdleBefore,
}

impl Moment {
    /// Now. A job is stale after `stale_after`, and abandoned after `abandon_after` if that is not shorter.
    #[must_use]
    pub fn now(clock: &dyn Clock, steady: &Steady, stale_after: Duration, abandon_after: Duration) -> Self {
        let abandon_after = abandon_after.max(stale_after);
        let now = steady.at_least(clock);
        let before =
            |length: Duration| Timestamp(now.0.saturating_sub(i64::try_from(length.as_micros()).unwrap_or(i64::MAX)));
        let before = IdleBefore { stale: before(stale_after), abandoned: before(abandon_after) };
        Self { passed: clock.monotonic(), stale_after, abandon_after, before }
    }

    /// How much time has passed.
    #[must_use]
    pub fn passed(self) -> Duration {
        self.passed
    }

    /// The times of day that stored times are compared with. If somebody has set the clock, it is rather too early to
    /// call a job idle than that.
    #[must_use]
    pub fn before(self) -> IdleBefore {
        self.before
    }

    /// How long a job has been idle that was active when this process had seen `active` pass.
    #[must_use]
    pub fn idle_after(self, active: Duration) -> Idle {
        match self.passed.saturating_sub(active) {
            length if length <= self.stale_after => Idle::Active,
            length if length <= self.abandon_after => Idle::Stale,
            _ => Idle::Abandoned,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lrs_runtime::clock::ManualClock;

    const MINUTE: Duration = Duration::from_mins(1);

    fn micros(duration: Duration) -> i64 {
        i64::try_from(duration.as_micros()).unwrap()
    }

    #[test]
    fn a_job_goes_stale_and_then_abandoned() {
        let clock = ManualClock::at(Timestamp(micros(1000 * MINUTE)));
        let steady = Steady::begin(&clock);
        let (stored, passed) = (clock.now(), clock.monotonic());
        for (minutes, idle) in [(2, Idle::Active), (1, Idle::Stale), (7, Idle::Stale), (1, Idle::Abandoned)] {
            clock.advance(minutes * MINUTE);
            let moment = Moment::now(&clock, &steady, 2 * MINUTE, 10 * MINUTE);
            assert_eq!((moment.before().idle(stored), moment.idle_after(passed)), (idle, idle));
        }
    }

    #[test]
    fn whoever_sets_the_clock_makes_no_job_stale_and_none_active_that_is_not() {
        for jump in [-500, 500] {
            let clock = ManualClock::at(Timestamp(micros(1000 * MINUTE)));
            let steady = Steady::begin(&clock);
            clock.advance(3 * MINUTE);
            let (stored, passed) = (clock.now(), clock.monotonic());
            clock.set(Timestamp(stored.0 + jump * micros(MINUTE)));
            clock.advance(MINUTE);
            let moment = Moment::now(&clock, &steady, 2 * MINUTE, 10 * MINUTE);
            assert_eq!((moment.before().idle(stored), moment.idle_after(passed)), (Idle::Active, Idle::Active));
            assert_eq!(moment.before().idle(clock.now()), Idle::Active, "changed after the jump");
            clock.advance(2 * MINUTE);
            let moment = Moment::now(&clock, &steady, 2 * MINUTE, 10 * MINUTE);
            assert_eq!(moment.idle_after(passed), Idle::Stale);
        }
    }
}
