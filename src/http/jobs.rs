//! `JobService` under `/v1/namespaces/{namespace}/jobs`, as AIP-127 maps it: the path gives the name, the query the other
//! fields, and the body the resource, or for custom methods everything.

use axum::{extract::State, response::Response};
use serde::de::DeserializeOwned;
use tonic::{Request, Status};

use super::{
    Problem, Shared,
    body::{Body, answer},
    params::{Params, Target},
    reports, watch,
};
use crate::proto::{
    AdviseStopRequest, CompleteJobRequest, CreateJobRequest, DeleteJobRequest, ForkJobRequest, GetJobRequest,
    ListAttemptsRequest, ListDecisionsRequest, ListJobsRequest, OverrideLearningRateRequest, PauseJobRequest,
    QueryTelemetryRequest, ResumeJobRequest, UpdateJobRequest, WatchJobRequest, job_service_server::JobService as _,
};

type Answer = Result<Response, Problem>;

pub(super) async fn create(State(shared): State<Shared>, target: Target, params: Params, body: Body) -> Answer {
    let request = CreateJobRequest { parent: target.parent(), job: Some(body.read()?), ..params.read()? };
    answer(shared.services.jobs.create_job(Request::new(request)).await)
}

pub(super) async fn list(State(shared): State<Shared>, target: Target, params: Params) -> Answer {
    let request = ListJobsRequest { parent: target.parent(), ..params.read()? };
    answer(shared.services.jobs.list_jobs(Request::new(request)).await)
}

/// The job, with `:watch` its events, or with `:report` what became of it.
pub(super) async fn get(State(shared): State<Shared>, target: Target, params: Params) -> Answer {
    let name = target.name();
    match target.verb.as_str() {
        "" => {
            params.none()?;
            let request = GetJobRequest { name };
            answer(shared.services.jobs.get_job(Request::new(request)).await)
        }
        "watch" => {
            params.none()?;
            let request = WatchJobRequest { name };
            Ok(watch::events(shared.services.jobs.watch_job(Request::new(request)).await?))
        }
        "report" => reports::of_job(&shared, &target, params).await,
        verb => Err(unknown_verb(verb, "GET", "watch and report")),
    }
}

pub(super) async fn update(State(shared): State<Shared>, target: Target, params: Params, body: Body) -> Answer {
    no_verb(&target, "PATCH")?;
    let mut request: UpdateJobRequest = params.read()?;
    let job = request.job.insert(body.read()?);
    job.name = target.name();
    answer(shared.services.jobs.update_job(Request::new(request)).await)
}

pub(super) async fn delete(State(shared): State<Shared>, target: Target, params: Params) -> Answer {
    no_verb(&target, "DELETE")?;
    let request = DeleteJobRequest { name: target.name(), ..params.read()? };
    answer(shared.services.jobs.delete_job(Request::new(request)).await)
}

/// The custom methods.
pub(super) async fn custom(State(shared): State<Shared>, target: Target, params: Params, body: Body) -> Answer {
    let (jobs, name) = (&shared.services.jobs, target.name());
    match target.verb.as_str() {
        "pause" => {
            let request = PauseJobRequest { name, ..whole(params, &body)? };
            answer(jobs.pause_job(Request::new(request)).await)
        }
        "resume" => {
            let request = ResumeJobRequest { name, ..whole(params, &body)? };
            answer(jobs.resume_job(Request::new(request)).await)
        }
        "complete" => {
            let request = CompleteJobRequest { name, ..whole(params, &body)? };
            answer(jobs.complete_job(Request::new(request)).await)
        }
        "override" => {
            let request = OverrideLearningRateRequest { name, ..whole(params, &body)? };
            answer(jobs.override_learning_rate(Request::new(request)).await)
        }
        "adviseStop" => {
            let request = AdviseStopRequest { name, ..whole(params, &body)? };
            answer(jobs.advise_stop(Request::new(request)).await)
        }
        "fork" => {
            let request = ForkJobRequest { name, ..whole(params, &body)? };
            answer(jobs.fork_job(Request::new(request)).await)
        }
        verb => Err(unknown_verb(verb, "POST", "pause, resume, complete, override, adviseStop and fork")),
    }
}

pub(super) async fn attempts(State(shared): State<Shared>, target: Target, params: Params) -> Answer {
    let request = ListAttemptsRequest { job: target.name(), ..params.read()? };
    answer(shared.services.jobs.list_attempts(Request::new(request)).await)
}

pub(super) async fn decisions(State(shared): State<Shared>, target: Target, params: Params) -> Answer {
    let request = ListDecisionsRequest { job: target.name(), ..params.read()? };
    answer(shared.services.jobs.list_decisions(Request::new(request)).await)
}

pub(super) async fn telemetry(State(shared): State<Shared>, target: Target, params: Params) -> Answer {
    let request = QueryTelemetryRequest { job: target.name(), ..params.read()? };
    answer(shared.services.jobs.query_telemetry(Request::new(request)).await)
}

/// The request of a custom method: all of it stands in the body.
fn whole<T: DeserializeOwned + Default>(params: Params, body: &Body) -> Result<T, Problem> {
    params.none()?;
    Ok(body.read()?)
}

fn no_verb(target: &Target, method: &str) -> Result<(), Problem> {
    if target.verb.is_empty() { Ok(()) } else { Err(unknown_verb(&target.verb, method, "none")) }
}

fn unknown_verb(verb: &str, method: &str, allowed: &str) -> Problem {
    Status::not_found(format!("a job has no method {verb:?} for {method}: there is {allowed}")).into()
}
