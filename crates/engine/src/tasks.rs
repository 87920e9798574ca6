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
use tracing::{info, warn};

use super::{
    api::Settings,
    commit::Pipeline,
    digest::Digests,
    recover,
    service::{PAST_READS, SHARD_QUEUE, Service},
    shard::{Command, Context, Directory, Shard},
    tenure::Tenure,
};
use lrs_model::name::JobId;
use lrs_runtime::{
    backoff::Backoff,
    clock::{Clock, Steady},
    error::chain,
};
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
/// Time between two looks at a database that nobody writes to.
const PULSE: Duration = Duration::from_secs(2);

pub(super) fn start(settings: Settings, store: Arc<dyn Store>, clock: Arc<dyn Clock>) -> Arc<Service> {
    let tenure = Arc::new(Tenure::new(clock.clone(), settings.owner_lease, store.is_exclusive()));
    let pipeline = Pipeline::new(&settings, tenure.clone());
    let reports = Semaphore::new(settings.max_reports);
    let (merges, to_merge) = mpsc::channel(MERGE_QUEUE);
    let context = Context {
        settings: Arc::new(settings),
        store,
        pipeline,
        steady: Steady::begin(&*clock),
        clock,
        tenure: tenure.clone(),
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
    tasks.spawn(feel_pulse(context.store.clone(), context.pipeline.clone(), tenure));
    let pipeline_task = tokio::spawn(context.pipeline.clone().run(context.store.clone()));
    let service = Arc::new(Service {
        context,
        shards,
        readiness: watch::Sender::new(Err("the jobs are being read".to_owned())),
        jobs: AtomicUsize::new(0),
        background: Mutex::default(),
        registrations: TaskTracker::new(),
        pipeline_task: Mutex::new(Some(pipeline_task)),
        reports,
        past_reads: Semaphore::new(PAST_READS),
        removals: AtomicU64::new(0),
        digests: Digests::default(),
    });
    tasks.spawn(recover_all(service.clone()));
    *service.background.lock().unwrap_or_else(PoisonError::into_inner) = tasks;
    service
}

/// Reads every job that has not ended, and tries again until the database answers.
async fn recover_all(service: Arc<Service>) {
    let mut waits = Backoff::default().regular();
    loop {
        match try_recover(&service).await {
            Ok(count) => {
                info!(count, "{count} jobs are back in service");
                service.context.pipeline.note_health(Ok(()));
                let _ = service.readiness.send_replace(Ok(()));
                return;
            }
            Err(failure) => {
                let why = format!("the jobs cannot be read yet: {}", chain(&failure));
                warn!("Not ready: {why}");
                let _ = service.readiness.send_replace(Err(why));
            }
        }
        waits.sleep().await;
    }
}

async fn try_recover(service: &Service) -> Result<usize, store::Error> {
    let store = &*service.context.store;
    let mut after: Option<JobId> = None;
    loop {
        let page = store.unended_jobs(after, RECOVERY_PAGE).await?;
        let Some(last) = page.last() else {
            // What was read counts once it is proven that no other process owned the database meanwhile.
            prove(store, &service.context.tenure).await?;
            return Ok(service.jobs.load(SeqCst));
        };
        after = Some(last.id);
        let mut adopted = stream::iter(page).map(|job| recover_one(service, job)).buffer_unordered(RECOVERY_WIDTH);
        while let Some(result) = adopted.next().await {
            result?;
        }
    }
}

/// Reads one job and takes it into service, or out of it if it is damaged.
async fn recover_one(service: &Service, job: LoadedJob) -> Result<(), store::Error> {
    if service.context.directory.pin().contains_key(&job.name) {
        // An earlier try has read this job.
        return Ok(());
    }
    let loaded = match job.row {
        Ok(row) => recover::load(&*service.context.store, row).await,
        Err(damage) => Err(damage),
    };
    match loaded {
        Ok(loaded) => drop(service.adopt(loaded).await),
        Err(failure) if failure.is_transient() => return Err(failure),
        Err(failure) => service.take_out_of_service(job.id, &job.name, &failure),
    }
    service.jobs.fetch_add(1, SeqCst);
    Ok(())
}

/// Merges small chunks of telemetry where shards say that there are many.
///
/// Only chunks that are known to be written are merged. A chunk with an unknown outcome is written again, and would
/// come back beside the merged one.
async fn merge(store: Arc<dyn Store>, pipeline: Pipeline, mut attempts: mpsc::Receiver<(JobId, u32, u64)>) {
    while let Some((job, attempt, below_seq)) = attempts.recv().await {
        if pipeline.settle(job).await.is_err() {
            return;
        }
        if let Err(failure) = store.merge_telemetry(job, attempt, below_seq, MERGE_TARGET).await {
            let why = chain(&failure);
            warn!(job.uid = %job, "The telemetry of job {job} was not merged, which is tried again later: {why}");
        }
    }
}

/// Notices that a database is away or back, or has another owner, when nobody writes to it.
async fn feel_pulse(store: Arc<dyn Store>, pipeline: Pipeline, tenure: Arc<Tenure>) {
    let mut pulse = tokio::time::interval(PULSE);
    loop {
        pulse.tick().await;
        let health = prove(&*store, &tenure).await.map_err(|failure| chain(&failure));
        pipeline.note_health(health);
    }
}

/// Looks whether the database answers and this process owns it.
async fn prove(store: &dyn Store, tenure: &Tenure) -> Result<(), store::Error> {
    let begun = tenure.now();
    let answer = store.ping().await;
    match &answer {
        Ok(()) => tenure.prove(begun),
        Err(failure) if failure.ends_ownership() => tenure.end(&chain(failure)),
        Err(_) => {}
    }
    answer
}
