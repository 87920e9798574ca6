//! Everything that trainers and operators have seen, for the checker.

use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use lrs_engine::Told;
use lrs_model::{name::JobName, spec::Spec, telemetry::Report};
use lrs_proto as proto;

use tokio::sync::watch;

use crate::promises::{self, Checked, Counts, History, Violation};

/// The checker's history, and what it found.
pub struct Ledger {
    history: Mutex<History>,
    orders: Mutex<Vec<Answered>>,
    /// Orders that were answered and may have gone with the database.
    orders_at_risk: Mutex<Vec<Answered>>,
    age: AtomicU64,
    violations: watch::Sender<Vec<Violation>>,
    /// How many samples have been acknowledged so far.
    pub acknowledged: watch::Sender<u64>,
}

/// How often the database has come back older. Answers to a question from an earlier age may be about data that are
/// lost, and so may answers while a server has not yet noticed that its database is older.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Age(u64);

/// What callers had been told when the database was copied.
pub struct Mark {
    told: promises::Mark,
    orders: usize,
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
        Self {
            history,
            orders: Mutex::default(),
            orders_at_risk: Mutex::default(),
            age: AtomicU64::new(0),
            violations: watch::Sender::default(),
            acknowledged: watch::Sender::new(0),
        }
    }

    /// The age that it is now.
    pub fn age(&self) -> Age {
        Age(self.age.load(Ordering::SeqCst))
    }

    /// Whether answers to questions from `age` hold: no database came back older since, and none is about to.
    pub fn holds(&self, age: Age) -> bool {
        self.age() == age && age.0.is_multiple_of(2)
    }

    /// What callers have been told so far.
    pub fn mark(&self) -> Mark {
        Mark { told: self.history().mark(), orders: lock(&self.orders).len() }
    }

    /// Notes that the database comes back as it was at `mark`. Until [`Ledger::noticed`], no answer holds.
    pub fn went_back(&self, mark: &Mark) {
        let mut history = self.history();
        self.age.fetch_add(1, Ordering::SeqCst);
        history.went_back(&mark.told);
        let mut orders = lock(&self.orders);
        let end = mark.orders.min(orders.len());
        lock(&self.orders_at_risk).extend(orders.drain(end..));
    }

    /// Notes that the servers know that their database is older.
    pub fn noticed(&self) {
        self.age.fetch_add(1, Ordering::SeqCst);
    }

    /// Notes a violation, if there is one.
    pub fn note(&self, checked: Checked) {
        if let Err(violation) = checked {
            eprintln!("chaos: {violation}");
            self.violations.send_modify(|violations| violations.push(violation));
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

    pub fn attempt(&self, age: Age, job: &JobName, token: &str, attempt: u32) {
        let mut history = self.history();
        if !self.holds(age) {
            return history.attempt_in_vain(job, token, attempt);
        }
        let checked = history.attempt_unseen(job, token, attempt);
        drop(history);
        self.note(checked);
    }

    pub fn acknowledged(&self, age: Age, job: &JobName, attempt: u32, rank: u32, through: u64) {
        let mut history = self.history();
        if self.holds(age) {
            history.acknowledged_unseen(job, attempt, rank, through);
        } else {
            history.acknowledged_in_vain(job, attempt, rank, through);
        }
        self.acknowledged.send_replace(history.counts.acknowledged);
    }

    pub fn given(&self, age: Age, job: &JobName, attempt: u32, step: u64, rates: &[f64]) {
        let mut history = self.history();
        // The controllers of these jobs give no instructions beside the rates.
        let told = Told::default();
        let checked = if self.holds(age) { history.given(job, attempt, step, rates, &told, None) } else { Ok(()) };
        drop(history);
        self.note(checked);
    }

    pub fn ordered(&self, age: Age, answered: Answered) {
        let history = self.history();
        let holds = self.holds(age);
        lock(if holds { &self.orders } else { &self.orders_at_risk }).push(answered);
        drop(history);
    }

    /// The answered orders to a job.
    pub fn orders<T>(&self, job: &JobName, mut look: impl FnMut(&Answered) -> T) -> Vec<T> {
        lock(&self.orders).iter().filter(|answered| answered.job == *job).map(&mut look).collect()
    }

    /// How many orders may have gone with the database and are not stored, by the look at each.
    pub fn lost_orders(&self, job: &JobName, mut is_stored: impl FnMut(&Answered) -> bool) -> u64 {
        let orders = lock(&self.orders_at_risk);
        orders.iter().filter(|answered| answered.job == *job && !is_stored(answered)).count() as u64
    }

    pub fn violations(&self) -> Vec<Violation> {
        self.violations.borrow().clone()
    }

    /// Waits until a violation has been noted.
    pub async fn is_broken(&self) {
        let _ = self.violations.subscribe().wait_for(|violations| !violations.is_empty()).await;
    }

    pub fn counts(&self) -> Counts {
        let mut counts = self.history().counts;
        counts.orders = lock(&self.orders).len() as u64;
        counts
    }
}
