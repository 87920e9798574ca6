//! `ScheduleService` under `/v1/schedules`.

use axum::{extract::State, response::Response};
use tonic::Request;

use super::{
    Problem, Shared,
    body::{Body, answer},
    params::Params,
};
use lrs_proto::{PreviewScheduleRequest, schedule_service_server::ScheduleService as _};

/// The curve of a spec.
pub(super) async fn preview(State(shared): State<Shared>, params: Params, body: Body) -> Result<Response, Problem> {
    params.none()?;
    let request: PreviewScheduleRequest = body.read()?;
    answer(shared.services.schedules.preview_schedule(Request::new(request)).await)
}
