//! The service for operators. Many jobs at once are in [`apply`], listings in [`listing`], the change of a
//! spec in [`update`], the stream of events in
//! [`watch`].

use crate::rpc::status;
use std::{collections::BTreeMap, pin::Pin};

use futures::Stream;
use tonic::{Request, Response, Status};

use super::{
    convert::{self, step},
    door::Door,
    fields::{self, checked, only_job_name},
};
use lrs_engine::{Change, Engine, Error, Fork, NewJob};
use lrs_model::{
    job::State,
    name::{JobName, parse_parent},
    violation::Violations,
};
use lrs_proto::{
    AdviseStopRequest, ApplyJobsRequest, ApplyJobsResponse, CompleteJobRequest, CreateJobRequest, Decision,
    DeleteJobRequest, ForkJobRequest, GetJobRequest, Job, ListAttemptsRequest, ListAttemptsResponse,
    ListChangesRequest, ListChangesResponse, ListDecisionsRequest, ListDecisionsResponse, ListJobsRequest,
    ListJobsResponse, OverrideLearningRateRequest, PauseJobRequest, QueryTelemetryRequest, QueryTelemetryResponse,
    ResumeJobRequest, UpdateJobRequest, WatchJobRequest, WatchJobResponse, job, job_service_server::JobService,
    override_learning_rate_request,
};
use lrs_runtime::heavy::in_place;

mod apply;
mod listing;
mod recorded;
mod update;
mod watch;

/// [`JobService`] in front of the engine.
#[derive(Clone)]
pub struct Jobs {
    door: Door,
}

impl Jobs {
    pub(super) fn new(door: Door) -> Self {
        Self { door }
    }

    /// Pauses or resumes a job.
    async fn steer(
        &self,
        change: Change,
        name: &str,
        author: String,
        reason: String,
        request_id: String,
    ) -> Result<Response<Job>, Status> {
        let mut violations = Violations::new();
        let name = fields::job_name(&mut violations, "name", name);
        let order = fields::order(&mut violations, author, reason, request_id);
        let name = checked(violations, name).map_err(status::of)?;
        let (job, _) = self.door.engine()?.change_job(&name, change, order).await.map_err(status::of)?;
        Ok(Response::new(convert::job::to_proto(&job)))
    }
}

#[tonic::async_trait]
impl JobService for Jobs {
    async fn create_job(&self, request: Request<CreateJobRequest>) -> Result<Response<Job>, Status> {
        let _turn = self.door.turn_for(request.get_ref()).await?;
        let CreateJobRequest { parent, job_id, job, request_id, validate_only, reason, author } = request.into_inner();
        let engine = self.door.engine()?;
        let mut v = Violations::new();
        let name = fields::child_name(&mut v, &parent, &job_id);
        let order = fields::order(&mut v, author, reason, request_id);
        let mut job = job.unwrap_or_default();
        let spec = fields::spec(&mut v, &engine, "job.spec", job.spec.take());
        if let Some(name) = &name {
            check_given(&mut v, &engine, name, &job).await.map_err(status::of)?;
        }
        let (name, spec) = checked(v, name.zip(spec)).map_err(status::of)?;
        if validate_only {
            let spec = Some(convert::spec::to_proto(&spec));
            return Ok(Response::new(Job { name: name.to_string(), spec, ..Job::default() }));
        }
        let job =
            engine.create_job(NewJob { name, spec, order }).await.map_err(below("job.spec")).map_err(status::of)?;
        Ok(Response::new(in_place(|| convert::job::to_proto(&job))))
    }

    async fn apply_jobs(&self, request: Request<ApplyJobsRequest>) -> Result<Response<ApplyJobsResponse>, Status> {
        let _turn = self.door.turn_for(request.get_ref()).await?;
        let applied = apply::apply(&self.door.engine()?, request.into_inner()).await.map_err(status::of)?;
        Ok(Response::new(in_place(|| apply::to_proto(&applied))))
    }

    async fn get_job(&self, request: Request<GetJobRequest>) -> Result<Response<Job>, Status> {
        let name = only_job_name("name", &request.get_ref().name).map_err(status::of)?;
        let job = self.door.engine()?.job(&name).await.map_err(status::of)?;
        Ok(Response::new(convert::job::to_proto(&job)))
    }

    async fn list_jobs(&self, request: Request<ListJobsRequest>) -> Result<Response<ListJobsResponse>, Status> {
        let _turn = self.door.read().await?;
        Ok(Response::new(listing::jobs(&self.door.engine()?, &request.into_inner()).await.map_err(status::of)?))
    }

