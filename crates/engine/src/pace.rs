//! A trainer's pace: how long its steps take, from when it was seen at which step.
//!
//! The clock is read where a trainer calls or reports; here are values only. The pace decides how far ahead of the
//! trainer steps are given out, and says when a step is to be expected. No rate depends on it.

use std::{collections::VecDeque, time::Duration};

use lrs_model::job::Timestamp;

/// For so long ahead of the trainer steps are given out as final: a person's order is felt about so soon.
const AHEAD: Duration = Duration::from_secs(2);
/// For so long ahead steps are reserved. After a crash, an order takes effect no later.
const RESERVED: Duration = Duration::from_secs(30);
/// Steps that are reserved while the pace is not known.
const FIRST_BLOCK: u64 = 32;
/// The pace is that of so many times that the trainer was seen.
const RECENT: usize = 8;

/// A moment at which a trainer was seen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Seen {
    /// The step that it was about to train.
    pub step: u64,
    /// How much time had passed.
    pub passed: Duration,
    /// The time of day.
    pub time: Timestamp,
}

/// Where a trainer was last, and how long its steps took of late.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pace {
    /// The step that it was about to train.
    pub step: u64,
    /// When that was.
    pub time: Timestamp,
    /// How long a step takes in the mean.
    pub step_time: Duration,
    /// How long the slowest steps took.
    slowest: Duration,
    /// How many steps the trainer was seen to train.
    steps: u64,
}

/// Follows a trainer.
#[derive(Debug, Default)]
pub struct Follower {
    calls: Trace,
    reports: Trace,
}

/// Where a trainer was seen in one way. Calls come ahead of a step and reports after it, so the two are kept apart.
#[derive(Debug, Default)]
struct Trace {
    /// The last [`RECENT`] times, and one before them, at rising steps.
    recent: VecDeque<Seen>,
    first_step: u64,
}

impl Follower {
    /// The trainer asked for a step.
    pub fn called(&mut self, seen: Seen) {
        self.calls.see(seen);
    }

    /// The trainer reported the steps below the one seen.
    pub fn reported(&mut self, seen: Seen) {
        self.reports.see(seen);
    }

    /// The pace; `None` before the trainer was seen at two steps.
    #[must_use]
    pub fn pace(&self) -> Option<Pace> {
        self.reports.pace().or_else(|| self.calls.pace())
    }
}

impl Trace {
    fn see(&mut self, seen: Seen) {
        match self.recent.back() {
            None => self.first_step = seen.step,
            Some(newest) if seen.step <= newest.step => return,
            Some(_) => {}
        }
        if self.recent.len() > RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back(seen);
    }

    fn pace(&self) -> Option<Pace> {
        let (oldest, newest) = (self.recent.front()?, self.recent.back()?);
        let times = self.recent.iter().zip(self.recent.iter().skip(1)).filter_map(|(from, to)| step_time(from, to));
        Some(Pace {
            step: newest.step,
            time: newest.time,
            step_time: step_time(oldest, newest)?,
            slowest: times.max()?,
            steps: newest.step - self.first_step,
        })
    }
}

/// How long a step took between two moments; `None` if there was none.
fn step_time(from: &Seen, to: &Seen) -> Option<Duration> {
    let steps = u32::try_from(to.step - from.step).unwrap_or(u32::MAX);
    to.passed.saturating_sub(from.passed).checked_div(steps)
}

impl Pace {
    /// How many steps after the one about to be trained are given out as final: as many as take about two seconds even
    /// where they are slow, but no more than half as many as the trainer was seen to train. A first step that is fast
    /// promises nothing of the next ones.
    #[must_use]
    pub fn ahead(&self) -> u64 {
        steps_in(self.slowest, AHEAD).min(self.steps / 2).max(1)
    }

    /// When the trainer is expected to be about to train `step`; `None` if it has been there.
    #[must_use]
    pub fn expected_time(&self, step: u64) -> Option<Timestamp> {
        let steps = step.checked_sub(self.step).filter(|steps| *steps > 0)?;
        let micros = self.step_time.as_micros().saturating_mul(steps.into());
        Some(Timestamp(self.time.0.saturating_add(i64::try_from(micros).unwrap_or(i64::MAX))))
    }
}

