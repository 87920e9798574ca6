//! The handle that `rpc` and `http` hold: a call, an answer.

mod audit;
mod directives;
mod fleet;
mod outlook;
mod records;
mod registration;
mod trainers;

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, atomic::Ordering::SeqCst},
    time::Duration,
};

use tokio::sync::oneshot;
use tracing::{Span, error};

pub use fleet::{Fleet, Sight};
pub(crate) use outlook::off_told;
pub use outlook::{Glance, Outlook};
pub use records::Watch;

use super::{
    api::{Change, Curve, CurveSteps, Error, JobView, Order, Settings},
    commit::outcome,
    entry::Entry,
    preview, record,
    service::Service,
    shard::{Command, Reply},
    tasks,
};
use lrs_model::{
    change::{Change as Record, ChangeKind},
    decision::Decision,
    filter::JobQuery,
    job::{JobRow, State},
    name::JobName,
    spec::Spec,
};
use lrs_runtime::{clock::Clock, error::Cause};
use lrs_store::{Store, Write};

/// The engine. Cheap to clone.
#[derive(Clone)]
pub struct Engine(Arc<Service>);

impl Engine {
    /// An engine over `store`. Recovery runs in the background; [`Engine::ready`] says when it is done.
    #[must_use]
    pub fn start(settings: Settings, store: Arc<dyn Store>, clock: Arc<dyn Clock>) -> Self {
        Self(tasks::start(settings, store, clock))
    }

    /// Why calls cannot be served now, if they cannot.
    ///
    /// # Errors
    /// With the reason, for people: the jobs are being read, or the database is away.
    pub fn ready(&self) -> Result<(), String> {
        self.0.readiness.borrow().clone()?;
        if let Some(why) = self.0.context.tenure.over() {
            return Err(why);
        }
        self.0.context.pipeline.health().borrow().clone().map_err(|problem| format!("the database is away: {problem}"))
    }

    /// Waits until this process does not own the database any more, and says why: another process has taken it over, or
    /// it has gone back to an earlier state. Nothing is final any more, and nothing can be changed: shut the engine down,
    /// and begin with another one on a store that is opened anew. Cancel safe.
    pub async fn deposed(&self) -> String {
        self.0.context.tenure.ended().await
    }

    /// Waits until the jobs have been read.
    ///
    /// # Errors
    /// With the reason if that failed for good.
    pub async fn recovered(&self) -> Result<(), String> {
        let mut readiness = self.0.readiness.subscribe();
        let recovered = readiness.wait_for(Result::is_ok).await.map(drop);
        recovered.map_err(|_| "the engine was shut down".to_owned())
    }

    /// A job by name, ended or not.
    ///
    /// # Errors
    /// If there is none.
    pub async fn job(&self, name: &JobName) -> Result<JobView, Error> {
        if let Some(entry) = self.entry(name.as_str()) {
            entry.check_sound()?;
            return Ok(entry.view(self.0.context.stale_before()));
        }
        self.ended(name).await
    }

    /// Jobs, ended or not.
    ///
    /// # Errors
    /// If the store is away.
    pub async fn list_jobs(&self, query: JobQuery) -> Result<Vec<JobView>, Error> {
        let rows = self.0.context.store.list_jobs(&query).await?;
        let mut views = Vec::with_capacity(rows.len());
        for row in rows {
            let entry = self.entry(row.name.as_str()).filter(|entry| entry.check_sound().is_ok());
            views.push(match entry {
                Some(entry) => entry.view(self.0.context.stale_before()),
                None => self.ended_view(row).await?,
            });
        }
        Ok(views)
    }

