//! The handle that `rpc` and `http` hold: one command in, one answer out.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use tokio::{
    sync::{mpsc, oneshot, watch},
    task::{JoinHandle, JoinSet},
};
use tokio_util::task::TaskTracker;
use tracing::error;
use uuid::Uuid;

use super::{
    api::{
        AttemptInfo, Change, Curve, CurveSteps, DecisionPage, DirectiveAnswer, Error, Event, Fork, JobView, NewJob,
        Order, Settings, TelemetryAnswer, TelemetryQuery,
    },
    cell::Cell,
    commit::outcome,
    compiled::CompiledSpec,
    entry::Entry,
    history::{self, Records},
    preview,
    recover::{self, Loaded, lineage},
    reporter::Reporter,
    shard::{Command, Context, Reply},
    start,
    timeline::Timeline,
};
use crate::{
    clock::Clock,
    model::{
        decision::{Author, Decision, DecisionId, Effect},
        filter::JobQuery,
        job::{AttemptRow, ForkPoint, JobRow, State},
        name::{JobId, JobName},
        spec::Spec,
        violation::Violations,
    },
    store::{DecisionQuery, Outcome, Store, Write},
};

/// The engine. Cheap to clone.
#[derive(Clone)]
pub struct Engine(Arc<Inner>);

pub(super) struct Inner {
    pub(super) context: Context,
    pub(super) shards: Vec<mpsc::Sender<Command>>,
    pub(super) readiness: watch::Sender<Result<(), String>>,
    pub(super) jobs: AtomicUsize,
    /// Shards and other tasks without an end.
    pub(super) background: Mutex<JoinSet<()>>,
    /// Jobs that are being taken into service.
    pub(super) registrations: TaskTracker,
    pub(super) pipeline_task: Mutex<Option<JoinHandle<()>>>,
}

/// Commands that may wait for a shard.
pub(super) const SHARD_QUEUE: usize = 1024;

impl Engine {
    /// An engine over `store`. Recovery runs in the background; [`Engine::ready`] says when it is done.
    #[must_use]
    pub fn start(settings: Settings, store: Arc<dyn Store>, clock: Arc<dyn Clock>) -> Self {
        Self(start::start(settings, store, clock))
    }

