//! The handle that `rpc` and `http` hold: a call, an answer.

mod audit;
mod directives;
mod fleet;
mod outlook;
mod patience;
mod records;
mod registration;
mod trainers;

use std::sync::{Arc, PoisonError, atomic::Ordering::SeqCst};

use tokio::sync::oneshot;
use tracing::{Span, error};

pub use fleet::{Fleet, Sight};
pub(crate) use outlook::off_told;
pub use outlook::{Glance, Outlook};
pub use records::Watch;

use super::{
    api::{Change, Curve, CurveSteps, Error, JobView, Order, Settings},
    commit::outcome,
    directory::{Found, Held},
    entry::Entry,
    moment::Moment,
    preview, record,
    service::Service,
    shard::{Command, Reply},
    tasks,
    ticket::Ticket,
};
use lrs_model::{
    change::{Change as Record, ChangeKind},
    decision::Decision,
    filter::JobQuery,
    job::{Idle, JobRow, State},
    name::JobName,
    spec::Spec,
};
use lrs_runtime::{clock::Clock, error::Cause};
use lrs_store::{JobCount, ListedJob, Store, Write};

/// The engine. Cheap to clone.
#[derive(Clone)]
pub struct Engine(Arc<Service>);

impl Engine {
    /// An engine over `store`. It is ready when the database has answered once; each job is read when somebody asks for
    /// it.
    #[must_use]
    pub fn start(settings: Settings, store: Arc<dyn Store>, clock: Arc<dyn Clock>) -> Self {
        Self(tasks::start(settings, store, clock))
    }

    /// Why calls cannot be served now, if they cannot.
    ///
    /// # Errors
    /// With the reason, for people: the jobs are being counted, or the database is away.
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

