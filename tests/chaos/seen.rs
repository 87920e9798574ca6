//! What a rank has seen of an attempt: a state that it shares with the reader of its stream.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use lrs_proto::{Directive, GetLearningRateResponse, StreamTelemetryResponse};
use tonic::{Code, Status};

use crate::{job::Job, ledger::Age, way::passes};

/// The state that a rank shares with the reader of its stream.
pub struct Seen {
    pub job: Arc<Job>,
    /// The age in which the attempt was started.
    pub age: Age,
    pub attempt: u32,
    pub rank: u32,
    /// Steps below this are durable.
    pub durable_end: AtomicU64,
    /// Steps whose final directive has arrived.
    pub directed: Mutex<BTreeSet<u64>>,
    pub is_broken: AtomicBool,
    /// The attempt is over.
    pub is_stale: AtomicBool,
    pub news: tokio::sync::Notify,
}

impl Seen {
    pub fn directed(&self) -> MutexGuard<'_, BTreeSet<u64>> {
        self.directed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn given(&self, steps: impl IntoIterator<Item = (u64, Vec<f64>)>, age: Age) {
        for (step, rates) in steps {
            self.job.ledger.given(age, &self.job.name, self.attempt, step, &rates);
            self.directed().insert(step);
        }
    }

    pub fn told(&self, answer: &StreamTelemetryResponse, age: Age) {
        if let Some(through) = answer.durable_through_step {
            let through = u64::try_from(through).unwrap();
            self.job.ledger.acknowledged(age, &self.job.name, self.attempt, self.rank, through);
            self.durable_end.fetch_max(through + 1, Ordering::SeqCst);
        }
        self.given(answer.directives.iter().filter_map(final_rates), age);
        self.news.notify_one();
    }

    pub fn failed(&self, status: &Status) {
        if status.code() == Code::FailedPrecondition {
            self.is_stale.store(true, Ordering::SeqCst);
        } else if !self.job.ledger.holds(self.age) {
            // The attempt may have gone with the database.
            self.is_stale.fetch_or(!passes(status), Ordering::SeqCst);
        } else if !passes(status) {
            let what =
                format!("{}: rank {} of attempt {}: {}", self.job.name, self.rank, self.attempt, status.message());
            self.job.ledger.broken(4, what);
            self.is_stale.store(true, Ordering::SeqCst);
        }
        self.news.notify_one();
    }
}

/// The rates of a directive, if it is final, with its step.
fn final_rates(directive: &Directive) -> Option<(u64, Vec<f64>)> {
    let rates = directive.rates.iter().map(|rate| rate.learning_rate).collect();
    directive.is_final.then(|| (u64::try_from(directive.step).unwrap(), rates))
}

/// The final steps of an answer and its plan, with their rates.
pub fn final_steps(answer: &GetLearningRateResponse) -> Vec<(u64, Vec<f64>)> {
    let mut found: Vec<_> = answer.directive.iter().filter_map(final_rates).collect();
    if let Some(plan) = &answer.plan {
        let first = u64::try_from(plan.first_step).unwrap();
        let steps = usize::try_from(plan.final_steps).unwrap();
        let rates = |place: usize| plan.groups.iter().map(|group| group.learning_rate[place]).collect();
        found.extend((first..).zip((0..steps).map(rates)));
    }
    found
}