/// How many steps are reserved beyond those that are wanted, at most `block`.
#[must_use]
pub fn reserve(step_time: Option<Duration>, block: u64) -> u64 {
    step_time.map_or(FIRST_BLOCK, |step_time| steps_in(step_time, RESERVED)).max(4).min(block)
}

/// How many steps take `length`.
fn steps_in(step_time: Duration, length: Duration) -> u64 {
    let steps = length.as_nanos().checked_div(step_time.as_nanos());
    steps.map_or(u64::MAX, |steps| u64::try_from(steps).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(step: u64, millis: u64) -> Seen {
        let passed = Duration::from_millis(millis);
        Seen { step, passed, time: Timestamp(1_000_000 + i64::try_from(passed.as_micros()).unwrap()) }
    }

    fn step_time(calls: impl IntoIterator<Item = (u64, u64)>) -> Option<Duration> {
        let mut follower = Follower::default();
        calls.into_iter().for_each(|(step, millis)| follower.called(seen(step, millis)));
        follower.pace().map(|pace| pace.step_time)
    }

    #[test]
    fn a_trainer_that_was_seen_at_one_step_has_no_pace() {
        assert_eq!(step_time([]), None);
        assert_eq!(step_time([(5, 0), (5, 100)]), None);
        assert_eq!(step_time([(5, 0), (6, 60_000)]), Some(Duration::from_mins(1)));
    }

    #[test]
    fn the_pace_is_that_of_the_last_steps() {
        // A first step that compiles for a minute is soon forgotten, and so is a time when steps were fast.
        let compiled = (1..100).map(|step| (step, 60_000 + 10 * step));
        assert_eq!(step_time([(0, 0)].into_iter().chain(compiled)), Some(Duration::from_millis(10)));
        let slow = (100..110).map(|step| (step, 1000 + 20_000 * (step - 99)));
        let fast = (0..100).map(|step| (step, 10 * step));
        assert_eq!(step_time(fast.chain(slow)), Some(Duration::from_secs(20)));
    }

    #[test]
    fn reports_say_more_than_calls_that_come_ahead() {
        let mut follower = Follower::default();
        for step in 0..4 {
            follower.called(seen(step * 64, step));
            follower.reported(seen(step, step * 1000));
        }
        assert_eq!(follower.pace().unwrap().step_time, Duration::from_secs(1));
    }

    fn ahead(calls: impl IntoIterator<Item = (u64, u64)>) -> Option<u64> {
        let mut follower = Follower::default();
        calls.into_iter().for_each(|(step, millis)| follower.called(seen(step, millis)));
        follower.pace().map(|pace| pace.ahead())
    }

    #[test]
    fn little_is_given_out_ahead_of_a_slow_trainer() {
        for (millis, steps) in [(0, 500), (1, 500), (100, 20), (1000, 2), (60_000, 1)] {
            assert_eq!(ahead((0..=1000).map(|step| (step, millis * step))), Some(steps), "{millis} ms a step");
        }
        let millis = |millis| Some(Duration::from_millis(millis));
        let steps = [None, Some(Duration::ZERO), millis(1), millis(100), millis(1000), millis(60_000)];
        assert_eq!(steps.map(|step_time| reserve(step_time, 1024)), [32, 1024, 1024, 300, 30, 4]);
        assert_eq!(reserve(None, 2), 2);
    }

    #[test]
    fn a_few_fast_steps_promise_nothing_and_one_slow_step_is_enough() {
        assert_eq!(ahead([(0, 0), (1, 10)]), Some(1));
        assert_eq!(ahead((0..=10).map(|step| (step, 10 * step))), Some(5));
        let slower = (0..=200).map(|step| (step, 2 * step)).chain([(201, 1900)]);
        assert_eq!(ahead(slower), Some(1));
    }

    #[test]
    fn a_step_ahead_is_expected_at_the_pace_of_the_trainer() {
        let step_time = Duration::from_micros(7);
        let pace = Pace { step: 10, time: Timestamp(5), step_time, slowest: step_time, steps: 10 };
        assert_eq!(pace.expected_time(12), Some(Timestamp(19)));
        assert_eq!((pace.expected_time(10), pace.expected_time(3)), (None, None));
        assert_eq!(pace.expected_time(u64::MAX).map(|time| time.0 > 0), Some(true));
    }
}
