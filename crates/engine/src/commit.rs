//! The commit pipeline: writes of many jobs in one transaction after another, those of one job in the order they came.
//!
//! While a transaction is under way the writes of the next one gather, so a quiet server answers at once and a busy one
//! batches. Jobs take turns, so a job that reports much delays only itself. A transaction with an unknown outcome is
//! written again until the outcome is known: every write is idempotent. Permits bound how much waits; no report is
//! accepted without one.

mod queue;

use std::sync::{Arc, Mutex, PoisonError};

use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot, watch},
    time::Instant,
};
use tracing::{error, info, warn};

use super::{
    api::{Error, Settings},
    entry::Entry,
    meters,
    room::JOB_VALUES,
    tenure::Tenure,
};
use lrs_model::name::JobId;
use lrs_runtime::{
    backoff::Backoff,
    error::{Cause, chain},
    metrics::families::{COMMIT_DURATION, DATABASE_UP, QUEUE_DEPTH},
};
use lrs_store as store;
use lrs_store::{Outcome, Store, Write};

/// Values of telemetry with which a transaction is full. Writing them takes about two milliseconds, for which others
/// wait.
const BATCH_VALUES: usize = 8192;

/// The handle of the pipeline.
#[derive(Clone)]
pub struct Pipeline(Arc<Inner>);

struct Inner {
    waiting: Mutex<Waiting>,
    filled: Notify,
    door: Arc<Semaphore>,
    /// Room for values of telemetry, so that a few large reports weigh as much as many small ones.
    room: Arc<Semaphore>,
    max_values: usize,
    batch_items: usize,
    health: watch::Sender<Result<(), String>>,
    tenure: Arc<Tenure>,
}

#[derive(Default)]
struct Waiting {
    items: queue::Queue<Item>,
    closed: bool,
}

impl Waiting {
    /// To be called whenever `items` has changed.
    fn tell_depth(&self) {
        QUEUE_DEPTH.gauge([]).set(f64::from(u32::try_from(self.items.len()).unwrap_or(u32::MAX)));
    }
}

struct Item {
    writes: Vec<Write>,
    /// The job whose memory would be ahead of the database if these writes were refused.
    ahead: Option<Arc<Entry>>,
    done: oneshot::Sender<Result<Vec<Outcome>, Error>>,
    /// Given back when the item is done.
    _permit: Option<Permit>,
}

/// A place in the queue, given back when it is dropped.
#[derive(Debug)]
pub struct Permit {
    /// Of telemetry.
    values: usize,
    _given: Vec<OwnedSemaphorePermit>,
}

/// The answer to come for what was submitted.
pub type Committed = oneshot::Receiver<Result<Vec<Outcome>, Error>>;

/// Waits for the answer.
///
/// # Errors
/// If the writes were refused, or the server shuts down before their outcome is known.
pub async fn outcome(committed: Committed) -> Result<Vec<Outcome>, Error> {
    committed.await.unwrap_or(Err(Error::ShuttingDown))
}

impl Pipeline {
    /// An empty pipeline; [`Pipeline::run`] moves it.
    #[must_use]
    pub fn new(settings: &Settings, tenure: Arc<Tenure>) -> Self {
        Self(Arc::new(Inner {
            waiting: Mutex::default(),
            filled: Notify::new(),
            door: Arc::new(Semaphore::new(settings.queue_items)),
            room: Arc::new(Semaphore::new(settings.queue_values)),
            max_values: settings.queue_values,
            batch_items: settings.batch_items,
            health: watch::Sender::new(Ok(())),
            tenure,
        }))
    }

    /// A place in the queue for a report of so many values about a job. Waits until there is a place. Cancel safe.
    ///
    /// A report that is larger than all the room waits until it has the room to itself.
    ///
    /// # Errors
    /// When the server is shutting down.
    pub async fn admit(&self, entry: &Entry, values: usize) -> Result<Permit, Error> {
        let rooms =
            [(&entry.room.0, JOB_VALUES, values), (&self.0.room, self.0.max_values, values), (&self.0.door, 1, 1)];
        let mut given = Vec::with_capacity(rooms.len());
        for (room, size, wanted) in rooms {
            let wanted = u32::try_from(wanted.min(size)).unwrap_or(u32::MAX);
            given.push(room.clone().acquire_many_owned(wanted).await.map_err(|_| self.why_closed())?);
        }
        Ok(Permit { values, _given: given })
    }