    /// Removes a job.
    ///
    /// # Errors
    /// If there is none, it changed since it was read, or it has not ended and `force` is not set.
    pub async fn delete_job(
        &self,
        name: &JobName,
        etag: Option<String>,
        force: bool,
        order: Order,
    ) -> Result<(), Error> {
        self.check_ready()?;
        if self.is_repeat(name, &[ChangeKind::Deleted], &order).await? {
            return Ok(());
        }
        let kind = ChangeKind::Deleted;
        let now = self.0.context.clock.now();
        let (id, record) = match self.entry(name.as_str()) {
            Some(entry) if entry.check_sound().is_ok() => {
                let id = entry.id;
                self.ask(&entry, |reply| Command::Delete { id, etag, force, order, reply }).await?;
                self.0.jobs.fetch_sub(1, SeqCst);
                return Ok(());
            }
            // A job that is out of service can only be deleted.
            Some(entry) => {
                let detail = "out of service".to_owned();
                (entry.id, Record { detail, ..record::change(&entry.row(), kind, &order, now) })
            }
            None => {
                let view = self.ended(name).await?;
                if let Some(expected) = etag.filter(|etag| *etag != view.etag()) {
                    return Err(Error::EtagMismatch { job: name.clone(), expected, found: view.etag() });
                }
                let detail = view.row.state.to_string();
                (view.row.id, Record { detail, ..record::change(&view.row, kind, &order, now) })
            }
        };
        let context = &self.0.context;
        let permit = context.pipeline.try_admit(context.settings.queue_items)?;
        let writes = vec![record::write(&record), Write::DeleteJob(id)];
        outcome(context.pipeline.submit(id, writes, Some(permit), None)).await?;
        record::tell(&record);
        self.0.removals.fetch_add(1, SeqCst);
        let same = |_: &String, entry: &Arc<Entry>| entry.id == id;
        if let Ok(Some(_)) = context.directory.pin().remove_if(name.as_str(), same) {
            self.0.jobs.fetch_sub(1, SeqCst);
        }
        Ok(())
    }

    /// A person's order about a job's rate: durable when it is answered. `None` if nothing had to change.
    ///
    /// # Errors
    /// If the order is wrong, or the job's state does not allow it.
    pub async fn change_job(
        &self,
        name: &JobName,
        change: Change,
        order: Order,
    ) -> Result<(JobView, Option<Decision>), Error> {
        let entry = self.live(name).await?;
        let id = entry.id;
        self.ask(&entry, |reply| Command::Change { id, change, order, reply }).await
    }

    /// Whether this request of a change of one of these kinds was answered before. Of a change of the rate the job
    /// itself knows.
    ///
    /// # Errors
    /// If the request asked for something else then, or the store is away.
    pub async fn is_repeat(&self, name: &JobName, kinds: &[ChangeKind], order: &Order) -> Result<bool, Error> {
        let Some(request_id) = &order.request_id else { return Ok(false) };
        let Some(known) = self.0.context.store.change_by_request(name, request_id).await? else { return Ok(false) };
        record::check_repeat(&known, kinds, order).map(|()| true)
    }

    /// Ends a job.
    ///
    /// # Errors
    /// If there is none, or it has ended otherwise already.
    pub async fn complete_job(&self, name: &JobName, outcome: State, order: Order) -> Result<JobView, Error> {
        if self.is_repeat(name, &[record::of_end(outcome)], &order).await? {
            return self.job(name).await;
        }
        let completed = match self.live(name).await {
            Ok(entry) => {
                let id = entry.id;
                self.ask(&entry, |reply| Command::Complete { id, outcome, order, reply }).await
            }
            Err(error) => Err(error),
        };
        match completed {
            Ok(view) => {
                self.0.jobs.fetch_sub(1, SeqCst);
                Ok(view)
            }
            Err(Error::JobEnded { state, .. }) if state == outcome => self.ended(name).await,
            Err(error) => Err(error),
        }
    }

    /// The curve of a spec.
    ///
    /// # Errors
    /// If the spec is wrong, or too many steps are asked for.
    pub fn preview(&self, spec: &Spec, steps: CurveSteps) -> Result<Curve, Error> {
        preview::preview(spec, steps)
    }

