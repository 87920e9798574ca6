//! Many jobs at once: each is registered, given another spec, or left alone, all in one transaction.
//!
//! The owner of each job that changes prepares the change as it would alone, and hands over what is to be written. What
//! all of them wrote is one item of the commit pipeline, so it is committed or refused as a whole, and each owner goes
//! on when it knows the outcome.

use std::collections::HashSet;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use tokio::sync::oneshot;
use tracing::{Instrument as _, Span};
use uuid::Uuid;

use super::{
    Engine,
    registration::{Birth, as_of, exists},
    stored_view,
};
use crate::{
    api::{Applied, Apply, Change, Error, JobView, NewJob, Wanted},
    commit::{Part, Permit, outcome, withdrawn},
    directory::Held,
    record,
    shard::{Command, changes::check_spec_change},
    ticket::Ticket,
};
use lrs_control::unsettled;
use lrs_model::{
    change::{Change as Record, ChangeKind},
    decision::Decision,
    job::JobRow,
    name::{JobId, JobName},
    violation::Violations,
};
use lrs_runtime::error::Cause;
use lrs_store::{ListedJob, Outcome};

/// Jobs that are looked up at once.
const AT_ONCE: usize = 64;
/// How often to try, when somebody else changes a job between our look and our change.
const MAX_TRIES: usize = 5;

/// What is to be done about a job.
enum Plan {
    Create(Box<Birth>),
    Update { held: Held, change: Change, wanted: Box<Wanted> },
    Leave(Box<JobView>, Applied),
}

/// Jobs with what became of each.
type Results = Vec<(JobView, Applied)>;

impl Engine {
    /// Makes the jobs what they should be. Answers in the order of the jobs.
    ///
    /// # Errors
    /// If one of them cannot be made so; then none has been changed.
    pub async fn apply_jobs(&self, apply: Apply) -> Result<Results, Error> {
        self.check_ready()?;
        let mut tries = 1;
        loop {
            let answer = self.apply_once(apply.clone()).await;
            match answer {
                // An etag that the caller gave is compared before anything is prepared, and then fails for certain.
                Err(Error::EtagMismatch { job, .. }) if tries < MAX_TRIES && has_no_etag(&apply, &job) => tries += 1,
                answer => return answer,
            }
        }
    }

    async fn apply_once(&self, apply: Apply) -> Result<Results, Error> {
        let asked = self.0.context.tenure.ask();
        let names = self.in_time(self.0.names.clone().write_owned()).await?;
        let (create_only, validate_only) = (apply.create_only, apply.validate_only);
        let found = self.found(&apply.jobs).await?;
        let mut violations = Violations::new();
        let mut plans = Vec::with_capacity(found.len());
        for (index, (wanted, found)) in apply.jobs.into_iter().zip(found).enumerate() {
            if found.is_none() && wanted.etag.is_some() {
                let problem =
                    "is of a job that is there, and there is none of this name: leave it out to register the job";
                violations.add(format_args!("jobs[{index}].etag"), problem);
                continue;
            }
            match self.plan(wanted, found, create_only).await {
                Ok(plan) => plans.push(plan),
                Err(Error::Invalid(wrong)) => {
                    violations.within(format!("jobs[{index}].spec"), |v| v.absorb(&wrong));
                }
                Err(error) => return self.vouched(asked, Err(error)).await,
            }
        }
        violations.into_result(()).map_err(Error::Invalid)?;
        if validate_only {
            return Ok(plans.into_iter().map(|plan| self.foreseen(plan)).collect());
        }
        let ticket = Ticket::new();
        let (done, answer) = oneshot::channel();
        // On a task of its own, so that what has been written is told and counted even if the caller goes.
        let (engine, own) = (self.clone(), ticket.clone());
        let task = async move {
            let _names = names;
            let _ = done.send(engine.carry_out(plans, own).await);
        };
        drop(self.0.registrations.spawn(task.in_current_span()));
        let results = self.answered(ticket, async { answer.await.unwrap_or(Err(Error::ShuttingDown)) }).await;
        let is_as_wanted =
            results.as_ref().is_ok_and(|results| results.iter().all(|(_, how)| *how == Applied::Unchanged));
        match self.vouched(asked, results).await {
            Err(Error::OutcomeUnknown(_)) if is_as_wanted => Err(self.late()),
            answer => answer,
        }
    }