    /// A place in the queue, now.
    ///
    /// # Errors
    /// When there is none, or the server is shutting down.
    pub fn try_admit(&self, limit: usize) -> Result<Permit, Error> {
        let item = self.0.door.clone().try_acquire_owned().map_err(|refusal| match refusal {
            tokio::sync::TryAcquireError::NoPermits => Error::Overloaded { what: "the queue of changes", limit },
            tokio::sync::TryAcquireError::Closed => self.why_closed(),
        })?;
        Ok(Permit { values: 0, _given: vec![item] })
    }

    /// Hands over writes that belong together; they are committed after all that was submitted for `job` before.
    ///
    /// Only the owner of a job may submit without a permit; it has a bounded number of writes of its own. With `ahead`,
    /// that job is taken out of service if the writes are refused.
    #[must_use]
    pub fn submit(
        &self,
        job: JobId,
        writes: Vec<Write>,
        permit: Option<Permit>,
        ahead: Option<Arc<Entry>>,
    ) -> Committed {
        let (done, committed) = oneshot::channel();
        let mut waiting = self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.closed {
            let _ = done.send(Err(self.why_closed()));
        } else {
            let values = permit.as_ref().map_or(0, |permit| permit.values);
            waiting.items.push(job, values, Item { writes, ahead, done, _permit: permit });
            waiting.tell_depth();
            self.0.filled.notify_one();
        }
        committed
    }

    /// Waits until all that was submitted for a job before is durable, so that a read sees it.
    ///
    /// # Errors
    /// When the server is shutting down.
    pub async fn settle(&self, job: JobId) -> Result<(), Error> {
        outcome(self.submit(job, Vec::new(), None, None)).await.map(drop)
    }

    /// Hands over writes of a job's owner that nobody waits for.
    pub fn submit_own(&self, writes: Vec<Write>, entry: &Arc<Entry>) {
        if !writes.is_empty() {
            drop(self.submit(entry.id, writes, None, Some(entry.clone())));
        }
    }

    /// Whether the database answered last, and if not, what it said.
    #[must_use]
    pub fn health(&self) -> watch::Receiver<Result<(), String>> {
        self.0.health.subscribe()
    }

    /// Notes how the database answered.
    pub fn note_health(&self, health: Result<(), String>) {
        DATABASE_UP.gauge([]).set(if health.is_ok() { 1.0 } else { 0.0 });
        self.0.health.send_if_modified(|known| {
            if *known == health {
                return false;
            }
            match &health {
                Ok(()) => info!("The database is back"),
                Err(problem) => warn!(problem, "The database is away: {problem}"),
            }
            *known = health;
            true
        });
    }

