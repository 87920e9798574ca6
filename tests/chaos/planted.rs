//! Planted bugs of ownership, which the checker must catch: a server with a bug between its engine and its store. This
//! test program runs such a server itself, so the program that ships knows nothing of them.

use std::{
    io,
    ops::Range,
    process::ExitCode,
    sync::{Arc, OnceLock, PoisonError, RwLock},
    thread,
};

use async_trait::async_trait;
use clap::{Parser, ValueEnum};
use lrs::{
    app::Server,
    config::{Config, Options},
    observability, shutdown,
};
use lrs_model::{
    change::Change,
    filter::JobQuery,
    job::{AttemptRow, IdleBefore, JobRow, State, Timestamp},
    name::{JobId, JobName},
};
use lrs_store::{
    ChangeQuery, ChangeRow, Chunk, DatabaseUrl, DecisionQuery, DecisionRow, Error, ExpiredJob, ExpiryQuery, JobCount,
    JobRecord, ListedJob, Outcome, Removal, StateRow, Store, Write,
};

/// The first argument of a server with a bug.
pub const SERVE: &str = "serve-with-bug";

/// A bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Plant {
    /// A server that another one has replaced says that its commits are done.
    AcknowledgeUnproven,
    /// A server that another one has replaced takes the database again, and goes on with what it remembers.
    KeepMemory,
    /// A server whose database has come back older goes on with what it remembers.
    MissLostTail,
    /// A server that cannot prove its ownership goes on calling steps final.
    IgnoreLease,
}

impl Plant {
    pub const ALL: [Self; 4] = [Self::AcknowledgeUnproven, Self::KeepMemory, Self::MissLostTail, Self::IgnoreLease];

    /// The name, for the command line.
    pub fn name(self) -> String {
        self.to_possible_value().expect("no bug is hidden").get_name().to_owned()
    }
}

/// The command line of a server with a bug.
#[derive(Parser)]
struct Arguments {
    plant: Plant,
    #[command(flatten)]
    options: Options,
}

/// What the server of this process does wrong.
static BUG: OnceLock<(Plant, DatabaseUrl)> = OnceLock::new();

/// Serves with a bug, until a signal comes. `arguments` are those after [`SERVE`].
pub fn serve(arguments: impl Iterator<Item = String>) -> ExitCode {
    const STACK_BYTES: usize = 16 << 20;
    let Arguments { plant, options } = Arguments::parse_from(std::iter::once(SERVE.to_owned()).chain(arguments));
    let work = move || -> anyhow::Result<()> {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().thread_stack_size(STACK_BYTES).enable_all().build()?;
        runtime.block_on(async {
            let config = Config::load(options, None)?;
            observability::init(&config.log)?;
            let _ = BUG.set((plant, config.database_url.clone()));
            let signals = shutdown::signals()?;
            let server = Server::start_around(&config, |store| Arc::new(Buggy(RwLock::new(store)))).await?;
            server.run_until(signals).await?;
            Ok(())
        })
    };
    let served = thread::Builder::new().stack_size(STACK_BYTES).spawn(work).map(thread::JoinHandle::join);
    match served {
        Ok(Ok(Ok(()))) => ExitCode::SUCCESS,
        other => {
            eprintln!("{other:?}");
            ExitCode::FAILURE
        }
    }
}

/// A store with a bug.
struct Buggy(RwLock<Arc<dyn Store>>);

impl Buggy {
    fn plant() -> Option<(Plant, &'static DatabaseUrl)> {
        BUG.get().map(|(plant, url)| (*plant, url))
    }

    fn inner(&self) -> Arc<dyn Store> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What the engine hears in place of a failure: `Ok` if the server goes on as if nothing were wrong.
    async fn hide(&self, failure: Error) -> Result<(), Error> {
        let Some((plant, url)) = Self::plant() else { return Err(failure) };
        match (plant, &failure) {
            (Plant::AcknowledgeUnproven, Error::Deposed { .. }) => return Ok(()),
            (Plant::KeepMemory, Error::Deposed { .. } | Error::LostTail { .. })
            | (Plant::MissLostTail, Error::LostTail { .. }) => {}
            _ => return Err(failure),
        }
        match url.open().await {
            Ok(store) => *self.0.write().unwrap_or_else(PoisonError::into_inner) = store,
            Err(failure) => return Err(Error::unavailable(failure)),
        }
        Err(Error::unavailable(io::Error::other("the database was opened again")))
    }
}