    async fn update_job(&self, request: Request<UpdateJobRequest>) -> Result<Response<Job>, Status> {
        let _turn = self.door.turn_for(request.get_ref()).await?;
        let job = update::update(&self.door.engine()?, request.into_inner()).await.map_err(status::of)?;
        Ok(Response::new(in_place(|| convert::job::to_proto(&job))))
    }

    async fn delete_job(&self, request: Request<DeleteJobRequest>) -> Result<Response<pbjson_types::Empty>, Status> {
        let DeleteJobRequest { name, etag, force, reason, author, request_id } = request.into_inner();
        let mut v = Violations::new();
        let name = fields::job_name(&mut v, "name", &name);
        let order = fields::order(&mut v, author, reason, request_id);
        let name = checked(v, name).map_err(status::of)?;
        let etag = (!etag.is_empty()).then_some(etag);
        self.door.engine()?.delete_job(&name, etag, force, order).await.map_err(status::of)?;
        Ok(Response::new(pbjson_types::Empty {}))
    }

    async fn pause_job(&self, request: Request<PauseJobRequest>) -> Result<Response<Job>, Status> {
        let PauseJobRequest { name, reason, author, request_id } = request.into_inner();
        self.steer(Change::Pause, &name, author, reason, request_id).await
    }

    async fn resume_job(&self, request: Request<ResumeJobRequest>) -> Result<Response<Job>, Status> {
        let ResumeJobRequest { name, reason, author, request_id } = request.into_inner();
        self.steer(Change::Resume, &name, author, reason, request_id).await
    }

    async fn complete_job(&self, request: Request<CompleteJobRequest>) -> Result<Response<Job>, Status> {
        let CompleteJobRequest { name, outcome, reason, author, request_id } = request.into_inner();
        let mut v = Violations::new();
        let name = fields::job_name(&mut v, "name", &name);
        let outcome = outcome_from_proto(&mut v, outcome);
        let order = fields::order(&mut v, author, reason, request_id);
        let (name, outcome) = checked(v, name.zip(outcome)).map_err(status::of)?;
        let job = self.door.engine()?.complete_job(&name, outcome, order).await.map_err(status::of)?;
        Ok(Response::new(convert::job::to_proto(&job)))
    }

    async fn override_learning_rate(
        &self,
        request: Request<OverrideLearningRateRequest>,
    ) -> Result<Response<Decision>, Status> {
        let OverrideLearningRateRequest { name, reason, author, request_id, order } = request.into_inner();
        let mut v = Violations::new();
        let name = fields::job_name(&mut v, "name", &name);
        let change = override_change(&mut v, order);
        let order = fields::order(&mut v, author, reason, request_id);
        let (name, change) = checked(v, name.zip(change)).map_err(status::of)?;
        let (job, decision) =
            self.door.engine()?.change_job(&name, change, order).await.map_err(below("set")).map_err(status::of)?;
        let decision = decision
            .ok_or_else(|| Error::WrongState {
                job: name.clone(),
                state: job.row.state,
                problem: "its learning rate is not overridden, so there is nothing to clear".to_owned(),
            })
            .map_err(status::of)?;
        Ok(Response::new(convert::decision::answer_to_proto(&job, &decision)))
    }

    async fn advise_stop(&self, request: Request<AdviseStopRequest>) -> Result<Response<Decision>, Status> {
        let AdviseStopRequest { name, withdraw, reason, author, evidence, request_id } = request.into_inner();
        let mut v = Violations::new();
        let name = fields::job_name(&mut v, "name", &name);
        let change = advice_change(&mut v, withdraw, &reason, evidence);
        let order = fields::order(&mut v, author, reason, request_id);
        let (job, decision) = self
            .door
            .engine()?
            .change_job(&checked(v, name).map_err(status::of)?, change, order)
            .await
            .map_err(status::of)?;
        let decision = decision.ok_or_else(|| Status::internal("advice led to no decision"))?;
        Ok(Response::new(convert::decision::answer_to_proto(&job, &decision)))
    }

    async fn fork_job(&self, request: Request<ForkJobRequest>) -> Result<Response<Job>, Status> {
        let _turn = self.door.turn_for(request.get_ref()).await?;
        let engine = self.door.engine()?;
        let mut v = Violations::new();
        let fork =
            fork_from_proto(&mut v, request.into_inner(), |v, spec| fields::spec(v, &engine, "spec", Some(spec)));
        let job = engine.fork_job(checked(v, fork).map_err(status::of)?).await.map_err(status::of)?;
        Ok(Response::new(in_place(|| convert::job::to_proto(&job))))
    }

    type WatchJobStream = Pin<Box<dyn Stream<Item = Result<WatchJobResponse, Status>> + Send>>;

