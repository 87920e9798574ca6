//! The engine's tasks: shards, the commit pipeline, the loader and the sweeper, the merger, the count of the jobs, the
//! pulse of the database.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use tokio::{
    sync::{Semaphore, mpsc, watch},
    task::JoinSet,
};
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use super::{
    api::Settings,
    bounded::Bounded,
    commit::{Pipeline, why_away},
    digest::Digests,
    directory::Directory,
    loader::{Loader, reading},
    service::{PAST_READS, SHARD_QUEUE, Service},
    shard::{Command, Context, Shard},
    sweeper,
    tenure::Tenure,
};
use lrs_model::{job::Idle, name::JobId};
use lrs_runtime::{
    backoff::Backoff,
    clock::{Clock, Steady},
    error::chain,
};
use lrs_store as store;
use lrs_store::Store;

/// Time between two counts of the jobs.
const COUNT_AGAIN: Duration = Duration::from_mins(10);
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
    let (loader, asked) = Loader::new(settings.store_timeout);
    let (merges, to_merge) = mpsc::channel(MERGE_QUEUE);
    let context = Context {
        settings: Arc::new(settings),
        store,
        pipeline,
        steady: Steady::begin(&*clock),
        clock,
        tenure: tenure.clone(),
        directory: Arc::new(Directory::default()),
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
    let reads = Arc::new(Bounded::new(context.store.clone(), context.settings.store_timeout));
    let service = Arc::new(Service {
        context,
        reads,
        shards,
        readiness: watch::Sender::new(Err("the jobs are being counted".to_owned())),
        jobs: AtomicUsize::new(0),
        loader,
        background: Mutex::default(),
        registrations: TaskTracker::new(),
        names: Arc::default(),
        pipeline_task: Mutex::new(Some(pipeline_task)),
        reports,
        past_reads: Semaphore::new(PAST_READS),
        removals: AtomicU64::new(0),
        digests: Digests::default(),
    });
    tasks.spawn(reading::run(service.clone(), asked));
    tasks.spawn(sweeper::run(service.clone()));
    tasks.spawn(count_jobs(service.clone()));
    *service.background.lock().unwrap_or_else(PoisonError::into_inner) = tasks;
    service
}

/// Counts the jobs, for their limit: until the database answers once, and then now and then, because a job is abandoned
/// without anybody doing anything, and comes back.
async fn count_jobs(service: Arc<Service>) {
    let mut waits = Backoff::default().regular();
    loop {
        match try_count(&service).await {
            Ok(count) => {
                service.jobs.store(count, SeqCst);
                if service.readiness.borrow().is_err() {
                    info!(count, "{count} jobs have not ended; each is read when it is asked for");
                    service.context.pipeline.note_health(Ok(()));
                    let _ = service.readiness.send_replace(Ok(()));
                }
                waits = Backoff::default().regular();
                tokio::time::sleep(COUNT_AGAIN).await;
            }
            Err(failure) => {
                let why = format!("the jobs cannot be counted yet: {}", chain(&failure));
                warn!("{why}");
                service.readiness.send_if_modified(|known| {
                    let is_first = known.is_err();
                    if is_first {
                        *known = Err(why);
                    }
                    is_first
                });
                waits.sleep().await;
            }
        }
    }
}

/// How many jobs have not ended and are not abandoned.
async fn try_count(service: &Service) -> Result<usize, store::Error> {
    let counts = service.context.store.count_jobs(service.context.moment().before()).await?;
    // What was counted counts once it is proven that no other process owned the database meanwhile.
    prove(&*service.context.store, &service.context.tenure).await?;
    let live: u64 = counts.iter().filter(|count| count.idle != Idle::Abandoned).map(|count| count.count).sum();
    Ok(usize::try_from(live).unwrap_or(usize::MAX))
}

/// Merges small chunks of telemetry where shards say that there are many.
///
/// Only chunks that are known to be written are merged. A chunk with an unknown outcome is written again, and would
/// come back beside the merged one.
async fn merge(store: Arc<dyn Store>, pipeline: Pipeline, mut attempts: mpsc::Receiver<(JobId, u32, u64)>) {
    while let Some((job, attempt, below_seq)) = attempts.recv().await {
        if pipeline.settle(job, None).await.is_err() {
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
        tokio::select! {
            biased;
            _ = pulse.tick() => {}
            () = tenure.wanted() => {}
        }
        let answer = prove(&*store, &tenure).await;
        pipeline.note_pulse(answer.clone().err());
        let health = match answer {
            // A lock that somebody holds is no reason to send callers elsewhere.
            Ok(()) | Err(store::Error::Busy(_)) => Ok(()),
            Err(failure) => Err(why_away(&failure)),
        };
        pipeline.note_health(health);
    }
}

/// Looks whether the database answers and this process owns it.
async fn prove(store: &dyn Store, tenure: &Tenure) -> Result<(), store::Error> {
    let proof = tenure.begin();
    let answer = store.ping().await;
    match &answer {
        Ok(()) => tenure.prove(proof),
        Err(failure) if failure.ends_ownership() => tenure.end(&chain(failure)),
        Err(_) => {}
    }
    answer
}