#[async_trait]
impl Store for Buggy {
    async fn commit_if(
        &self,
        batch: &[Write],
        is_wanted: &(dyn Fn() -> bool + Send + Sync),
    ) -> Result<Vec<Outcome>, Error> {
        match self.inner().commit_if(batch, is_wanted).await {
            Ok(outcomes) => Ok(outcomes),
            Err(failure) => self.hide(failure).await.map(|()| batch.iter().map(|_| Outcome::Done).collect()),
        }
    }

    async fn ping(&self) -> Result<(), Error> {
        match self.inner().ping().await {
            Ok(()) => Ok(()),
            Err(failure) => self.hide(failure).await,
        }
    }

    fn is_exclusive(&self) -> bool {
        self.inner().is_exclusive() || Self::plant().is_some_and(|(plant, _)| plant == Plant::IgnoreLease)
    }

    async fn job(&self, name: &JobName) -> Result<Option<JobRow>, Error> {
        self.inner().job(name).await
    }

    async fn list_jobs(&self, query: &JobQuery) -> Result<Vec<ListedJob>, Error> {
        self.inner().list_jobs(query).await
    }

    async fn job_records(&self, names: &[JobName]) -> Result<Vec<JobRecord>, Error> {
        self.inner().job_records(names).await
    }

    async fn count_jobs(&self, before: IdleBefore) -> Result<Vec<JobCount>, Error> {
        self.inner().count_jobs(before).await
    }

    async fn count_ended_jobs(&self) -> Result<Vec<(State, u64)>, Error> {
        self.inner().count_ended_jobs().await
    }

    async fn changes(&self, query: &ChangeQuery) -> Result<Vec<ChangeRow>, Error> {
        self.inner().changes(query).await
    }

    async fn change_by_request(&self, job_name: &JobName, request_id: &str) -> Result<Option<Change>, Error> {
        self.inner().change_by_request(job_name, request_id).await
    }

    async fn remove_changes(&self, deleted_before: Timestamp, limit: u32) -> Result<u64, Error> {
        self.inner().remove_changes(deleted_before, limit).await
    }

    async fn attempts(&self, job: JobId) -> Result<Vec<AttemptRow>, Error> {
        self.inner().attempts(job).await
    }

    async fn telemetry(&self, job: JobId, attempt: u32, from_seq: u64, limit: u32) -> Result<Vec<Chunk>, Error> {
        self.inner().telemetry(job, attempt, from_seq, limit).await
    }

    async fn telemetry_of_steps(
        &self,
        job: JobId,
        attempt: u32,
        steps: Range<u64>,
        from_seq: u64,
        limit: u32,
    ) -> Result<Vec<Chunk>, Error> {
        self.inner().telemetry_of_steps(job, attempt, steps, from_seq, limit).await
    }

    async fn next_telemetry_step(&self, job: JobId, attempt: u32, from: u64) -> Result<Option<u64>, Error> {
        self.inner().next_telemetry_step(job, attempt, from).await
    }

    async fn merge_telemetry(&self, job: JobId, attempt: u32, below_seq: u64, target: u32) -> Result<u64, Error> {
        self.inner().merge_telemetry(job, attempt, below_seq, target).await
    }

    async fn expired_jobs(&self, query: &ExpiryQuery) -> Result<Vec<ExpiredJob>, Error> {
        self.inner().expired_jobs(query).await
    }

    async fn remove_telemetry(&self, job: JobId, now: Timestamp, limit: u32) -> Result<Removal, Error> {
        self.inner().remove_telemetry(job, now, limit).await
    }

    async fn decisions(&self, job: JobId, query: &DecisionQuery) -> Result<Vec<DecisionRow>, Error> {
        self.inner().decisions(job, query).await
    }

    async fn state(&self, job: JobId) -> Result<Option<StateRow>, Error> {
        self.inner().state(job).await
    }

    fn epoch(&self) -> i64 {
        self.inner().epoch()
    }

    async fn close(&self) {
        self.inner().close().await;
    }
}