    /// Gives out no more steps, writes what is left and closes the store. Waits for all of it.
    pub async fn shutdown(&self) {
        let why = self.0.context.tenure.over().unwrap_or_else(|| "the server is shutting down".to_owned());
        let _ = self.0.readiness.send(Err(why));
        for shard in &self.0.shards {
            let (done, finished) = oneshot::channel();
            if shard.send(Command::Shutdown(done)).await.is_ok() {
                let _ = finished.await;
            }
        }
        self.0.context.pipeline.close();
        let pipeline = self.0.pipeline_task.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(pipeline) = pipeline
            && let Err(failure) = pipeline.await
        {
            error!(%failure, "The commit pipeline failed: {failure}");
        }
        self.0.registrations.close();
        self.0.registrations.wait().await;
        let mut background = std::mem::take(&mut *self.0.background.lock().unwrap_or_else(PoisonError::into_inner));
        background.shutdown().await;
        self.0.context.store.close().await;
    }

    async fn ask<T>(&self, entry: &Entry, command: impl FnOnce(Reply<T>) -> Command) -> Result<T, Error> {
        let (reply, answer) = oneshot::channel();
        let shard = self.0.shard(entry.id);
        let command = Command::For(Span::current(), Box::new(command(reply)));
        shard.send(command).await.map_err(|_| self.0.context.why_closed())?;
        match answer.await.unwrap_or_else(|_| Err(self.0.context.why_closed())) {
            // The job ended or was deleted while the command was on its way.
            Err(Error::JobNotFound(_)) => Err(self.why_not_live(entry.name.as_str()).await),
            answer => answer,
        }
    }

    /// All jobs that are in memory.
    pub(crate) fn entries(&self) -> Vec<Arc<Entry>> {
        self.0.context.directory.pin().values().cloned().collect()
    }

    /// A trainer that was last heard of when less time than this had passed is stale.
    pub(crate) fn stale_before(&self) -> Duration {
        self.0.context.stale_before()
    }

    /// How many jobs the database has in each state.
    pub(crate) async fn counted_states(&self) -> Result<HashMap<State, u64>, Error> {
        let mut counts = HashMap::new();
        for (state, count) in self.0.context.store.count_jobs().await? {
            *counts.entry(state).or_default() += count;
        }
        Ok(counts)
    }

    fn entry(&self, name: &str) -> Option<Arc<Entry>> {
        self.0.context.directory.pin().get(name).cloned()
    }

    fn check_ready(&self) -> Result<(), Error> {
        self.0.readiness.borrow().clone().map_err(|why| Error::StoreUnavailable(Cause::new(why)))
    }

    async fn live(&self, name: &JobName) -> Result<Arc<Entry>, Error> {
        match self.entry(name.as_str()) {
            Some(entry) => entry.check_sound().map(|()| entry),
            None => Err(self.why_not_live(name.as_str()).await),
        }
    }

    async fn why_not_live(&self, name: &str) -> Error {
        if let Err(not_ready) = self.check_ready() {
            return not_ready;
        }
        let Ok(name) = name.parse::<JobName>() else { return Error::JobNotFound(name.to_owned()) };
        match self.0.context.store.job(&name).await {
            Ok(Some(row)) if row.state.is_ended() => Error::JobEnded { job: name, state: row.state },
            Ok(_) => Error::JobNotFound(name.to_string()),
            Err(error) => error.into(),
        }
    }

    async fn ended(&self, name: &JobName) -> Result<JobView, Error> {
        self.check_ready()?;
        let row = self.0.context.store.job(name).await?.ok_or_else(|| Error::JobNotFound(name.to_string()))?;
        self.ended_view(row).await
    }

    async fn ended_view(&self, row: JobRow) -> Result<JobView, Error> {
        let attempts = self.0.context.store.attempts(row.id).await?;
        let attempt = attempts.last().map_or(0, |row| row.attempt);
        Ok(JobView { row: Arc::new(row), attempt, progress: None, stale: false })
    }
}

/// Does `work`, which keeps a processor busy, on a thread that answers no calls.
pub(crate) async fn off_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.map_err(|_| Error::ShuttingDown)
}
