//! Reads the jobs that are asked for.

use std::{collections::HashMap, sync::Arc};

use futures::{StreamExt as _, stream};
use tokio::sync::mpsc;
use tracing::warn;

use super::{Place, QUEUE};
use crate::{api::Error, directory::Found, recover, service::Service};
use lrs_model::name::JobName;
use lrs_runtime::error::chain;
use lrs_store::JobRecord;

/// Jobs read together.
const BATCH: usize = 64;
/// Batches read side by side.
const BATCHES: usize = 2;
/// Jobs whose decisions or telemetry are read side by side.
const REPLAYS: usize = 4;

/// Reads the jobs that are asked for, as long as there is a service.
pub async fn run(service: Arc<Service>, asked: mpsc::Receiver<JobName>) {
    let (replay, to_replay) = mpsc::channel::<(JobRecord, Place)>(QUEUE);
    let batches = stream::unfold(asked, |mut asked| async move {
        let mut names = Vec::with_capacity(BATCH);
        (asked.recv_many(&mut names, BATCH).await > 0).then_some((names, asked))
    });
    let read = batches.for_each_concurrent(BATCHES, |names| read(Arc::clone(&service), names, replay.clone()));
    let replays = stream::unfold(to_replay, |mut to_replay| async move {
        let record = to_replay.recv().await?;
        Some((record, to_replay))
    });
    let replayed = replays.for_each_concurrent(REPLAYS, |(record, place)| serve(Arc::clone(&service), record, place));
    tokio::join!(read, replayed);
}

/// Reads jobs together, and takes those into service that need not be replayed.
async fn read(service: Arc<Service>, mut names: Vec<JobName>, replay: mpsc::Sender<(JobRecord, Place)>) {
    let directory = &service.context.directory;
    let limit = service.context.settings.max_loaded_jobs;
    let mut places = HashMap::new();
    let mut is_short = false;
    names.retain(|name| {
        match directory.find(name.as_str()) {
            Found::Held(held) => service.loader.answer(name, || Ok(Some(held.clone()))),
            Found::Leaving(_) => service.loader.answer(name, || Ok(None)),
            Found::Missing => {
                if let Some(place) = service.loader.place(directory.len(), limit) {
                    places.insert(name.clone(), place);
                    return true;
                }
                is_short = true;
                let what = "the memory for jobs in use (max_loaded_jobs)";
                service.loader.answer(name, || Err(Error::Overloaded { what, limit }));
            }
        }
        false
    });
    if is_short || directory.len() + places.len() >= limit {
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
        let place = places.remove(name);
        let Some((record, place)) = records.remove(name.as_str()).zip(place) else {
            service.loader.answer(name, || Err(Error::JobNotFound(name.to_string())));
            continue;
        };
        if recover::is_quick(&record) {
            serve(Arc::clone(&service), record, place).await;
        } else if replay.send((record, place)).await.is_err() {
            return;
        }
    }
}

/// Takes a job into service, or says why not. Its place is its entry's from then on.
async fn serve(service: Arc<Service>, record: JobRecord, _place: Place) {
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
