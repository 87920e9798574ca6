//! What every handle of the engine shares: the shards, where jobs are found, what is bounded over all jobs.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU64, AtomicUsize},
};

use tokio::{
    sync::{Semaphore, mpsc, oneshot, watch},
    task::{JoinHandle, JoinSet},
};
use tokio_util::task::TaskTracker;
use tracing::error;

use super::{
    api::Error,
    digest::Digests,
    entry::Entry,
    recover::Loaded,
    shard::{Command, Context},
};
use lrs_model::{job::JobRow, name::JobId};
use lrs_runtime::error::chain;
use lrs_store as store;

/// Commands that may wait for a shard.
pub const SHARD_QUEUE: usize = 1024;
/// Calls that read forgotten moves at once.
pub const PAST_READS: usize = 2;

/// The engine behind its handles.
pub struct Service {
    /// What every shard works with too.
    pub context: Context,
    /// The way to each shard.
    pub shards: Vec<mpsc::Sender<Command>>,
    /// Whether the jobs have been read, and if not, why.
    pub readiness: watch::Sender<Result<(), String>>,
    /// How many jobs have not ended.
    pub jobs: AtomicUsize,
    /// Shards and other tasks without an end.
    pub background: Mutex<JoinSet<()>>,
    /// Jobs that are being taken into service.
    pub registrations: TaskTracker,
    /// The commit pipeline's task, until the end.
    pub pipeline_task: Mutex<Option<JoinHandle<()>>>,
    /// Places for reports that are being made.
    pub reports: Semaphore,
    /// Places for calls that read moves which are no longer in memory.
    pub past_reads: Semaphore,
    /// How many jobs have been removed that had ended.
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
        let entry = Arc::new(Entry::new(loaded.row.clone(), attempt, self.context.clock.monotonic()));
        let (done, adopted) = oneshot::channel();
        let command = Command::Adopt(entry.clone(), Box::new(loaded), done);
        self.shard(entry.id).send(command).await.map_err(|_| Error::ShuttingDown)?;
        adopted.await.map_err(|_| Error::ShuttingDown)?;
        self.context.directory.pin().insert(entry.name.to_string(), entry.clone());
        Ok(entry)
    }

    /// Lists a damaged job without serving it: it keeps its name and says what is wrong with it, and the other jobs go
    /// on.
    pub fn take_out_of_service(&self, id: JobId, name: &str, failure: &store::Error) {
        let Ok(parsed) = name.parse() else {
            error!(job.uid = %id, "Job {id} is left out, because {name:?} is not a job's name: {}", chain(failure));
            return;
        };
        let entry = Entry::new(JobRow::unreadable(id, parsed), 0, self.context.clock.monotonic());
        entry.damage(chain(failure));
        self.context.directory.pin().insert(name.to_owned(), Arc::new(entry));
    }

    /// The shard that owns a job.
    pub fn shard(&self, id: JobId) -> &mpsc::Sender<Command> {
        // The identifiers' low bits are random.
        let place = usize::try_from(id.0.as_u128() % self.shards.len() as u128).unwrap_or(0);
        &self.shards[place]
    }
}
