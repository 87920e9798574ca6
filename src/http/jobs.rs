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
use lrs_proto::{
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
            let place = shared.places.take()?;
            Ok(watch::of_job(shared.services.jobs.watch_job(Request::new(request)).await?, place))
        }
        "report" => reports::of_job(&shared, &target, params).await,
        _ => Err(no_method(&target, "GET")),
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
        _ => Err(no_method(&target, "POST")),
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
    if target.verb.is_empty() { Ok(()) } else { Err(no_method(target, method)) }
}

/// What a job has no `method` for: it has others, or there is no such thing.
fn no_method(target: &Target, method: &str) -> Problem {
    let verb = &target.verb;
    let allowed = match verb.as_str() {
        "" => "GET,HEAD,PATCH,DELETE",
        "watch" | "report" => "GET,HEAD",
        "pause" | "resume" | "complete" | "override" | "adviseStop" | "fork" => "POST",
        _ => {
            let verbs = "watch and report, and for POST pause, resume, complete, override, adviseStop and fork";
            return Status::not_found(format!("a job has no method {verb:?}: there is {verbs}")).into();
        }
    };
    let what = if verb.is_empty() { "a job".to_owned() } else { format!("{verb:?} of a job") };
    Problem::method(format!("{method} is not a method of {what}: there is {allowed}"), Some(allowed))
}
