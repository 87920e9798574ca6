//! What every handle of the engine shares: the shards, where jobs are found, what is bounded over all jobs.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU64, AtomicUsize},
};

use tokio::{
    sync::{RwLock, Semaphore, mpsc, oneshot, watch},
    task::{JoinHandle, JoinSet},
};
use tokio_util::task::TaskTracker;

use super::{
    api::Error,
    digest::Digests,
    entry::Entry,
    loader::Loader,
    recover::Loaded,
    shard::{Command, Context},
};
use lrs_model::{
    job::{JobRow, Timestamp},
    name::{JobId, JobName},
};
use lrs_runtime::error::chain;
use lrs_store as store;
use lrs_store::Store;

/// Commands that may wait for a shard.
pub const SHARD_QUEUE: usize = 1024;
/// Calls that read forgotten moves at once.
pub const PAST_READS: usize = 2;

/// The engine behind its handles.
pub struct Service {
    /// What every shard works with too.
    pub context: Context,
    /// The store for what callers wait for.
    pub reads: Arc<dyn Store>,
    /// The way to each shard.
    pub shards: Vec<mpsc::Sender<Command>>,
    /// Whether the jobs have been counted, and if not, why.
    pub readiness: watch::Sender<Result<(), String>>,
    /// How many jobs have not ended and are not abandoned, as far as is known: they are counted again now and then.
    pub jobs: AtomicUsize,
    /// Takes jobs into memory.
    pub loader: Loader,
    /// Shards and other tasks without an end.
    pub background: Mutex<JoinSet<()>>,
    /// Jobs that are being registered.
    pub registrations: TaskTracker,
    /// Held to write while many jobs are applied together, and to read while one is registered: no name is taken between
    /// the look and the write.
    pub names: Arc<RwLock<()>>,
    /// The commit pipeline's task, until the end.
    pub pipeline_task: Mutex<Option<JoinHandle<()>>>,
    /// Places for reports that are being made.
    pub reports: Semaphore,
    /// Places for calls that read moves which are no longer in memory.
    pub past_reads: Semaphore,
    /// How many jobs have been deleted, so that a list of all jobs is known to be old.
    pub removals: AtomicU64,
    /// Histories in short.
    pub digests: Digests,
}

impl Service {
    /// Takes a job into service: first its shard owns it, then everyone finds it, with its attempt.
    ///
    /// # Errors
    /// If the server is shutting down.
    pub async fn adopt(&self, loaded: Loaded) -> Result<Arc<Entry>, Error> {
        let attempt = loaded.attempts.last().map_or(0, |row| row.attempt);
        let entry = Arc::new(Entry::new(loaded.row.clone(), attempt, loaded.active_time));
        let (done, adopted) = oneshot::channel();
        let command = Command::Adopt(entry.clone(), Box::new(loaded), done);
        self.shard(entry.id).send(command).await.map_err(|_| Error::ShuttingDown)?;
        adopted.await.map_err(|_| Error::ShuttingDown)?;
        self.context.directory.insert(&entry);
        Ok(entry)
    }

    /// Lists a damaged job without serving it: it keeps its name and says what is wrong with it, and the other jobs go
    /// on. It is read again when it has left memory.
    pub fn take_out_of_service(&self, id: JobId, name: &JobName, failure: &store::Error) -> Arc<Entry> {
        let entry = Arc::new(Entry::new(JobRow::unreadable(id, name.clone()), 0, Timestamp::default()));
        entry.damage(chain(failure));
        self.context.directory.insert(&entry);
        entry
    }

    /// The shard that owns a job.
    pub fn shard(&self, id: JobId) -> &mpsc::Sender<Command> {
        // The identifiers' low bits are random.
        let place = usize::try_from(id.0.as_u128() % self.shards.len() as u128).unwrap_or(0);
        &self.shards[place]
    }
}
