//! New jobs: registered, or forked from others.

use std::{collections::BTreeMap, sync::atomic::Ordering::SeqCst, time::Duration};

use tokio::sync::oneshot;
use uuid::Uuid;

use super::Engine;
use crate::{
    engine::{
        api::{Error, Fork, JobView, NewJob},
        commit::outcome,
        compiled::CompiledSpec,
        native::native,
        recover::{self, Loaded},
        start,
        timeline::Timeline,
    },
    model::{
        decision::{Author, Decision, DecisionId, Effect},
        job::{ForkPoint, JobRow, State},
        name::JobId,
        spec::Spec,
        violation::Violations,
    },
    store::{Outcome, Write},
};

impl Engine {
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
            initial_spec: native(&job.spec),
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
            ("spec.tier", source.row.spec.tier.number().into(), spec.tier.number().into()),
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
        let kept = people.iter().rev().find(|(decision, _)| decision.effective_step < fork.step);
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
                evidence: BTreeMap::new(),
                effect,
                create_time: now,
            };
            Write::RecordDecision(id, Box::new(decision), None)
        };
        let writes = vec![
            Write::ForkJob { row: Box::new(row.clone()), source: source.row.id, source_attempt },
            order(next_seq, Effect::Spec(Box::new(native(&spec)))),
            order(next_seq + 1, Effect::ClearOverride),
            order(next_seq + 2, Effect::Resume),
        ];
        self.register(row, writes).await
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

    /// Reads a fork that was just written, until the database lets it: nobody else takes it into service before the next start.
    async fn load_written(&self, row: JobRow) -> Result<Loaded, Error> {
        let (id, name) = (row.id, row.name.clone());
        let mut backoff = Duration::from_millis(20);
        loop {
            match recover::load(&*self.0.context.store, row.clone()).await {
                Err(failure) if failure.is_transient() => {
                    tokio::time::sleep(backoff).await;
                    backoff = (backoff * 2).min(Duration::from_secs(1));
                    // Not while the server shuts down.
                    self.check_ready()?;
                }
                Err(failure) => {
                    start::take_out_of_service(&self.0, id, name.as_str(), &failure);
                    self.0.jobs.fetch_add(1, SeqCst);
                    return Err(Error::JobDamaged { job: name.to_string(), problem: failure.to_string() });
                }
                Ok(loaded) => return Ok(loaded),
            }
        }
    }

    /// The job as it is in service, and whether it was not before.
    async fn adopt_written(&self, row: JobRow, written: Result<Vec<Outcome>, Error>) -> Result<(JobView, bool), Error> {
        let context = &self.0.context;
        let outcome = written?.into_iter().next();
        if let (Some(Outcome::SourceGone), Some(point)) = (&outcome, &row.forked_from) {
            return Err(Error::JobNotFound(point.job.clone()));
        }
        if let Some(Outcome::NameTaken(other)) = outcome {
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
            self.load_written(row).await?
        } else {
            let timeline = Timeline::try_new(&row.initial_spec, []).map_err(Error::Invalid)?;
            Loaded { row, attempts: Vec::new(), people: Vec::new(), timeline, running: None }
        };
        let entry = self.0.adopt(loaded).await?;
        Ok((entry.view(context.stale_before()), true))
    }
}