    async fn watch_job(&self, request: Request<WatchJobRequest>) -> Result<Response<Self::WatchJobStream>, Status> {
        let name = only_job_name("name", &request.get_ref().name).map_err(status::of)?;
        let events = self.door.engine()?.watch_job(&name).await.map_err(status::of)?;
        Ok(Response::new(Box::pin(watch::responses(name, events, self.door.drain().clone()))))
    }

    async fn list_attempts(
        &self,
        request: Request<ListAttemptsRequest>,
    ) -> Result<Response<ListAttemptsResponse>, Status> {
        Ok(Response::new(listing::attempts(&self.door.engine()?, &request.into_inner()).await.map_err(status::of)?))
    }

    async fn list_decisions(
        &self,
        request: Request<ListDecisionsRequest>,
    ) -> Result<Response<ListDecisionsResponse>, Status> {
        Ok(Response::new(listing::decisions(&self.door.engine()?, &request.into_inner()).await.map_err(status::of)?))
    }

    async fn list_changes(
        &self,
        request: Request<ListChangesRequest>,
    ) -> Result<Response<ListChangesResponse>, Status> {
        Ok(Response::new(listing::changes(&self.door.engine()?, request.get_ref()).await.map_err(status::of)?))
    }

    async fn query_telemetry(
        &self,
        request: Request<QueryTelemetryRequest>,
    ) -> Result<Response<QueryTelemetryResponse>, Status> {
        let _turn = self.door.read().await?;
        Ok(Response::new(listing::telemetry(&self.door.engine()?, request.into_inner()).await.map_err(status::of)?))
    }
}

/// Puts `field`, the field of the request that holds the checked part, in front of the paths of the engine's
/// violations.
fn below(field: &'static str) -> impl Fn(Error) -> Error {
    move |error| match error {
        Error::Invalid(found) => {
            let mut violations = Violations::new();
            violations.within(field, |v| v.absorb(&found));
            Error::Invalid(violations)
        }
        other => other,
    }
}

/// Notes what a request to register `name` says of the job beside its spec, where that is not so.
async fn check_given(v: &mut Violations, engine: &Engine, name: &JobName, job: &Job) -> Result<(), Error> {
    if !job.name.is_empty() && job.name != name.as_str() {
        let allowed = format_args!("{:?}, as `parent` and `job_id` say, or left out", name.as_str());
        v.refuse("job.name", format_args!("{:?}", job.name), allowed);
    }
    if job.etag.is_empty() && !recorded::is_in(job) {
        return Ok(());
    }
    match engine.job(name).await {
        Ok(current) if !job.etag.is_empty() && job.etag != current.etag() => {
            Err(Error::EtagMismatch { job: name.clone(), expected: job.etag.clone(), found: current.etag() })
        }
        Ok(current) => {
            v.within("job", |v| recorded::refuse(v, job, &current));
            Ok(())
        }
        Err(Error::JobNotFound(_)) => {
            v.within("job", |v| recorded::refuse_for_new(v, job));
            Ok(())
        }
        Err(error) => Err(error),
    }
}

fn outcome_from_proto(v: &mut Violations, outcome: i32) -> Option<State> {
    match job::State::try_from(outcome) {
        Ok(job::State::Unspecified | job::State::Completed) => Some(State::Completed),
        Ok(job::State::Failed) => Some(State::Failed),
        Ok(job::State::Cancelled) => Some(State::Cancelled),
        other => {
            let found = other.map_or_else(|_| outcome.to_string(), |state| state.as_str_name().to_owned());
            v.refuse("outcome", found, "STATE_COMPLETED, STATE_FAILED or STATE_CANCELLED");
            None
        }
    }
}

fn override_change(v: &mut Violations, order: Option<override_learning_rate_request::Order>) -> Option<Change> {
    use override_learning_rate_request::Order;
    match order {
        Some(Order::Set(rate)) => {
            Some(Change::Override(v.within("set", |v| convert::decision::override_from_proto(rate, v))))
        }
        Some(Order::Clear(_)) => Some(Change::ClearOverride),
        None => {
            v.add("order", "is required: exactly one of `set` and `clear`");
            None
        }
    }
}

fn advice_change(v: &mut Violations, withdraw: bool, reason: &str, evidence: BTreeMap<String, f64>) -> Change {
    if withdraw {
        return Change::WithdrawStop;
    }
    if reason.trim().is_empty() {
        v.add("reason", "is required: it is what the trainer is told");
    }
    fields::figures(v, "evidence", &evidence);
    Change::AdviseStop { evidence }
}

