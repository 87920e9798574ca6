//! The last steps of an attempt, kept in memory while someone looks at all jobs, so that looking again asks no store.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{health::Recent, job::Brief};
use lrs_model::decision::Decision;

/// Steps that are kept; a job's health is read from them.
pub const STEPS: usize = 512;
/// The newest rates, which are compared with those told.
pub const RATES: usize = 16;

/// The last steps of one attempt, and the newest decision about its job.
///
/// The shard adds to it from its creation on; whoever looks first fills in what was before.
#[derive(Debug)]
pub struct Trail {
    attempt: u32,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    past: Past,
    is_filled: bool,
}

/// What was reported last.
#[derive(Clone, Debug, Default)]
pub struct Past {
    /// Steps, rising, and the loss of each.
    pub losses: VecDeque<(u64, f64)>,
    /// The newest steps and the rate that was used at each.
    pub rates: VecDeque<(u64, f64)>,
    /// The newest decision about the job.
    pub decision: Option<Arc<Decision>>,
}

impl Past {
    /// What a job's health is read from; `off_told` counts the rates that were not those told, and all.
    #[must_use]
    pub fn recent(self, off_told: (usize, usize)) -> Recent {
        let (steps, losses) = self.losses.into_iter().unzip();
        Recent { steps, losses, off_told }
    }
}

impl Trail {
    /// A trail that begins now.
    #[must_use]
    pub fn new(attempt: u32) -> Self {
        Self { attempt, inner: Mutex::default() }
    }

    /// What is known. `None` if the trail is of another attempt, or the steps before its creation are not filled in
    /// yet.
    #[must_use]
    pub fn past(&self, attempt: u32) -> Option<Past> {
        let inner = self.lock();
        (self.attempt == attempt && inner.is_filled).then(|| inner.past.clone())
    }

    /// For the shard: further records of `attempt`, and what was decided on them.
    pub fn add(&self, attempt: u32, records: &[Brief], decision: Option<Decision>) {
        if attempt != self.attempt {
            return;
        }
        let Inner { past, .. } = &mut *self.lock();
        // No more than is kept, so that a long report leaves no room behind.
        for record in &records[records.len().saturating_sub(STEPS)..] {
            let of = |value: Option<f64>| value.map(|value| (record.step, value));
            past.losses.extend(of(record.loss));
            past.rates.extend(of(record.learning_rate));
        }
        past.shorten();
        past.decision = decision.map(Arc::new).or(past.decision.take());
    }

    /// Puts the steps before the creation in front of those since. Steps that are in both are kept once.
    pub fn fill(&self, before: Past) {
        let mut inner = self.lock();
        let Past { losses, rates, decision } = &mut inner.past;
        prepend(losses, before.losses);
        prepend(rates, before.rates);
        *decision = decision.take().or(before.decision);
        inner.past.shorten();
        inner.is_filled = true;
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Past {
    fn shorten(&mut self) {
        self.losses.drain(..self.losses.len().saturating_sub(STEPS));
        self.rates.drain(..self.rates.len().saturating_sub(RATES));
    }
}

fn prepend(newer: &mut VecDeque<(u64, f64)>, mut older: VecDeque<(u64, f64)>) {
    let first = newer.front().map_or(u64::MAX, |(step, _)| *step);
    older.retain(|(step, _)| *step < first);
    older.append(newer);
    *newer = older;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn brief(step: u64) -> Brief {
        Brief { step, loss: Some(1.0), learning_rate: None }
    }

    fn steps(past: &Past) -> Vec<u64> {
        past.losses.iter().map(|(step, _)| *step).collect()
    }

    #[test]
    fn what_came_before_and_what_came_meanwhile_are_there_once() {
        let trail = Trail::new(1);
        trail.add(1, &[brief(7), brief(8)], None);
        assert!(trail.past(1).is_none(), "what was before is not known yet");

        trail.fill(Past { losses: (5..8).map(|step| (step, 1.0)).collect(), ..Past::default() });
        trail.add(1, &[brief(9)], None);
        trail.add(2, &[brief(0)], None);

        assert_eq!(steps(&trail.past(1).unwrap()), [5, 6, 7, 8, 9]);
        assert!(trail.past(2).is_none());
    }

    #[test]
    fn no_more_is_kept_than_is_looked_at() {
        let trail = Trail::new(1);
        trail.fill(Past::default());
        for step in 0..2000 {
            trail.add(1, &[brief(step)], None);
        }
        let steps = steps(&trail.past(1).unwrap());
        assert_eq!((steps.len(), steps[0], steps[STEPS - 1]), (STEPS, 2000 - STEPS as u64, 1999));
    }
}