    /// Takes no more; [`Pipeline::run`] ends when all is written.
    pub fn close(&self) {
        self.0.door.close();
        self.0.room.close();
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner).closed = true;
        self.0.filled.notify_one();
    }

    /// Commits what is submitted, until the pipeline is closed and empty.
    pub async fn run(self, store: Arc<dyn Store>) {
        loop {
            let (mut batch, closed) = {
                let mut waiting = self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner);
                let batch = waiting.items.take(self.0.batch_items, BATCH_VALUES);
                waiting.tell_depth();
                (batch, waiting.closed)
            };
            let was_empty = batch.is_empty();
            batch = batch.into_iter().filter_map(Item::unless_void).collect();
            if batch.is_empty() {
                if !was_empty {
                    continue;
                }
                if closed {
                    return;
                }
                self.0.filled.notified().await;
                continue;
            }
            if let Some(why) = self.0.tenure.over() {
                self.give_up(&why, batch);
                return;
            }
            let counts: Vec<usize> = batch.iter().map(|item| item.writes.len()).collect();
            let mut writes: Vec<Write> = batch.iter_mut().flat_map(|item| std::mem::take(&mut item.writes)).collect();
            match self.commit(&*store, &writes).await {
                Ok(outcomes) => {
                    let mut outcomes = outcomes.into_iter();
                    for (item, count) in batch.into_iter().zip(counts) {
                        // Whoever asked may have gone; the write stands.
                        let _ = item.done.send(Ok(outcomes.by_ref().take(count).collect()));
                    }
                }
                // Nothing is wrong with the writes: this process may make none any more.
                Err(over) if over.ends_ownership() => {
                    self.give_up(&chain(&over), batch);
                    return;
                }
                Err(refusal) if batch.len() == 1 => batch.into_iter().for_each(|item| item.refuse(&refusal)),
                Err(refusal) => {
                    // One bad write must not fail the others: each on its own.
                    let why = chain(&refusal);
                    warn!("A batch of {} items was refused, writing them one by one: {why}", batch.len());
                    for (item, count) in batch.into_iter().zip(counts) {
                        let own: Vec<Write> = writes.drain(..count).collect();
                        let Some(item) = item.unless_void() else { continue };
                        match self.commit(&*store, &own).await {
                            Ok(outcomes) => drop(item.done.send(Ok(outcomes))),
                            Err(over) if over.ends_ownership() => self.give_up(&chain(&over), vec![item]),
                            Err(refusal) => item.refuse(&refusal),
                        }
                    }
                }
            }
        }
    }

    /// Ends the ownership, and refuses `batch` and all that waits.
    fn give_up(&self, why: &str, batch: Vec<Item>) {
        // First: from here on nothing is final, whatever those who are refused do.
        self.0.tenure.end(why);
        self.close();
        let waiting = {
            let mut waiting = self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            let items = waiting.items.take(usize::MAX, usize::MAX);
            waiting.tell_depth();
            items
        };
        for item in batch.into_iter().chain(waiting) {
            let _ = item.done.send(Err(Error::Deposed));
        }
    }

    fn why_closed(&self) -> Error {
        if self.0.tenure.over().is_some() { Error::Deposed } else { Error::ShuttingDown }
    }

    /// One transaction, repeated until its outcome is known.
    async fn commit(&self, store: &dyn Store, writes: &[Write]) -> Result<Vec<Outcome>, store::Error> {
        let mut waits = Backoff::DATABASE.regular();
        loop {
            if writes.is_empty() {
                return Ok(Vec::new());
            }
            let (begun, proof) = (Instant::now(), self.0.tenure.now());
            let result = store.commit(writes).await;
            if result.is_ok() {
                self.0.tenure.prove(proof);
            }
            COMMIT_DURATION.histogram([]).record(begun.elapsed().as_secs_f64());
            if let Err(failure) = &result {
                meters::commit_failed(failure);
            }
            match result {
                Err(store::Error::Busy(problem)) => {
                    self.note_health(Ok(()));
                    warn!("A commit is tried again, because the database is busy: {}", chain(&problem));
                    waits.sleep().await;
                }
                Err(store::Error::Unavailable(problem) | store::Error::OutcomeUnknown(problem)) => {
                    self.note_health(Err(chain(&problem)));
                    waits.sleep().await;
                }
                known => {
                    self.note_health(Ok(()));
                    return known;
                }
            }
        }
    }
}

impl Item {
    /// Drops the writes of a job of which something was refused before: they would be acknowledged and stored with a
    /// gap before them.
    fn unless_void(self) -> Option<Self> {
        let damage = self.ahead.as_ref().and_then(|entry| entry.check_sound().err());
        let Some(damage) = damage else { return Some(self) };
        let _ = self.done.send(Err(damage));
        None
    }

    fn refuse(self, refusal: &store::Error) {
        let why = chain(refusal);
        error!("The database refused a write: {why}");
        if let Some(entry) = self.ahead {
            entry.damage(format!("the database refused a write: {why}"));
        }
        let _ = self.done.send(Err(Error::Store(Cause::new(refusal.clone()))));
    }
}