fn fork_from_proto(
    v: &mut Violations,
    request: ForkJobRequest,
    read_spec: impl FnOnce(&mut Violations, lrs_proto::JobSpec) -> Option<lrs_model::spec::Spec>,
) -> Option<Fork> {
    let source: Option<JobName> = fields::job_name(v, "name", &request.name);
    let step = step(v, "step", request.step);
    let order = fields::order(v, request.author, request.reason, request.request_id);
    let parent = match (&source, request.parent) {
        (Some(source), parent) if parent.is_empty() => format!("namespaces/{}", source.namespace()),
        (_, parent) => parent,
    };
    // Without a source, a missing parent is allowed; then only the identifier is checked.
    let parent = if source.is_none() && parse_parent(&parent).is_err() { "namespaces/any".to_owned() } else { parent };
    let name = fields::child_name(v, &parent, &request.job_id);
    let spec = request.spec.and_then(|spec| read_spec(v, spec));
    Some(Fork { source: source?, step, name: name?, spec, order })
}

#[cfg(test)]
mod tests {
    use super::*;
    use lrs_model::decision::OverrideSetting;
    use lrs_proto as proto;

    fn fields_of(v: &Violations) -> Vec<&str> {
        v.iter().map(|violation| violation.field.as_str()).collect()
    }

    #[test]
    fn an_outcome_is_an_end() {
        let mut v = Violations::new();
        assert_eq!(outcome_from_proto(&mut v, 0), Some(State::Completed));
        assert_eq!(outcome_from_proto(&mut v, job::State::Cancelled.into()), Some(State::Cancelled));
        assert!(v.is_empty());
        assert_eq!(outcome_from_proto(&mut v, job::State::Paused.into()), None);
        assert_eq!(outcome_from_proto(&mut v, 99), None);
        assert!(v.to_string().contains("STATE_PAUSED is not allowed"), "{v}");
    }

    #[test]
    fn an_override_sets_or_clears() {
        use override_learning_rate_request::Order;
        let mut v = Violations::new();
        assert_eq!(override_change(&mut v, Some(Order::Clear(proto::OverrideCleared {}))), Some(Change::ClearOverride));
        let set = |factor| {
            Some(Order::Set(proto::RateOverride {
                end_step: None,
                setting: Some(proto::rate_override::Setting::Factor(factor)),
            }))
        };
        let Some(Change::Override(order)) = override_change(&mut v, set(0.5)) else { panic!("not an override") };
        assert_eq!(order.setting, OverrideSetting::Factor(0.5));
        assert!(v.is_empty());
        let nothing = proto::RateOverride { end_step: Some(-1), setting: None };
        override_change(&mut v, Some(Order::Set(nothing)));
        override_change(&mut v, None);
        assert_eq!(fields_of(&v), ["set", "set.end_step", "order"]);
    }

    #[test]
    fn advice_to_stop_says_why_and_taking_it_back_need_not() {
        let mut v = Violations::new();
        assert_eq!(advice_change(&mut v, true, "", BTreeMap::new()), Change::WithdrawStop);
        assert!(v.is_empty());
        advice_change(&mut v, false, " ", (0..65).map(|i| (i.to_string(), 0.0)).collect());
        assert_eq!(fields_of(&v), ["reason", "evidence"]);
        let mut v = Violations::new();
        advice_change(&mut v, false, "why", BTreeMap::from([(String::new(), f64::NAN)]));
        assert_eq!(fields_of(&v), ["evidence"]);
    }

    #[test]
    fn a_fork_stays_in_its_namespace_unless_told_otherwise() {
        let mut v = Violations::new();
        let request =
            ForkJobRequest { name: "namespaces/a/jobs/b".into(), step: 5, job_id: "c".into(), ..Default::default() };
        let fork = fork_from_proto(&mut v, request, |_, _| None).unwrap();
        assert!(v.is_empty());
        assert_eq!((fork.name.as_str(), fork.step, fork.spec), ("namespaces/a/jobs/c", 5, None));
    }

    #[test]
    fn everything_wrong_with_a_fork_is_named_at_once() {
        let mut v = Violations::new();
        let request = ForkJobRequest { name: "b".into(), step: -1, ..Default::default() };
        assert_eq!(fork_from_proto(&mut v, request, |_, _| None), None);
        assert_eq!(fields_of(&v), ["name", "step", "job_id"]);
    }

    #[test]
    fn what_the_engine_finds_is_put_where_it_stands_in_the_request() {
        let mut found = Violations::new();
        found.add("groups[0].base_lr", "is wrong");
        let Error::Invalid(v) = below("job.spec")(Error::Invalid(found)) else { panic!("another error") };
        assert_eq!(fields_of(&v), ["job.spec.groups[0].base_lr"]);
    }
}