    /// The jobs that are there, in the order of `wanted`.
    async fn found(&self, wanted: &[Wanted]) -> Result<Vec<Option<(JobView, Option<Held>)>>, Error> {
        let names: Vec<JobName> = wanted.iter().map(|wanted| wanted.job.name.clone()).collect();
        let look = |name: JobName| {
            let engine = self.clone();
            async move {
                match engine.seen(&name).await {
                    Ok(seen) => Ok(Some(seen)),
                    Err(Error::JobNotFound(_)) => Ok(None),
                    Err(error) => Err(error),
                }
            }
        };
        stream::iter(names).map(look).buffered(AT_ONCE).try_collect().await
    }

    async fn plan(
        &self,
        mut wanted: Wanted,
        found: Option<(JobView, Option<Held>)>,
        create_only: bool,
    ) -> Result<Plan, Error> {
        let Some((view, held)) = found else {
            return Ok(Plan::Create(Box::new(self.birth(wanted.job).await?)));
        };
        if let Some(applied) = self.answered_before(&view, &wanted.job).await? {
            return Ok(Plan::Leave(Box::new(view), applied));
        }
        if let Some(expected) = wanted.etag.clone().filter(|etag| *etag != view.etag()) {
            return Err(Error::EtagMismatch { job: wanted.job.name, expected, found: view.etag() });
        }
        wanted.job.spec = as_of(wanted.job.spec, &view.row.spec);
        let (spec, before) = (&wanted.job.spec, &view.row.spec);
        if spec == before {
            return Ok(Plan::Leave(Box::new(view), Applied::Unchanged));
        }
        if create_only {
            return Err(exists(wanted.job.name, spec, before));
        }
        let Some(held) = held else {
            return Err(Error::JobEnded { job: wanted.job.name, state: view.row.state });
        };
        check_spec_change(before, spec)?;
        let change = Change::Spec { spec: Box::new(spec.clone()), version: view.row.version };
        Ok(Plan::Update { held, change, wanted: Box::new(wanted) })
    }

    /// What an earlier request with the same identifier did to a job.
    async fn answered_before(&self, view: &JobView, job: &NewJob) -> Result<Option<Applied>, Error> {
        if job.order.request_id.is_none() || view.row.request_id != job.order.request_id {
            let kinds = [ChangeKind::Updated, ChangeKind::SpecChanged];
            return Ok(self.is_repeat(&job.name, &kinds, &job.order).await?.then_some(Applied::Updated));
        }
        let first = self.birth(job.clone()).await?.row.initial_spec;
        if unsettled(as_of(first, &view.row.initial_spec)) == unsettled(view.row.initial_spec.clone()) {
            return Ok(Some(Applied::Created));
        }
        let request_id = job.order.request_id.clone().unwrap_or_default();
        Err(Error::RequestIdReused { job: job.name.clone(), request_id })
    }

    /// The result that a plan would have.
    fn foreseen(&self, plan: Plan) -> (JobView, Applied) {
        match plan {
            Plan::Create(birth) => {
                let active_time = birth.row.update_time;
                let job = ListedJob { row: birth.row, attempt: 0, active_time };
                (stored_view(job, self.0.context.moment()), Applied::Created)
            }
            Plan::Update { held, wanted, .. } => {
                let mut view = held.view(self.0.context.moment());
                let mut row = (*view.row).clone();
                row.spec = wanted.job.spec;
                view.row = row.into();
                (view, Applied::Updated)
            }
            Plan::Leave(view, applied) => (*view, applied),
        }
    }

    /// Carries the plans out in one transaction.
    async fn carry_out(&self, plans: Vec<Plan>, ticket: Ticket) -> Result<Results, Error> {
        let new_jobs = plans.iter().filter(|plan| matches!(plan, Plan::Create(_))).count();
        let permit = self.room_for(new_jobs)?;
        let result = self.committed(plans, permit, &ticket).await;
        if result.is_err() {
            // Those who have prepared a change need not wait for it any longer.
            let _ = self.0.context.pipeline.withdraw(&ticket);
            self.uncount(new_jobs);
        }
        result
    }

