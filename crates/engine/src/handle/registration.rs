//! New jobs: registered, or forked from others.

use std::{collections::BTreeMap, fmt::Display, sync::atomic::Ordering::SeqCst};

use tokio::sync::oneshot;
use tracing::Span;
use uuid::Uuid;

use super::{Engine, records::check_whole, stored_view};
use crate::{
    api::{Error, Fork, JobView, NewJob},
    commit::{Permit, outcome},
    compiled::CompiledSpec,
    native::{canonical, native},
    pages, record, recover,
    ticket::Ticket,
};
use lrs_control::{proportion::in_proportion, settled, unsettled};
use lrs_model::{
    change::{Change as Record, ChangeKind},
    decision::{Author, Decision, DecisionId, Effect, Topic},
    job::{ForkPoint, JobRow, State},
    name::{JobId, JobName},
    spec::{BaseLrFrom, Spec, Suggestion},
    violation::Violations,
};
use lrs_runtime::heavy::in_place;
use lrs_store::{DecisionQuery, ListedJob, Outcome, Write};

impl Engine {
    /// Registers a job. Harmless if it is registered already with the same spec.
    ///
    /// # Errors
    /// If the spec is wrong, the name is taken, or a bound is reached.
    pub async fn create_job(&self, job: NewJob) -> Result<JobView, Error> {
        self.check_ready()?;
        let Birth { row, writes, record } = self.birth(job).await?;
        self.register(row.id, row, writes, vec![record]).await
    }

    /// A job to be registered: what is written for it.
    pub(super) async fn birth(&self, job: NewJob) -> Result<Birth, Error> {
        let spec = self.with_base_lr(settled(job.spec, None)).await?;
        let (spec, initial_spec) = in_place(|| admit(spec)).map_err(Error::Invalid)?;
        let now = self.0.context.clock.now();
        let row = JobRow {
            id: JobId(Uuid::now_v7()),
            name: job.name,
            initial_spec,
            spec,
            state: State::Pending,
            state_reason: String::new(),
            state_author: String::new(),
            version: 1,
            request_id: job.order.request_id.clone(),
            forked_from: None,
            create_time: now,
            update_time: now,
            end_time: None,
            telemetry_removed_time: None,
        };
        let record = record::change(&row, ChangeKind::Created, &job.order, now);
        let writes = vec![Write::CreateJob(Box::new(row.clone())), record::write(&record)];
        Ok(Birth { row, writes, record })
    }

    /// The spec with the base rates that its `base_lr_from` names.
    async fn with_base_lr(&self, mut spec: Spec) -> Result<Spec, Error> {
        let wrong = |field: &str, problem: &dyn Display| {
            let mut violations = Violations::new();
            violations.add(format_args!("base_lr_from.{field}"), problem);
            Error::Invalid(violations)
        };
        match spec.base_lr_from.clone() {
            None => {}
            Some(BaseLrFrom::RangeTest(job, suggestion)) => {
                let field = "range_test";
                let source = self.source_of_base_lr(&job).await.map_err(|problem| wrong(field, &problem))?;
                let found = self.suggested(&source, suggestion).await?;
                let (kind, rate) = (suggestion.as_str(), found);
                let none = format!("{job} has no finished range test with the suggestion {kind:?}");
                let rate = rate.ok_or_else(|| wrong(field, &none))?;
                let written: Vec<f64> = spec.groups.iter().map(|group| group.base_lr).collect();
                let none = "sets the first group's base_lr and the others in proportion: write one above 0 for it";
                let base_lrs = in_proportion(rate, &written).ok_or_else(|| wrong(field, &none))?;
                spec.groups.iter_mut().zip(base_lrs).for_each(|(group, base_lr)| group.base_lr = base_lr);
            }
            Some(BaseLrFrom::StudyTrial(job)) => {
                let field = "study_trial";
                let source = self.source_of_base_lr(&job).await.map_err(|problem| wrong(field, &problem))?;
                for group in &mut spec.groups {
                    let same = source.row.spec.groups.iter().find(|other| other.name == group.name);
                    let none = format!("{job} has no parameter group {:?}", group.name);
                    group.base_lr = same.ok_or_else(|| wrong(field, &none))?.base_lr;
                }
            }
        }
        Ok(spec)
    }

    async fn source_of_base_lr(&self, job: &str) -> Result<JobView, Error> {
        let name: JobName = job.parse().map_err(|_| Error::JobNotFound(job.to_owned()))?;
        self.job(&name).await
    }

    /// The rate that the newest range test of a job suggests.
    async fn suggested(&self, source: &JobView, suggestion: Suggestion) -> Result<Option<f64>, Error> {
        let limit = pages::decisions(source.row.spec.groups.len());
        let mut query = DecisionQuery { limit, ..DecisionQuery::default() };
        let mut found = None;
        loop {
            let rows = self.0.reads.decisions(source.row.id, &query).await?;
            let Some(last) = rows.last() else { return Ok(found) };
            query.after = Some(last.position);
            let mut reports = rows.iter().rev().filter(|row| row.decision.effect == Effect::Advice(Topic::RangeTest));
            found = reports.find_map(|row| row.decision.evidence.get(suggestion.as_str()).copied()).or(found);
        }
    }