    /// Waits until the database has answered once.
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
        Ok(self.seen(name).await?.0)
    }

    /// Jobs, ended or not.
    ///
    /// # Errors
    /// If the store is away.
    pub async fn list_jobs(&self, query: JobQuery) -> Result<Vec<JobView>, Error> {
        let jobs = self.0.reads.list_jobs(&query).await?;
        let moment = self.0.context.moment();
        let view = |job: ListedJob| {
            let entry = self.0.context.directory.peek(job.row.name.as_str());
            let entry = entry.filter(|entry| entry.id == job.row.id && entry.check_sound().is_ok());
            entry.map_or_else(|| stored_view(job, moment), |entry| entry.view(moment))
        };
        Ok(jobs.into_iter().map(view).collect())
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
        let (id, record, damaged) = match self.entry(name.as_str()).await {
            Ok(held) if held.check_sound().is_ok() => {
                let (id, asked) = (held.id, self.0.context.tenure.ask());
                let command = |ticket, reply| Command::Delete { id, etag, force, order, ticket, reply };
                let deleted = self.ask(&held, command).await;
                self.vouched(asked, deleted).await?;
                self.0.removals.fetch_add(1, SeqCst);
                self.uncount();
                return Ok(());
            }
            // A job that is out of service can only be deleted.
            Ok(held) => {
                let detail = "out of service".to_owned();
                (held.id, Record { detail, ..record::change(&held.row(), kind, &order, now) }, Some(held))
            }
            Err(Error::JobEnded { .. }) => {
                let view = self.ended(name).await?;
                if let Some(expected) = etag.filter(|etag| *etag != view.etag()) {
                    return Err(Error::EtagMismatch { job: name.clone(), expected, found: view.etag() });
                }
                let detail = view.row.state.to_string();
                (view.row.id, Record { detail, ..record::change(&view.row, kind, &order, now) }, None)
            }
            Err(error) => return Err(error),
        };
        let context = &self.0.context;
        let permit = context.pipeline.try_admit(context.settings.queue_items)?;
        let ticket = Ticket::new();
        let writes = vec![record::write(&record), Write::DeleteJob(id)];
        let committed = context.pipeline.submit(id, writes, Some(permit), None, Some(ticket.clone()));
        self.answered(ticket, outcome(committed)).await?;
        record::tell(&record);
        self.0.removals.fetch_add(1, SeqCst);
        if let Some(damaged) = damaged {
            context.directory.remove(&damaged);
            context.directory.count_change_outside();
            self.uncount();
            let (entry, (done, _)) = (Arc::clone(&damaged), oneshot::channel());
            drop(damaged);
            let _ = self.0.shard(id).send(Command::Leave(entry, done)).await;
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
        let entry = self.live(name.as_str()).await?;
        let known = self.known_change(name, &order).await?.filter(|known| known.job == entry.id);
        if let Some(known) = known.filter(|known| known.decision.is_none() && !matches!(change, Change::Spec { .. })) {
            record::check_repeat(&known, &[], &order)?;
        }
        let (id, asked) = (entry.id, self.0.context.tenure.ask());
        let changed = self.ask(&entry, |ticket, reply| Command::Change { id, change, order, ticket, reply }).await;
        // What was stored is proven by that. Otherwise there was nothing to change, or an earlier request did.
        let is_as_wanted = matches!(changed, Ok((_, None)));
        match self.vouched(asked, changed).await {
            Err(Error::OutcomeUnknown(_)) if is_as_wanted => Err(self.late()),
            answer => answer,
        }
    }

    /// Whether this request of a change of one of these kinds was answered before. Of a change of the rate the job
    /// itself knows.
    ///
    /// # Errors
    /// If the request asked for something else then, or the store is away.
    pub async fn is_repeat(&self, name: &JobName, kinds: &[ChangeKind], order: &Order) -> Result<bool, Error> {
        let Some(known) = self.known_change(name, order).await? else { return Ok(false) };
        // A job that was deleted may have a successor of its name. Only the deletion itself can be repeated then.
        if known.kind != ChangeKind::Deleted && self.identity(name).await? != known.job {
            return Ok(false);
        }
        record::check_repeat(&known, kinds, order).map(|()| true)
    }

    /// The change of a job of this name that was asked for by this request, if there was one.
    async fn known_change(&self, name: &JobName, order: &Order) -> Result<Option<Record>, Error> {
        let Some(request_id) = &order.request_id else { return Ok(None) };
        Ok(self.0.reads.change_by_request(name, request_id).await?)
    }

    /// Ends a job.
    ///
    /// # Errors
    /// If there is none, or it has ended otherwise already.
    pub async fn complete_job(&self, name: &JobName, outcome: State, order: Order) -> Result<JobView, Error> {
        if self.is_repeat(name, &[record::of_end(outcome)], &order).await? {
            return self.job(name).await;
        }
        let completed = match self.live(name.as_str()).await {
            Ok(entry) => {
                let (id, asked) = (entry.id, self.0.context.tenure.ask());
                let command = |ticket, reply| Command::Complete { id, outcome, order, ticket, reply };
                let completed = self.ask(&entry, command).await;
                self.vouched(asked, completed).await
            }
            Err(error) => Err(error),
        };
        match completed {
            Ok(view) => {
                self.uncount();
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

    /// Asks a job's owner for a change, and waits for it as long as for the database.
    async fn ask<T>(&self, entry: &Entry, command: impl FnOnce(Ticket, Reply<T>) -> Command) -> Result<T, Error> {
        let (reply, answer) = oneshot::channel();
        let shard = self.0.shard(entry.id);
        let ticket = Ticket::new();
        let command = Command::For(Span::current(), Box::new(command(ticket.clone(), reply)));
        let answer = async {
            shard.send(command).await.map_err(|_| self.0.context.why_closed())?;
            answer.await.unwrap_or_else(|_| Err(self.0.context.why_closed()))
        };
        match self.answered(ticket, answer).await {
            // The job ended or was deleted while the command was on its way.
            Err(Error::JobNotFound(_)) => Err(self.why_not_live(&entry.name).await),
            answer => answer,
        }
    }

    /// A job that has not ended, to be used: from memory, or read from the store.
    ///
    /// # Errors
    /// If there is none, it has ended, it cannot be read now, or there is no room for it in memory.
    async fn entry(&self, name: &str) -> Result<Held, Error> {
        loop {
            match self.0.context.directory.find(name) {
                Found::Held(held) => return Ok(held),
                Found::Missing => {
                    self.check_ready()?;
                    let parsed: JobName = name.parse().map_err(|_| Error::JobNotFound(name.to_owned()))?;
                    let asked = self.0.context.tenure.ask();
                    match self.0.loader.load(parsed).await {
                        Ok(Some(held)) => return Ok(held),
                        Ok(None) => {}
                        // Another owner may have registered it.
                        Err(none @ Error::JobNotFound(_)) => return self.vouched(asked, Err(none)).await,
                        Err(error) => return Err(error),
                    }
                }
                Found::Leaving(entry) => {
                    let left = tokio::time::timeout(
                        self.0.context.settings.store_timeout,
                        self.0.context.directory.left(&entry),
                    )
                    .await;
                    let why = "the job is still being saved, try again".to_owned();
                    left.map_err(|_| Error::StoreUnavailable(Cause::new(why)))?;
                }
            }
        }
    }

    /// The jobs in memory.
    pub(crate) fn entries(&self) -> Vec<Arc<Entry>> {
        self.0.context.directory.entries()
    }

    /// This moment, for saying how long jobs have been idle.
    pub(crate) fn moment(&self) -> Moment {
        self.0.context.moment()
    }

    /// How many jobs the database has, by state and by how long they have been idle.
    pub(crate) async fn counted(&self, moment: Moment) -> Result<Vec<JobCount>, Error> {
        let mut counts = self.0.reads.count_jobs(moment.before()).await?;
        let ended = self.0.reads.count_ended_jobs().await?;
        counts.extend(ended.into_iter().map(|(state, count)| JobCount { state, idle: Idle::Active, count }));
        Ok(counts)
    }

    /// Counts one job less that has not ended. The next count puts right what is not known of abandoned ones.
    pub(super) fn uncount(&self) {
        let _ = self.0.jobs.fetch_update(SeqCst, SeqCst, |jobs| jobs.checked_sub(1));
    }

    fn check_ready(&self) -> Result<(), Error> {
        self.0.readiness.borrow().clone().map_err(|why| Error::StoreUnavailable(Cause::new(why)))
    }

    /// A job that has not ended and is sound, to be used.
    async fn live(&self, name: &str) -> Result<Held, Error> {
        let held = self.entry(name).await?;
        held.check_sound()?;
        Ok(held)
    }

    /// A job as it is, ended or not; if it has not ended, to be used.
    async fn seen(&self, name: &JobName) -> Result<(JobView, Option<Held>), Error> {
        match self.live(name.as_str()).await {
            Ok(held) => Ok((held.view(self.0.context.moment()), Some(held))),
            Err(Error::JobEnded { .. }) => Ok((self.ended(name).await?, None)),
            Err(error) => Err(error),
        }
    }

    async fn why_not_live(&self, name: &JobName) -> Error {
        if let Err(not_ready) = self.check_ready() {
            return not_ready;
        }
        let asked = self.0.context.tenure.ask();
        match self.0.reads.job(name).await {
            Ok(Some(row)) if row.state.is_ended() => Error::JobEnded { job: name.clone(), state: row.state },
            // Another owner may have registered it.
            Ok(_) => match self.vouched(asked, Ok(())).await {
                Ok(()) => Error::JobNotFound(name.to_string()),
                Err(error) => error,
            },
            Err(error) => error.into(),
        }
    }

    async fn ended(&self, name: &JobName) -> Result<JobView, Error> {
        self.check_ready()?;
        let row = self.0.reads.job(name).await?.ok_or_else(|| Error::JobNotFound(name.to_string()))?;
        self.ended_view(row).await
    }

    async fn ended_view(&self, row: JobRow) -> Result<JobView, Error> {
        let attempts = self.0.reads.attempts(row.id).await?;
        let attempt = attempts.last().map_or(0, |row| row.attempt);
        let active_time = row.update_time;
        Ok(stored_view(ListedJob { row, attempt, active_time }, self.0.context.moment()))
    }
}

/// A job that is not in memory.
fn stored_view(ListedJob { row, attempt, active_time }: ListedJob, moment: Moment) -> JobView {
    JobView::new(Arc::new(row), attempt, None, active_time, moment.before().idle(active_time))
}

/// Does `work`, which keeps a processor busy, on a thread that answers no calls.
pub(crate) async fn off_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.map_err(|_| Error::ShuttingDown)
}
