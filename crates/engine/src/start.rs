//! The engine's tasks: shards, the commit pipeline, recovery, the merger, the pulse of the database.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use futures::{StreamExt as _, stream};
use tokio::{
    sync::{Semaphore, mpsc, watch},
    task::JoinSet,
};
use tokio_util::task::TaskTracker;
use tracing::{error, info, warn};

use super::{
    api::Settings,
    commit::Pipeline,
    entry::Entry,
    handle::{Inner, SHARD_QUEUE},
    recover,
    shard::{Command, Context, Directory, Shard},
    summary::Summaries,
};
use lrs_model::{job::JobRow, name::JobId};
use lrs_runtime::clock::Clock;
use lrs_store as store;
use lrs_store::{LoadedJob, Store};

/// Jobs read at once during recovery.
const RECOVERY_PAGE: u32 = 1000;
/// Jobs whose telemetry is read side by side during recovery.
const RECOVERY_WIDTH: usize = 16;
/// Attempts that may wait to be merged.
const MERGE_QUEUE: usize = 256;
/// Samples in a merged chunk.
const MERGE_TARGET: u32 = 512;
/// Between two looks at a database that nobody writes to.
const PULSE: Duration = Duration::from_secs(2);

pub(super) fn start(settings: Settings, store: Arc<dyn Store>, clock: Arc<dyn Clock>) -> Arc<Inner> {
    let pipeline = Pipeline::new(&settings);
    let reports = Semaphore::new(settings.max_reports);
    let (merges, to_merge) = mpsc::channel(MERGE_QUEUE);
    let context = Context {
        settings: Arc::new(settings),
        store,
        pipeline,
        clock,
        directory: Arc::new(Directory::new()),
        departures: Arc::default(),
        merges,
    };
    let mut tasks = JoinSet::new();
    let shards = (0..context.settings.shards.max(1)).map(|_| {
        let (commands, queue) = mpsc::channel::<Command>(SHARD_QUEUE);
        tasks.spawn(Shard::new(context.clone()).run(queue));
        commands
    });
    let shards = shards.collect();
    tasks.spawn(merge(context.store.clone(), context.pipeline.clone(), to_merge));
    tasks.spawn(feel_pulse(context.store.clone(), context.pipeline.clone()));
    let pipeline_task = tokio::spawn(context.pipeline.clone().run(context.store.clone()));
    let inner = Arc::new(Inner {
        context,
        shards,
        readiness: watch::Sender::new(Err("the jobs are being read".to_owned())),
        jobs: AtomicUsize::new(0),
        background: Mutex::default(),
        registrations: TaskTracker::new(),
        pipeline_task: Mutex::new(Some(pipeline_task)),
        reports,
        removals: AtomicU64::new(0),
        summaries: Summaries::default(),
    });
    tasks.spawn(recover_all(inner.clone()));
    *inner.background.lock().unwrap_or_else(PoisonError::into_inner) = tasks;
    inner
}

/// Reads every job that has not ended, again and again until the database lets it.
async fn recover_all(inner: Arc<Inner>) {
    let mut backoff = Duration::from_millis(50);
    loop {
        match try_recover(&inner).await {
            Ok(count) => {
                info!(count, "{count} jobs are back in service");
                let _ = inner.readiness.send_replace(Ok(()));
                return;
            }
            Err(failure) => {
                warn!(error = %failure, "The jobs can not be read yet: {failure}");
                let _ = inner.readiness.send_replace(Err(format!("the jobs can not be read yet: {failure}")));
            }
        }
        tokio::time::sleep(backoff).await;
        backoff = (backoff * 2).min(Duration::from_secs(2));
    }
}

async fn try_recover(inner: &Inner) -> Result<usize, store::Error> {
    let store = &*inner.context.store;
    let mut after: Option<JobId> = None;
    loop {
        let page = store.unended_jobs(after, RECOVERY_PAGE).await?;
        let Some(last) = page.last() else { return Ok(inner.jobs.load(SeqCst)) };
        after = Some(last.id);
        let mut adopted = stream::iter(page).map(|job| recover_one(inner, job)).buffer_unordered(RECOVERY_WIDTH);
        while let Some(result) = adopted.next().await {
            result?;
        }
    }
}

/// Reads one job and takes it into service, or out of it if it is damaged.
async fn recover_one(inner: &Inner, job: LoadedJob) -> Result<(), store::Error> {
    if inner.context.directory.pin().contains_key(&job.name) {
        // An earlier try got this far.
        return Ok(());
    }
    let loaded = match job.row {
        Ok(row) => recover::load(&*inner.context.store, row).await,
        Err(damage) => Err(damage),
    };
    match loaded {
        Ok(loaded) => drop(inner.adopt(loaded).await),
        Err(failure) if failure.is_transient() => return Err(failure),
        Err(failure) => take_out_of_service(inner, job.id, &job.name, &failure),
    }
    inner.jobs.fetch_add(1, SeqCst);
    Ok(())
}

/// A damaged job keeps its name, and says what is wrong with it to whoever asks; the others go on.
pub(super) fn take_out_of_service(inner: &Inner, id: JobId, name: &str, failure: &store::Error) {
    let Ok(parsed) = name.parse() else {
        error!(job.uid = %id, "Job {id} has the name {name:?}, which is not one, and is left out: {failure}");
        return;
    };
    let entry = Entry::new(JobRow::unreadable(id, parsed), 0);
    entry.damage(failure.to_string());
    inner.context.directory.pin().insert(name.to_owned(), Arc::new(entry));
}

/// Merges small chunks of telemetry where shards say that there are many.
///
/// Only those that are known to be written: one whose outcome is unknown is written again, and would come back beside the
/// chunk that it was merged into.
async fn merge(store: Arc<dyn Store>, pipeline: Pipeline, mut attempts: mpsc::Receiver<(JobId, u32, u64)>) {
    while let Some((job, attempt, below_seq)) = attempts.recv().await {
        if pipeline.settle(job).await.is_err() {
            return;
        }
        if let Err(failure) = store.merge_telemetry(job, attempt, below_seq, MERGE_TARGET).await {
            warn!(job.uid = %job, error = %failure, "The telemetry of job {job} was not merged, which is tried again later: {failure}");
        }
    }
}

/// Notices that a database is away or back when nobody writes to it.
async fn feel_pulse(store: Arc<dyn Store>, pipeline: Pipeline) {
    let mut pulse = tokio::time::interval(PULSE);
    loop {
        pulse.tick().await;
        let health = match store.ping().await {
            Err(failure) => Err(failure.to_string()),
            Ok(()) => Ok(()),
        };
        pipeline.note_health(health);
    }
}