    /// Checks a spec as [`Engine::create_job`] would, and writes out its defaults.
    ///
    /// # Errors
    /// Every violation.
    pub fn check_spec(&self, spec: Spec) -> Result<Spec, Error> {
        in_place(|| admit(spec)).map(|(spec, _)| spec).map_err(Error::Invalid)
    }

    /// A new job that shares another's history up to a step.
    ///
    /// # Errors
    /// If there is no such job or step, the spec is wrong, or the name is taken.
    pub async fn fork_job(&self, fork: Fork) -> Result<JobView, Error> {
        self.check_ready()?;
        let source = self.job(&fork.source).await?;
        check_whole(&source.row)?;
        let into = format!("into {}", fork.name);
        let known = self.known_change(&fork.source, &fork.order).await?.filter(|known| known.job == source.row.id);
        if let Some(known) = known.filter(|known| known.kind != ChangeKind::ForkedInto || known.detail != into) {
            record::check_repeat(&known, &[], &fork.order)?;
        }
        let mut violations = Violations::new();
        if let Some(progress) = &source.progress
            && fork.step > progress.complete_end
        {
            let allowed = format!("at most {}, one more than the watermark", progress.complete_end);
            violations.refuse("step", fork.step, allowed);
        }
        let spec = settled(fork.spec.unwrap_or_else(|| source.row.spec.clone()), Some(&source.row.spec));
        let admitted = in_place(|| admit(spec.clone())).map(|(_, native)| native);
        if let Err(wrong) = &admitted {
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
        let native = violations.into_result(()).and(admitted).map_err(Error::Invalid)?;

        let context = &self.0.context;
        let now = context.clock.now();
        let source_attempt = source.attempt;
        let people = recover::people(&*self.0.reads, source.row.id).await?;
        // As the store copies them.
        let is_kept = |decision: &Decision| decision.effective_step < fork.step || decision.attempt < source_attempt;
        let kept = people.iter().rev().find(|(decision, _)| is_kept(decision));
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
            state_author: String::new(),
            version: 1,
            request_id: fork.order.request_id.clone(),
            forked_from: Some(ForkPoint { job: job.clone(), attempt: source_attempt, step: fork.step }),
            create_time: now,
            update_time: now,
            end_time: None,
            telemetry_removed_time: None,
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
        let mut writes = vec![
            Write::ForkJob { row: Box::new(row.clone()), source: source.row.id, source_attempt },
            order(next_seq, Effect::Spec(Box::new(native))),
            order(next_seq + 1, Effect::ClearOverride),
            order(next_seq + 2, Effect::Resume),
        ];
        let is_advice = |(decision, _): &(Decision, _)| decision.effect == Effect::Advice(Topic::Stop);
        if people.iter().any(is_advice) {
            writes.push(order(next_seq + 3, Effect::WithdrawAdvice(Topic::Stop)));
        }
        let record = |row: &JobRow, kind, detail| Record {
            detail,
            step: Some(fork.step),
            ..record::change(row, kind, &fork.order, now)
        };
        let records = vec![
            record(&row, ChangeKind::Forked, format!("from {job}")),
            record(&source.row, ChangeKind::ForkedInto, into),
        ];
        writes.extend(records.iter().map(|record| Write::RecordChange { change: Box::new(record.clone()), of: id }));
        // After everything that the source has reported so far.
        self.register(source.row.id, row, writes, records).await
    }

    /// Writes a new job, after all that was submitted for `behind`. It is taken into memory when somebody asks for it.
    async fn register(
        &self,
        behind: JobId,
        row: JobRow,
        writes: Vec<Write>,
        records: Vec<Record>,
    ) -> Result<JobView, Error> {
        let context = &self.0.context;
        let names = self.in_time(self.0.names.clone().read_owned()).await?;
        let permit = self.room_for(1)?;
        let ticket = Ticket::new();
        let committed = context.pipeline.submit(behind, writes, Some(permit), None, Some(ticket.clone()));
        // On a task of its own, so that a job that has been written is counted even if the caller goes.
        let (engine, span) = (self.clone(), Span::current());
        let (done, answer) = oneshot::channel();
        let task = async move {
            let _names = names;
            let result = engine.written(row, outcome(committed).await).await;
            if matches!(result, Ok((_, true))) {
                // Of a fork there are two records, in which the same is said.
                records.iter().take(1).for_each(|record| span.in_scope(|| record::tell(record)));
            } else {
                engine.uncount(1);
            }
            let _ = done.send(result.map(|(view, _)| view));
        };
        drop(self.0.registrations.spawn(task));
        self.answered(ticket, async { answer.await.unwrap_or(Err(Error::ShuttingDown)) }).await
    }

    /// Counts so many new jobs, and takes a place in the queue for the writes.
    ///
    /// # Errors
    /// If there is no room for them; then none is counted.
    pub(super) fn room_for(&self, new_jobs: usize) -> Result<Permit, Error> {
        let context = &self.0.context;
        let limit = context.settings.max_jobs;
        let count = |jobs: usize| jobs.checked_add(new_jobs).filter(|&jobs| new_jobs == 0 || jobs <= limit);
        if self.0.jobs.fetch_update(SeqCst, SeqCst, count).is_err() {
            return Err(Error::Overloaded { what: "the table of jobs that have not ended (max_jobs)", limit });
        }
        context.pipeline.try_admit(context.settings.queue_items).inspect_err(|_| self.uncount(new_jobs))
    }

    /// The job that was written, and whether it is new.
    async fn written(&self, row: JobRow, written: Result<Vec<Outcome>, Error>) -> Result<(JobView, bool), Error> {
        let outcome = written?.into_iter().next();
        if let (Some(Outcome::SourceGone), Some(point)) = (&outcome, &row.forked_from) {
            return Err(Error::JobNotFound(point.job.clone()));
        }
        if let Some(Outcome::NameTaken(other)) = outcome {
            let same_request = row.request_id.is_some() && other.request_id == row.request_id;
            if !same_request {
                check_same(&row, &other)?;
                return Ok((self.job(&other.name).await?, false));
            }
            // The first request may have been answered by another release.
            if unsettled(other.initial_spec) != unsettled(row.initial_spec) {
                let request_id = row.request_id.unwrap_or_default();
                return Err(Error::RequestIdReused { job: row.name, request_id });
            }
            return Ok((self.job(&other.name).await?, false));
        }
        Ok((self.born(row), true))
    }

    /// A job that has just been written.
    pub(super) fn born(&self, row: JobRow) -> JobView {
        self.0.context.directory.count_change_outside();
        let attempt = row.forked_from.as_ref().map_or(0, |point| point.attempt);
        let active_time = row.update_time;
        stored_view(ListedJob { row, attempt, active_time }, self.0.context.moment())
    }
}

/// A new job and what is written for it.
pub(super) struct Birth {
    pub(super) row: JobRow,
    pub(super) writes: Vec<Write>,
    pub(super) record: Record,
}

/// Checks that the job `other` is as `wanted`, so that there is nothing to register.
fn check_same(wanted: &JobRow, other: &JobRow) -> Result<(), Error> {
    let spec = as_of(wanted.spec.clone(), &other.spec);
    if spec == other.spec && wanted.forked_from == other.forked_from {
        return Ok(());
    }
    Err(exists(wanted.name.clone(), &spec, &other.spec))
}

/// That a job is there with the spec `found`, not the one `wanted`.
pub(super) fn exists(job: JobName, wanted: &Spec, found: &Spec) -> Error {
    let differs = if wanted == found { "it was forked".to_owned() } else { record::fields_changed(found, wanted) };
    Error::JobExists { job, differs }
}

/// `wanted`, with what is decided once, when a job is registered, as the job with the spec `found` has it, and so what
/// both say in other words, such as a default that is written out.
pub(super) fn as_of(wanted: Spec, found: &Spec) -> Spec {
    let mut spec = settled(wanted, Some(found));
    if spec.base_lr_from.is_some() && spec.base_lr_from == found.base_lr_from {
        for group in &mut spec.groups {
            let same = found.groups.iter().find(|other| other.name == group.name);
            group.base_lr = same.map_or(group.base_lr, |other| other.base_lr);
        }
    }
    if spec == *found { spec } else { in_place(|| in_words_of(spec, found)) }
}

/// `spec` in the words of `found`, where they mean the same.
fn in_words_of(mut spec: Spec, found: &Spec) -> Spec {
    let (ours, theirs) = (native(&spec), native(found));
    // A library's scheduler may say more than the rate.
    let curves =
        |spec: &Spec| (spec.schedule.clone(), spec.momentum_schedule.clone(), spec.weight_decay_schedule.clone());
    if curves(&ours) == curves(&theirs) {
        (spec.schedule, spec.momentum_schedule, spec.weight_decay_schedule) = curves(found);
    }
    if ours.groups == theirs.groups {
        spec.groups.clone_from(&found.groups);
    }
    if ours.controllers == theirs.controllers {
        spec.controllers.clone_from(&found.controllers);
    }
    spec
}

/// A spec that may be stored, with its defaults written out, and the same in our own words, by which its rates are
/// computed. What another library says in a short list can be too long a list in ours.
fn admit(spec: Spec) -> Result<(Spec, Spec), Violations> {
    CompiledSpec::admit(spec.clone())?;
    let spec = canonical(spec);
    let native = native(&spec);
    CompiledSpec::try_new(native.clone())?;
    Ok((spec, native))
}
