//! Takes jobs into memory when somebody asks for them.
//!
//! A job is read once, however many ask for it meanwhile. Those that are asked for at the same moment are read together,
//! in a number of statements that does not depend on how many they are, so that thousands of trainers that come back at
//! once are thousands of rows and not thousands of reads. A job whose telemetry has to be replayed is read beside them,
//! so that it keeps no other waiting.

use std::{
    collections::{BTreeMap, HashMap, btree_map},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::{StreamExt as _, stream};
use tokio::sync::{
    mpsc::{self, error::TrySendError},
    oneshot,
};
use tracing::warn;

use super::{
    api::Error,
    directory::{Found, Held},
    recover,
    service::Service,
};
use lrs_model::name::JobName;
use lrs_runtime::error::{Cause, chain};
use lrs_store::JobRecord;

/// Jobs that may wait to be read.
pub const QUEUE: usize = 16_384;
/// Jobs read together.
const BATCH: usize = 64;
/// Batches read side by side.
const BATCHES: usize = 2;
/// Jobs whose decisions or telemetry are read side by side.
const REPLAYS: usize = 4;

/// The job, to be used; `None` if it left memory meanwhile, so that the caller has to look again.
type Loaded = Result<Option<Held>, Error>;

/// The way to the loader.
pub struct Loader {
    /// Who waits for which job.
    waiting: Mutex<BTreeMap<JobName, Vec<oneshot::Sender<Loaded>>>>,
    queue: mpsc::Sender<JobName>,
    /// How long a call waits for a job to be read. Reading goes on after that, for the next call.
    patience: Duration,
}

impl Loader {
    /// A loader, and the queue that [`run`] serves.
    pub fn new(patience: Duration) -> (Self, mpsc::Receiver<JobName>) {
        let (queue, asked) = mpsc::channel(QUEUE);
        (Self { waiting: Mutex::default(), queue, patience }, asked)
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

/// Reads the jobs that are asked for, as long as there is a service.
pub async fn run(service: Arc<Service>, asked: mpsc::Receiver<JobName>) {
    let (replay, to_replay) = mpsc::channel::<JobRecord>(QUEUE);
    let batches = stream::unfold(asked, |mut asked| async move {
        let mut names = Vec::with_capacity(BATCH);
        (asked.recv_many(&mut names, BATCH).await > 0).then_some((names, asked))
    });
    let read = batches.for_each_concurrent(BATCHES, |names| read(Arc::clone(&service), names, replay.clone()));
    let replays = stream::unfold(to_replay, |mut to_replay| async move {
        let record = to_replay.recv().await?;
        Some((record, to_replay))
    });
    let replayed = replays.for_each_concurrent(REPLAYS, |record| serve(Arc::clone(&service), record));
    tokio::join!(read, replayed);
}

/// Reads jobs together, and takes those into service that need not be replayed.
async fn read(service: Arc<Service>, mut names: Vec<JobName>, replay: mpsc::Sender<JobRecord>) {
    let directory = &service.context.directory;
    let limit = service.context.settings.max_loaded_jobs;
    let mut room = limit.saturating_sub(directory.len());
    names.retain(|name| {
        match directory.find(name.as_str()) {
            Found::Held(held) => service.loader.answer(name, || Ok(Some(held.clone()))),
            Found::Leaving(_) => service.loader.answer(name, || Ok(None)),
            Found::Missing if room == 0 => {
                let what = "the memory for jobs in use (max_loaded_jobs)";
                service.loader.answer(name, || Err(Error::Overloaded { what, limit }));
            }
            Found::Missing => {
                room -= 1;
                return true;
            }
        }
        false
    });
    if room == 0 {
        directory.ask_for_room();
    }
    if names.is_empty() {
        return;
    }
    let records = match service.context.store.job_records(&names).await {
        Ok(records) => records,
        // One job that the driver cannot read must not keep the others out.
        Err(failure) if !failure.is_transient() && names.len() > 1 => {
            let mut records = Vec::new();
            for name in &names {
                match service.context.store.job_records(std::slice::from_ref(name)).await {
                    Ok(found) => records.extend(found),
                    Err(failure) => service.loader.answer(name, || Err(failure.clone().into())),
                }
            }
            records
        }
        Err(failure) => {
            for name in &names {
                service.loader.answer(name, || Err(failure.clone().into()));
            }
            return;
        }
    };
    let mut records: HashMap<String, JobRecord> =
        records.into_iter().map(|record| (record.name.clone(), record)).collect();
    for name in &names {
        let Some(record) = records.remove(name.as_str()) else {
            service.loader.answer(name, || Err(Error::JobNotFound(name.to_string())));
            continue;
        };
        if recover::is_quick(&record) {
            serve(Arc::clone(&service), record).await;
        } else if replay.send(record).await.is_err() {
            return;
        }
    }
}

/// Takes a job into service, or says why not.
async fn serve(service: Arc<Service>, record: JobRecord) {
    // It was asked for by this name.
    let Ok(name) = record.name.parse::<JobName>() else { return };
    if let Ok(row) = &record.row
        && row.state.is_ended()
    {
        return service.loader.answer(&name, || Err(Error::JobEnded { job: name.clone(), state: row.state }));
    }
    let id = record.id;
    let served = match recover::load(&*service.context.store, record).await {
        Ok(loaded) => service.adopt(loaded).await,
        Err(failure) if failure.is_transient() => {
            warn!(job.name = %name, "{name} cannot be read yet: {}", chain(&failure));
            Err(failure.into())
        }
        Err(failure) => Ok(service.take_out_of_service(id, &name, &failure)),
    };
    service.loader.answer(&name, || match &served {
        Ok(entry) => Ok(service.context.directory.hold(entry)),
        Err(error) => Err(error.clone()),
    });
}
