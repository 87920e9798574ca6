//! The commit pipeline: writes of many jobs in one transaction after another, those of one job in the order they came.
//!
//! While a transaction is under way the writes of the next one gather, so a quiet server answers at once and a busy one
//! batches. Jobs take turns, so a job that reports much delays only itself. A transaction that fails because the database
//! is away or busy is written again until it is done: every write is idempotent. Whoever waits for a change may withdraw
//! it (`ticket.rs`) up to the moment at which the database is told to commit. Permits bound how much waits; no report is
//! accepted without one.

mod joint;
mod queue;

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicUsize, Ordering::SeqCst},
};

use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot, watch},
    time::Instant,
};
use tracing::{debug, error, info, warn};

use super::{
    api::{Error, Settings},
    entry::Entry,
    meters,
    room::JOB_VALUES,
    tenure::Tenure,
    ticket::Ticket,
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

pub use joint::{Joint, Part, join};

/// After how many changes that were withdrawn the queue is swept.
const SWEEP_AFTER: usize = 64;

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
    /// Why the last try of the commit under way failed.
    trouble: Mutex<Option<store::Error>>,
    /// What the last look at the database came upon, if it was neither answered nor in vain.
    pulse: Mutex<Option<store::Error>>,
    /// How many changes have been withdrawn since the last sweep.
    withdrawn: AtomicUsize,
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
    /// Empty while the item is in a batch, which has them.
    writes: Vec<Write>,
    /// How many of the batch's writes are this item's.
    count: usize,
    /// Of the caller who waits for them, if there is one.
    ticket: Option<Ticket>,
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
#[derive(Debug)]
pub struct Committed {
    answer: oneshot::Receiver<Result<Vec<Outcome>, Error>>,
    ticket: Option<Ticket>,
}

/// Waits for the answer.
///
/// # Errors
/// If the writes were refused or withdrawn, or the server shuts down before their outcome is known.
pub async fn outcome(Committed { answer, ticket }: Committed) -> Result<Vec<Outcome>, Error> {
    let Some(ticket) = ticket else { return answer.await.unwrap_or(Err(Error::ShuttingDown)) };
    tokio::select! {
        biased;
        answer = answer => answer.unwrap_or(Err(Error::ShuttingDown)),
        // The queue may still hold the writes, but they are never committed.
        () = ticket.withdrawn() => Err(withdrawn()),
    }
}

/// Why the database is away, without saying again that it is.
#[must_use]
pub fn why_away(failure: &store::Error) -> String {
    match failure {
        store::Error::Unavailable(cause) => chain(cause),
        other => chain(other),
    }
}

/// For those who go on with a change whose caller has gone. The caller was told why.
pub fn withdrawn() -> Error {
    Error::StoreUnavailable(Cause::new("the change was withdrawn"))
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
            trouble: Mutex::default(),
            pulse: Mutex::default(),
            withdrawn: AtomicUsize::new(0),
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
        let place = || self.0.door.clone().try_acquire_owned();
        let item = place().or_else(|_| {
            self.sweep();
            place()
        });
        let item = item.map_err(|refusal| match refusal {
            tokio::sync::TryAcquireError::NoPermits => Error::Overloaded { what: "the queue of changes", limit },
            tokio::sync::TryAcquireError::Closed => self.why_closed(),
        })?;
        Ok(Permit { values: 0, _given: vec![item] })
    }

    /// Hands over writes that belong together; they are committed after all that was submitted for `job` before.
    ///
    /// Only the owner of a job may submit without a permit; it has a bounded number of writes of its own. With `ahead`,
    /// that job is taken out of service if the writes are refused. Whoever has the `ticket` can withdraw the writes.
    #[must_use]
    pub fn submit(
        &self,
        job: JobId,
        writes: Vec<Write>,
        permit: Option<Permit>,
        ahead: Option<Arc<Entry>>,
        ticket: Option<Ticket>,
    ) -> Committed {
        let (done, answer) = oneshot::channel();
        let committed = Committed { answer, ticket: ticket.clone() };
        let mut waiting = self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.closed {
            let _ = done.send(Err(self.why_closed()));
        } else {
            let values = permit.as_ref().map_or(0, |permit| permit.values);
            waiting.items.push(job, values, Item { writes, count: 0, ticket, ahead, done, _permit: permit });
            waiting.tell_depth();
            self.0.filled.notify_one();
        }
        committed
    }

    /// Waits until all that was submitted for a job before is durable, so that a read sees it.
    ///
    /// # Errors
    /// When the server is shutting down, or the ticket is withdrawn.
    pub async fn settle(&self, job: JobId, ticket: Option<Ticket>) -> Result<(), Error> {
        outcome(self.submit(job, Vec::new(), None, None, ticket)).await.map(drop)
    }

    /// Drops what was withdrawn, which makes room.
    fn sweep(&self) {
        let mut waiting = self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.items.retain(|item| !item.is_withdrawn());
        self.0.withdrawn.store(0, SeqCst);
        waiting.tell_depth();
    }

    /// Withdraws a change; see [`Ticket::withdraw`].
    #[must_use]
    pub fn withdraw(&self, ticket: &Ticket) -> bool {
        if ticket.is_withdrawn() {
            return true;
        }
        let is_withdrawn = ticket.withdraw();
        if is_withdrawn && self.0.withdrawn.fetch_add(1, SeqCst) + 1 >= SWEEP_AFTER {
            self.sweep();
        }
        is_withdrawn
    }

    /// What holds up the commit under way or, without one, the looks at the database, if something does.
    #[must_use]
    pub fn trouble(&self) -> Option<store::Error> {
        let of = |slot: &Mutex<Option<store::Error>>| slot.lock().unwrap_or_else(PoisonError::into_inner).clone();
        of(&self.0.trouble).or_else(|| of(&self.0.pulse))
    }

    /// Notes what a look at the database came upon.
    pub fn note_pulse(&self, trouble: Option<store::Error>) {
        *self.0.pulse.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }

    fn note_trouble(&self, trouble: Option<store::Error>) {
        *self.0.trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }

    /// Hands over writes of a job's owner that nobody waits for.
    pub fn submit_own(&self, writes: Vec<Write>, entry: &Arc<Entry>) {
        if !writes.is_empty() {
            drop(self.submit(entry.id, writes, None, Some(entry.clone()), None));
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
            match (&health, &known) {
                (Ok(()), _) => info!("The database is back"),
                (Err(problem), Ok(())) => warn!(problem, "The database is away: {problem}"),
                // Reads and commits may find different words for it, in turns.
                (Err(problem), Err(_)) => debug!(problem, "The database is still away: {problem}"),
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
            let Err((refused, refusal)) = self.commit(&*store, Batch::new(batch)).await else { continue };
            // Nothing is wrong with the writes: this process may make none any more.
            if refusal.ends_ownership() {
                self.give_up(&chain(&refusal), refused.items);
                return;
            }
            if refused.items.len() == 1 {
                refused.items.into_iter().for_each(|item| item.refuse(&refusal));
                continue;
            }
            // One bad write must not fail the others: each on its own.
            let why = chain(&refusal);
            warn!("A batch of {} items was refused, writing them one by one: {why}", refused.items.len());
            for item in refused.apart() {
                let Some(item) = item.unless_void() else { continue };
                let Err((refused, refusal)) = self.commit(&*store, Batch::new(vec![item])).await else { continue };
                if refusal.ends_ownership() {
                    self.give_up(&chain(&refusal), refused.items);
                } else {
                    refused.items.into_iter().for_each(|item| item.refuse(&refusal));
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
            let may_be_stored = item.ticket.as_ref().is_some_and(Ticket::may_be_stored);
            let answer = if may_be_stored { Error::OutcomeUnknown(Cause::new(why)) } else { Error::Deposed };
            let _ = item.done.send(Err(answer));
        }
    }

    fn why_closed(&self) -> Error {
        if self.0.tenure.over().is_some() { Error::Deposed } else { Error::ShuttingDown }
    }

    /// One transaction, repeated until its outcome is known, and then answered. Items that are withdrawn meanwhile are
    /// left out.
    ///
    /// # Errors
    /// If the database refused, or this process owns it no more: the items, and why.
    async fn commit(&self, store: &dyn Store, mut batch: Batch) -> Result<(), (Batch, store::Error)> {
        let mut waits = Backoff::DATABASE.regular();
        // Whether an earlier try may have committed. Then nobody can withdraw any more.
        let mut may_be_stored = false;
        loop {
            batch.leave_out_withdrawn();
            let is_empty = batch.writes.is_empty();
            let result = if is_empty { Ok(Vec::new()) } else { self.try_once(store, &batch).await };
            let (result, trouble) = match result {
                Ok(outcomes) => (Ok(outcomes), None),
                Err(failure @ (store::Error::Withdrawn | store::Error::Undone | store::Error::Busy(_))) => {
                    (Err(None), Some(failure))
                }
                Err(failure) if failure.is_transient() => (Err(Some(why_away(&failure))), Some(failure)),
                Err(refusal) => {
                    self.note_health(Ok(()));
                    self.note_trouble(None);
                    return Err((batch, refusal));
                }
            };
            match trouble {
                Some(store::Error::OutcomeUnknown(_)) => may_be_stored = true,
                Some(store::Error::Undone) => may_be_stored = false,
                _ => {}
            }
            match result {
                Ok(outcomes) => {
                    if !is_empty {
                        self.note_health(Ok(()));
                        self.note_trouble(None);
                    }
                    let mut outcomes = outcomes.into_iter();
                    for item in batch.items {
                        let own = outcomes.by_ref().take(item.count).collect();
                        // Whoever asked may have gone; the write stands.
                        let _ = item.done.send(Ok(own));
                    }
                    return Ok(());
                }
                Err(away) => self.note_health(away.map_or(Ok(()), Err)),
            }
            if !may_be_stored {
                batch.items.iter().filter_map(|item| item.ticket.as_ref()).for_each(Ticket::undo);
            }
            if !matches!(trouble, Some(store::Error::Withdrawn | store::Error::Undone)) {
                if let Some(store::Error::Busy(why)) = &trouble {
                    warn!("A commit is tried again, because the database is busy: {}", chain(why));
                }
                self.note_trouble(trouble);
                waits.sleep().await;
            }
        }
    }

    async fn try_once(&self, store: &dyn Store, batch: &Batch) -> Result<Vec<Outcome>, store::Error> {
        let may_commit = || batch.items.iter().all(|item| item.ticket.as_ref().is_none_or(Ticket::begin));
        let (begun, proof) = (Instant::now(), self.0.tenure.begin());
        let result = store.commit_if(&batch.writes, &may_commit).await;
        if result.is_ok() {
            self.0.tenure.prove(proof);
        }
        COMMIT_DURATION.histogram([]).record(begun.elapsed().as_secs_f64());
        if let Err(failure) = &result {
            meters::commit_failed(failure);
        }
        result
    }
}

/// Items whose writes are in one transaction.
struct Batch {
    items: Vec<Item>,
    /// Of all items, in their order.
    writes: Vec<Write>,
}

impl Batch {
    fn new(mut items: Vec<Item>) -> Self {
        let mut writes = Vec::with_capacity(items.iter().map(|item| item.writes.len()).sum());
        for item in &mut items {
            item.count = item.writes.len();
            writes.append(&mut item.writes);
        }
        Self { items, writes }
    }

    /// The items with their writes.
    fn apart(self) -> Vec<Item> {
        let Self { mut items, writes } = self;
        let mut writes = writes.into_iter();
        for item in &mut items {
            item.writes.extend(writes.by_ref().take(item.count));
        }
        items
    }

    fn leave_out_withdrawn(&mut self) {
        if self.items.iter().any(Item::is_withdrawn) {
            let batch = std::mem::replace(self, Self::new(Vec::new()));
            *self = Self::new(batch.apart().into_iter().filter(|item| !item.is_withdrawn()).collect());
        }
    }
}

impl Item {
    fn is_withdrawn(&self) -> bool {
        self.ticket.as_ref().is_some_and(Ticket::is_withdrawn)
    }

    /// Drops what was withdrawn, and the writes of a job of which something was refused before: they would be acknowledged and stored with a
    /// gap before them.
    fn unless_void(self) -> Option<Self> {
        if self.is_withdrawn() {
            return None;
        }
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
