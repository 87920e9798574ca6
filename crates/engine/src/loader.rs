//! Takes jobs into memory when somebody asks for them.
//!
//! A job is read once, however many ask for it meanwhile. Those that are asked for at the same moment are read together,
//! in a number of statements that does not depend on how many they are, so that thousands of trainers that come back at
//! once are thousands of rows and not thousands of reads. A job whose telemetry has to be replayed is read beside them,
//! so that it keeps no other waiting.

pub mod reading;

use std::{
    collections::{BTreeMap, btree_map},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use tokio::sync::{
    mpsc::{self, error::TrySendError},
    oneshot,
};

use super::{api::Error, directory::Held};
use lrs_model::name::JobName;
use lrs_runtime::error::Cause;

/// Jobs that may wait to be read.
pub const QUEUE: usize = 16_384;

/// The job, to be used; `None` if it left memory meanwhile, so that the caller has to look again.
type Loaded = Result<Option<Held>, Error>;

/// The way to the loader.
pub struct Loader {
    /// Who waits for which job.
    waiting: Mutex<BTreeMap<JobName, Vec<oneshot::Sender<Loaded>>>>,
    queue: mpsc::Sender<JobName>,
    /// How long a call waits for a job to be read. Reading goes on after that, for the next call.
    patience: Duration,
    /// Jobs that are being read, and will be in memory then.
    coming: Arc<AtomicUsize>,
}

/// The place in memory of a job that is being read.
struct Place(Arc<AtomicUsize>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

impl Loader {
    /// A loader, and the queue that [`reading::run`] serves.
    pub fn new(patience: Duration) -> (Self, mpsc::Receiver<JobName>) {
        let (queue, asked) = mpsc::channel(QUEUE);
        (Self { waiting: Mutex::default(), queue, patience, coming: Arc::default() }, asked)
    }

    /// A place for a job, if fewer than `limit` have one beside the `loaded`.
    fn place(&self, loaded: usize, limit: usize) -> Option<Place> {
        let place = Place(Arc::clone(&self.coming));
        let others = self.coming.fetch_add(1, SeqCst);
        (loaded + others < limit).then_some(place)
    }

    /// Reads a job that is not in memory.
    ///
    /// # Errors
    /// If there is no such job, it has ended, the database is away or slow, or there is no room in memory.
    pub async fn load(&self, name: JobName) -> Loaded {
        let (tell, told) = oneshot::channel();
        self.ask(name, tell)?;
        match tokio::time::timeout(self.patience, told).await {
            Ok(answer) => answer.unwrap_or(Err(Error::ShuttingDown)),
            Err(_) => Err(Error::StoreUnavailable(Cause::new("the job is still being read, try again".to_owned()))),
        }
    }

    fn ask(&self, name: JobName, tell: oneshot::Sender<Loaded>) -> Result<(), Error> {
        match self.waiting().entry(name) {
            btree_map::Entry::Occupied(mut waiting) => {
                let waiting = waiting.get_mut();
                if waiting.len() == waiting.capacity() {
                    waiting.retain(|tell| !tell.is_closed());
                }
                waiting.push(tell);
            }
            btree_map::Entry::Vacant(place) => {
                self.queue.try_send(place.key().clone()).map_err(|refusal| match refusal {
                    TrySendError::Full(_) => Error::Overloaded { what: "the queue of jobs to be read", limit: QUEUE },
                    TrySendError::Closed(_) => Error::ShuttingDown,
                })?;
                place.insert(vec![tell]);
            }
        }
        Ok(())
    }

    /// Answers everyone who waits for a job. Whoever has gone is left out.
    fn answer(&self, name: &JobName, answer: impl Fn() -> Loaded) {
        for tell in self.waiting().remove(name).into_iter().flatten() {
            let _ = tell.send(answer());
        }
    }

    fn waiting(&self) -> MutexGuard<'_, BTreeMap<JobName, Vec<oneshot::Sender<Loaded>>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
