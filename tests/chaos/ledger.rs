//! Everything that trainers and operators have seen, for the checker.

use std::sync::{Mutex, MutexGuard, PoisonError};

use lrs_engine::Told;
use lrs_model::{name::JobName, spec::Spec, telemetry::Report};
use lrs_proto as proto;

use tokio::sync::watch;

use crate::promises::{Checked, Counts, History, Violation};

/// The checker's history, and what it found.
pub struct Ledger {
    history: Mutex<History>,
    orders: Mutex<Vec<Answered>>,
    violations: Mutex<Vec<Violation>>,
    /// How many samples have been acknowledged so far.
    pub acknowledged: watch::Sender<u64>,
}

/// A person's order that was answered.
pub struct Answered {
    pub job: JobName,
    pub request_id: String,
    pub decision: proto::Decision,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Ledger {
    pub fn new() -> Self {
        let history = Mutex::new(History::after_the_fact());
        Self { history, orders: Mutex::default(), violations: Mutex::default(), acknowledged: watch::Sender::new(0) }
    }

    /// Notes a violation, if there is one.
    pub fn note(&self, checked: Checked) {
        if let Err(violation) = checked {
            eprintln!("chaos: {violation}");
            lock(&self.violations).push(violation);
        }
    }

    pub fn broken(&self, promise: u8, what: String) {
        self.note(Err(Violation { promise, what }));
    }

    pub fn history(&self) -> MutexGuard<'_, History> {
        lock(&self.history)
    }

    pub fn registered(&self, job: &JobName, spec: &Spec) {
        self.history().register(job, spec, 0);
    }

    pub fn sending(&self, job: &JobName, attempt: u32, rank: u32, report: &Report) {
        self.history().sending(job, attempt, rank, report);
    }

    pub fn attempt(&self, job: &JobName, token: &str, attempt: u32) {
        let checked = self.history().attempt_unseen(job, token, attempt);
        self.note(checked);
    }

    pub fn acknowledged(&self, job: &JobName, attempt: u32, rank: u32, through: u64) {
        let mut history = self.history();
        history.acknowledged_unseen(job, attempt, rank, through);
        self.acknowledged.send_replace(history.counts.acknowledged);
    }

    pub fn given(&self, job: &JobName, attempt: u32, step: u64, rates: &[f64]) {
        // The controllers of these jobs give no instructions beside the rates.
        let checked = self.history().given(job, attempt, step, rates, &Told::default(), None);
        self.note(checked);
    }

    pub fn ordered(&self, answered: Answered) {
        lock(&self.orders).push(answered);
    }

    /// The answered orders to a job.
    pub fn orders<T>(&self, job: &JobName, mut look: impl FnMut(&Answered) -> T) -> Vec<T> {
        lock(&self.orders).iter().filter(|answered| answered.job == *job).map(&mut look).collect()
    }

    pub fn violations(&self) -> Vec<Violation> {
        lock(&self.violations).clone()
    }

    pub fn counts(&self) -> Counts {
        let mut counts = self.history().counts;
        counts.orders = lock(&self.orders).len() as u64;
        counts
    }
}