    async fn committed(&self, plans: Vec<Plan>, permit: Permit, ticket: &Ticket) -> Result<Results, Error> {
        let pipeline = &self.0.context.pipeline;
        let (mut writes, mut parts, mut steps) = (Vec::new(), Vec::new(), Vec::new());
        for plan in plans {
            match plan {
                Plan::Create(birth) => {
                    let Birth { row, writes: own, record } = *birth;
                    writes.extend(own);
                    steps.push(Step::Created(Box::new(row), Box::new(record)));
                }
                Plan::Leave(view, applied) => steps.push(Step::Known(view, applied)),
                Plan::Update { held, change, wanted } => {
                    let (prepared, answer) = self.prepare(&held, change, *wanted, ticket).await?;
                    match prepared {
                        Some(mut part) => {
                            writes.append(&mut part.writes);
                            parts.push((held.id, part));
                            steps.push(Step::Updated(answer, held));
                        }
                        // Somebody else has made the same change meanwhile.
                        None => steps.push(Step::Known(Box::new(replied(answer, ticket).await?), Applied::Unchanged)),
                    }
                }
            }
        }
        // After all that was submitted for these jobs before.
        let changed: HashSet<JobId> = parts.iter().map(|(id, _)| *id).collect();
        futures::future::try_join_all(changed.into_iter().map(|id| pipeline.settle(id, Some(ticket.clone())))).await?;
        let result = if writes.is_empty() {
            Ok(Vec::new())
        } else {
            let together = JobId(Uuid::now_v7());
            outcome(pipeline.submit(together, writes, Some(permit), None, Some(ticket.clone()))).await
        };
        let told = result.as_ref().map(|_| ()).map_err(Error::clone);
        for (_, part) in parts {
            part.answer(told.clone());
        }
        // Nobody else can have taken a name: that is what `names` is locked for.
        if let Some(other) = result?.into_iter().find(|outcome| *outcome != Outcome::Done) {
            return Err(Error::Store(Cause::new(format!("a job could not be registered: {other:?}"))));
        }
        let mut results = Vec::with_capacity(steps.len());
        for step in steps {
            results.push(match step {
                Step::Created(row, record) => {
                    record::tell(&record);
                    (self.born(*row), Applied::Created)
                }
                Step::Updated(answer, _held) => (replied(answer, ticket).await?, Applied::Updated),
                Step::Known(view, applied) => (*view, applied),
            });
        }
        Ok(results)
    }

    /// Has a job's owner prepare a change: what it hands over, unless nothing changes, and its answer to come.
    async fn prepare(
        &self,
        held: &Held,
        change: Change,
        wanted: Wanted,
        ticket: &Ticket,
    ) -> Result<(Option<Part>, Answer), Error> {
        let (joint, part) = oneshot::channel();
        let (reply, answer) = oneshot::channel();
        let order = wanted.job.order;
        let command = Command::Change { id: held.id, change, order, ticket: ticket.clone(), joint: Some(joint), reply };
        let command = Command::For(Span::current(), Box::new(command));
        self.0.shard(held.id).send(command).await.map_err(|_| self.0.context.why_closed())?;
        let part = tokio::select! {
            biased;
            part = part => part.ok(),
            () = ticket.withdrawn() => return Err(withdrawn()),
        };
        Ok((part, answer))
    }
}

/// An owner's answer to come.
type Answer = oneshot::Receiver<Result<(JobView, Option<Decision>), Error>>;

/// A job on its way.
enum Step {
    Created(Box<JobRow>, Box<Record>),
    Updated(Answer, Held),
    Known(Box<JobView>, Applied),
}

async fn replied(answer: Answer, ticket: &Ticket) -> Result<JobView, Error> {
    match answer.await {
        Ok(answer) => answer.map(|(view, _)| view),
        Err(_) if ticket.is_withdrawn() => Err(withdrawn()),
        Err(_) => Err(Error::ShuttingDown),
    }
}

fn has_no_etag(apply: &Apply, job: &JobName) -> bool {
    apply.jobs.iter().any(|wanted| wanted.job.name == *job && wanted.etag.is_none())
}