    /// Why calls can not be served now, if they can not.
    ///
    /// # Errors
    /// With the reason, for people: the jobs are being read, or the database is away.
    pub fn ready(&self) -> Result<(), String> {
        self.0.readiness.borrow().clone()?;
        self.0.context.pipeline.health().borrow().clone().map_err(|problem| format!("the database is away: {problem}"))
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

    /// Registers a job. Idempotent by `request_id`.
    ///
    /// # Errors
    /// If the spec is wrong, the name is taken, or a bound is reached.
    pub async fn create_job(&self, job: NewJob) -> Result<JobView, Error> {
        self.check_ready()?;
        self.check_spec(&job.spec)?;
        let now = self.0.context.clock.now();
        let row = JobRow {
            id: JobId(Uuid::now_v7()),
            name: job.name,
            initial_spec: job.spec.clone(),
            spec: job.spec,
            state: State::Pending,
            state_reason: String::new(),
            version: 1,
            request_id: job.request_id,
            forked_from: None,
            create_time: now,
            update_time: now,
            end_time: None,
        };
        let write = Write::CreateJob(Box::new(row.clone()));
        self.register(row, vec![write]).await
    }

    /// Checks a spec as [`Engine::create_job`] would.
    ///
    /// # Errors
    /// Every violation.
    pub fn check_spec(&self, spec: &Spec) -> Result<(), Error> {
        CompiledSpec::try_new(spec.clone()).map(drop).map_err(Error::Invalid)
    }

    /// Writes a new job and takes it into service.
    async fn register(&self, row: JobRow, writes: Vec<Write>) -> Result<JobView, Error> {
        let context = &self.0.context;
        let limit = context.settings.max_jobs;
        if self.0.jobs.fetch_add(1, SeqCst) >= limit {
            self.0.jobs.fetch_sub(1, SeqCst);
            return Err(Error::Overloaded { what: "the table of jobs that have not ended", limit });
        }
        let permit = context.pipeline.try_admit(context.settings.queue_items);
        let permit = permit.inspect_err(|_| {
            self.0.jobs.fetch_sub(1, SeqCst);
        })?;
        let committed = context.pipeline.submit(writes, Some(permit), None);
        // On a task of its own, so that a job that is written is taken into service even if the caller goes.
        let engine = self.clone();
        let (done, answer) = oneshot::channel();
        let task = async move {
            let result = engine.adopt_written(row, outcome(committed).await).await;
            if !matches!(result, Ok((_, true))) {
                engine.0.jobs.fetch_sub(1, SeqCst);
            }
            let _ = done.send(result.map(|(view, _)| view));
        };
        drop(self.0.registrations.spawn(task));
        answer.await.unwrap_or(Err(Error::ShuttingDown))
    }

    /// The job as it is in service, and whether it was not before.
    async fn adopt_written(&self, row: JobRow, written: Result<Vec<Outcome>, Error>) -> Result<(JobView, bool), Error> {
        let context = &self.0.context;
        if let Some(Outcome::NameTaken(other)) = written?.into_iter().next() {
            let same_request = row.request_id.is_some() && other.request_id == row.request_id;
            if !same_request {
                return Err(Error::JobExists(row.name));
            }
            if other.initial_spec != row.initial_spec {
                let request_id = row.request_id.unwrap_or_default();
                return Err(Error::RequestIdReused { job: row.name, request_id });
            }
            return Ok((self.job(&other.name).await?, false));
        }
        let loaded = if row.forked_from.is_some() {
            recover::load(&*context.store, row).await?
        } else {
            let timeline = Timeline::try_new(&row.initial_spec, []).map_err(Error::Invalid)?;
            Loaded { row, attempts: Vec::new(), people: Vec::new(), timeline, running: None }
        };
        let entry = self.0.adopt(loaded).await?;
        Ok((entry.view(context.stale_before()), true))
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
    pub async fn delete_job(&self, name: &JobName, etag: Option<String>, force: bool) -> Result<(), Error> {
        self.check_ready()?;
        let id = match self.entry(name.as_str()) {
            Some(entry) if entry.check_sound().is_ok() => {
                let id = entry.id;
                self.ask(&entry, |reply| Command::Delete { id, etag, force, reply }).await?;
                self.0.jobs.fetch_sub(1, SeqCst);
                return Ok(());
            }
            // Out of service: all that can be done with it.
            Some(entry) => entry.id,
            None => {
                let view = self.ended(name).await?;
                if let Some(expected) = etag.filter(|etag| *etag != view.etag()) {
                    return Err(Error::EtagMismatch { job: name.clone(), expected, found: view.etag() });
                }
                view.row.id
            }
        };
        let context = &self.0.context;
        let permit = context.pipeline.try_admit(context.settings.queue_items)?;
        outcome(context.pipeline.submit(vec![Write::DeleteJob(id)], Some(permit), None)).await?;
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

    /// Ends a job.
    ///
    /// # Errors
    /// If there is none, or it has ended otherwise already.
    pub async fn complete_job(&self, name: &JobName, outcome: State, reason: String) -> Result<JobView, Error> {
        match self.live(name).await {
            Ok(entry) => {
                let id = entry.id;
                let view = self.ask(&entry, |reply| Command::Complete { id, outcome, reason, reply }).await?;
                self.0.jobs.fetch_sub(1, SeqCst);
                Ok(view)
            }
            Err(Error::JobEnded { state, .. }) if state == outcome => self.ended(name).await,
            Err(error) => Err(error),
        }
    }

    /// A new job that shares another's history up to a step.
    ///
    /// # Errors
    /// If there is no such job or step, the spec is wrong, or the name is taken.
    pub async fn fork_job(&self, fork: Fork) -> Result<JobView, Error> {
        self.check_ready()?;
        let source = self.job(&fork.source).await?;
        let mut violations = Violations::new();
        if let Some(progress) = &source.progress
            && fork.step > progress.complete_end
        {
            let allowed = format!("at most {}, one more than the watermark", progress.complete_end);
            violations.refuse("step", fork.step, allowed);
        }
        let spec = fork.spec.unwrap_or_else(|| source.row.spec.clone());
        if let Err(wrong) = CompiledSpec::try_new(spec.clone()) {
            violations.within("spec", |v| wrong.iter().for_each(|w| v.add(&w.field, &w.description)));
        }
        for (field, old, new) in [
            ("spec.decision_lag", source.row.spec.decision_lag, spec.decision_lag),
            ("spec.reporting_ranks", source.row.spec.reporting_ranks.into(), spec.reporting_ranks.into()),
        ] {
            if old != new {
                violations.refuse(
                    field,
                    new,
                    format_args!("{old}, as in the job forked: its history was made with it"),
                );
            }
        }
        violations.into_result(()).map_err(Error::Invalid)?;

        let context = &self.0.context;
        let now = context.clock.now();
        let source_attempt = source.attempt;
        let people = recover::people(&*context.store, source.row.id).await?;
        let kept = people.iter().rev().find(|(decision, _)| decision.effective_step <= fork.step);
        let next_seq = kept.map_or(1, |(decision, _)| match decision.id {
            DecisionId::Person { seq } => seq + 1,
            DecisionId::Controller { .. } => 1,
        });
        let job = fork.source.to_string();
        let row = JobRow {
            id: JobId(Uuid::now_v7()),
            name: fork.name,
            initial_spec: source.row.initial_spec.clone(),
            spec: spec.clone(),
            state: State::Pending,
            state_reason: String::new(),
            version: 1,
            request_id: fork.request_id,
            forked_from: Some(ForkPoint { job: job.clone(), attempt: source_attempt, step: fork.step }),
            create_time: now,
            update_time: now,
            end_time: None,
        };
        let id = row.id;
        let order = |seq, effect| {
            let decision = Decision {
                id: DecisionId::Person { seq },
                attempt: source_attempt,
                step: fork.step.saturating_sub(1),
                effective_step: fork.step,
                author: Author::Person("fork".to_owned()),
                reason: format!("forked from {job} at step {}", fork.step),
                evidence: std::collections::BTreeMap::new(),
                effect,
                create_time: now,
            };
            Write::RecordDecision(id, Box::new(decision), None)
        };
        let writes = vec![
            Write::ForkJob { row: Box::new(row.clone()), source: source.row.id, source_attempt },
            order(next_seq, Effect::Spec(Box::new(spec))),
            order(next_seq + 1, Effect::ClearOverride),
            order(next_seq + 2, Effect::Resume),
        ];
        self.register(row, writes).await
    }

    /// What happens to a job from now on; the first event is the job as it is.
    ///
    /// # Errors
    /// If there is none.
    pub async fn watch_job(&self, name: &JobName) -> Result<Watch, Error> {
        let Some(entry) = self.entry(name.as_str()) else {
            let first = Some(Event::Job(Box::new(self.ended(name).await?)));
            return Ok(Watch { first, events: None });
        };
        entry.check_sound()?;
        let events = entry.subscribe(self.0.context.settings.watch_events);
        let first = Some(Event::Job(Box::new(entry.view(self.0.context.stale_before()))));
        Ok(Watch { first, events: Some(events) })
    }

    /// A job's attempts, first to newest.
    ///
    /// # Errors
    /// If there is no such job.
    pub async fn attempts(&self, name: &JobName) -> Result<Vec<AttemptRow>, Error> {
        let view = self.job(name).await?;
        Ok(self.0.context.store.attempts(view.row.id).await?)
    }

    /// A job's decisions.
    ///
    /// # Errors
    /// If there is no such job.
    pub async fn decisions(
        &self,
        name: &JobName,
        attempt: Option<u32>,
        after: Option<u64>,
        limit: u32,
    ) -> Result<DecisionPage, Error> {
        let view = self.job(name).await?;
        self.settle().await?;
        let query = DecisionQuery { attempt, people_only: false, after, limit: limit.saturating_add(1) };
        let mut rows = self.0.context.store.decisions(view.row.id, &query).await?;
        let more = rows.len() > limit as usize;
        rows.truncate(limit as usize);
        let next = rows.last().filter(|_| more).map(|row| row.position);
        Ok(DecisionPage { decisions: rows.into_iter().map(|row| row.decision).collect(), next })
    }

    /// What a job's trainers reported.
    ///
    /// # Errors
    /// If there is no such job or attempt.
    pub async fn telemetry(&self, name: &JobName, query: TelemetryQuery) -> Result<TelemetryAnswer, Error> {
        let entry = self.entry(name.as_str());
        let cell = entry.as_ref().and_then(|entry| entry.cell_full());
        let view = self.job(name).await?;
        self.settle().await?;
        let store = &*self.0.context.store;
        let attempts = store.attempts(view.row.id).await?;
        let newest = attempts.last().map_or(0, |row| row.attempt);
        let attempt = query.attempt.unwrap_or(newest);
        if attempt > newest {
            return Err(Error::UnknownAttempt { job: name.clone(), attempt: attempt.into(), newest });
        }
        // What an attempt that still runs has reported but not closed is not a record yet.
        let complete_end = cell.filter(|cell| cell.attempt == attempt).map_or(u64::MAX, |cell| cell.complete_end());
        let end = query.end_step.min(complete_end);
        let records = Records::new(store, view.row.id, lineage(&attempts, attempt), query.start_step, end);
        history::answer(records, &query).await
    }

    /// Begins an attempt, or finds the one with this token.
    ///
    /// # Errors
    /// If there is no such job, it has ended, or the token was used with another `resume_step`.
    pub async fn start_attempt(&self, name: &JobName, token: String, resume_step: u64) -> Result<AttemptInfo, Error> {
        let entry = self.live(name).await?;
        let id = entry.id;
        self.ask(&entry, |reply| Command::Start { id, token, resume_step, reply }).await
    }

    /// The directive of `step`, and of `plan_steps` more. Waits at most `wait` for `step` to become final.
    ///
    /// An `attempt` of 0 is the newest, and makes a step final only near the trainer. Cancel safe.
    ///
    /// # Errors
    /// If there is no such job or attempt, the attempt is not the newest, or the job has ended.
    pub async fn directive(
        &self,
        name: &str,
        attempt: u64,
        step: u64,
        plan_steps: usize,
        wait: Duration,
    ) -> Result<DirectiveAnswer, Error> {
        let Some(entry) = self.entry(name) else {
            return Err(self.why_not_live(name).await);
        };
        entry.check_sound()?;
        let cell = entry.cell();
        let Some(cell) = &*cell else { return Err(Error::NoAttempt(entry.name.clone())) };
        check_attempt(&entry, cell, attempt)?;
        let commit_ahead = entry.row().spec.commit_ahead;
        if attempt != 0 {
            cell.hear(self.0.context.clock.now());
        } else if !cell.is_near(step, commit_ahead) {
            return Ok(answer(cell, step, 0, plan_steps));
        }
        let end = step.saturating_add(1).saturating_add(commit_ahead.min(plan_steps as u64));
        let given = cell.give_out(end);
        self.renew(&entry, cell, end);
        if given > step || wait.is_zero() {
            cell.check_open()?;
            return Ok(answer(cell, step, given, plan_steps));
        }
        let cell = cell.clone();
        let given = tokio::time::timeout(wait, wait_final(&cell, step, end)).await;
        cell.check_open()?;
        Ok(answer(&cell, step, given.unwrap_or(0), plan_steps))
    }

    /// Asks for a longer block when readers come near its end.
    fn renew(&self, entry: &Entry, cell: &Cell, end: u64) {
        let block = self.0.context.settings.reserve_steps;
        if end.saturating_add(block / 2) > cell.reserved_end() {
            // If the shard is that busy, the next call asks again.
            let _ = self.0.shard(entry.id).try_send(Command::Renew { id: entry.id, attempt: cell.attempt, end });
        }
    }

    /// A reporter for one rank of the newest attempt; `attempt` 0 is that one too.
    ///
    /// # Errors
    /// If there is no such job or attempt, the attempt is not the newest, or the job has ended.
    pub async fn reporter(&self, name: &JobName, attempt: u64, rank: u32) -> Result<Reporter, Error> {
        let entry = self.live(name).await?;
        let Some(cell) = entry.cell_full() else { return Err(Error::NoAttempt(name.clone())) };
        check_attempt(&entry, &cell, attempt)?;
        let ranks = entry.row().spec.reporting_ranks;
        if rank >= ranks {
            let mut violations = Violations::new();
            violations.refuse("rank", rank, format_args!("below the job's reporting_ranks, {ranks}"));
            return Err(Error::Invalid(violations));
        }
        Ok(Reporter::new(self.0.context.clone(), self.0.shard(entry.id).clone(), entry, cell, rank))
    }

    /// The curve of a spec.
    ///
    /// # Errors
    /// If the spec is wrong, or too many steps are asked for.
    pub fn preview(&self, spec: &Spec, steps: CurveSteps) -> Result<Curve, Error> {
        preview::preview(spec, steps)
    }

    /// Gives out nothing more, writes what is left, lets go of the store. Waits for all of it.
    pub async fn shutdown(&self) {
        let _ = self.0.readiness.send(Err("the server is shutting down".to_owned()));
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

    /// Waits until all that was submitted before is durable, so that a read sees it.
    async fn settle(&self) -> Result<(), Error> {
        outcome(self.0.context.pipeline.submit(Vec::new(), None, None)).await.map(drop)
    }

    async fn ask<T>(&self, entry: &Entry, command: impl FnOnce(Reply<T>) -> Command) -> Result<T, Error> {
        let (reply, answer) = oneshot::channel();
        let shard = self.0.shard(entry.id);
        shard.send(command(reply)).await.map_err(|_| Error::ShuttingDown)?;
        answer.await.unwrap_or(Err(Error::ShuttingDown))
    }

    fn entry(&self, name: &str) -> Option<Arc<Entry>> {
        self.0.context.directory.pin().get(name).cloned()
    }

    fn check_ready(&self) -> Result<(), Error> {
        self.0.readiness.borrow().clone().map_err(Error::StoreUnavailable)
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

impl Inner {
    /// Takes a job into service.
    pub(super) async fn adopt(&self, loaded: Loaded) -> Result<Arc<Entry>, Error> {
        let attempt = loaded.attempts.last().map_or(0, |row| row.attempt);
        let entry = Arc::new(Entry::new(loaded.row.clone(), attempt));
        let command = Command::Adopt(entry.clone(), Box::new(loaded));
        self.shard(entry.id).send(command).await.map_err(|_| Error::ShuttingDown)?;
        self.context.directory.pin().insert(entry.name.to_string(), entry.clone());
        Ok(entry)
    }

    pub(super) fn shard(&self, id: JobId) -> &mpsc::Sender<Command> {
        // The identifiers' low bits are random.
        let place = usize::try_from(id.0.as_u128() % self.shards.len() as u128).unwrap_or(0);
        &self.shards[place]
    }
}

fn check_attempt(entry: &Entry, cell: &Cell, attempt: u64) -> Result<(), Error> {
    let newest = cell.attempt;
    match u32::try_from(attempt) {
        Ok(attempt) if attempt == 0 || attempt == newest => Ok(()),
        Ok(attempt) if attempt < newest => Err(Error::StaleAttempt { job: entry.name.clone(), attempt, newest }),
        _ => Err(Error::UnknownAttempt { job: entry.name.clone(), attempt, newest }),
    }
}

/// Waits until `step` is final; the end of what was given out then.
async fn wait_final(cell: &Cell, step: u64, end: u64) -> u64 {
    let mut changes = cell.changes();
    loop {
        let given = cell.give_out(end);
        if given > step || cell.check_open().is_err() || changes.changed().await.is_err() {
            return given;
        }
    }
}

/// The directives of `step` and `plan_steps` more, those below `given_end` final. To be called after the steps were given out.
fn answer(cell: &Cell, step: u64, given_end: u64, plan_steps: usize) -> DirectiveAnswer {
    let timeline = cell.timeline();
    let first = step.saturating_add(1);
    let plan: Vec<_> =
        (first..first.saturating_add(plan_steps as u64)).map(|step| timeline.directive_at(step)).collect();
    DirectiveAnswer {
        attempt: cell.attempt,
        directive: timeline.directive_at(step),
        is_final: given_end > step,
        final_steps: usize::try_from(given_end.saturating_sub(first)).unwrap_or(usize::MAX).min(plan.len()),
        plan,
    }
}

/// A job's events.
pub struct Watch {
    first: Option<Event>,
    events: Option<tokio::sync::broadcast::Receiver<Event>>,
}

impl Watch {
    /// The next event; `None` when the job has ended. Cancel safe.
    pub async fn next(&mut self) -> Option<Event> {
        use tokio::sync::broadcast::error::RecvError;
        if let Some(first) = self.first.take() {
            return Some(first);
        }
        match self.events.as_mut()?.recv().await {
            Ok(event) => Some(event),
            Err(RecvError::Lagged(missed)) => Some(Event::Missed(missed)),
            Err(RecvError::Closed) => None,
        }
    }
}
