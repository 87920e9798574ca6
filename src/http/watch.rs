//! The events of a job as server-sent events. The name of each says what its data is.

use std::convert::Infallible;

use axum::response::{
    IntoResponse as _, Response, Sse,
    sse::{Event, KeepAlive},
};
use futures::{Stream, StreamExt as _};
use tonic::Status;

use super::{Problem, body::to_json};
use crate::proto::{WatchJobResponse, watch_job_response};

/// The answer that goes on until the job has ended. An error is its last event, `error`.
pub(super) fn events<S>(responses: tonic::Response<S>) -> Response
where
    S: Stream<Item = Result<WatchJobResponse, Status>> + Send + 'static,
{
    let events = responses
        .into_inner()
        .map(|response| Ok::<_, Infallible>(response.and_then(|response| event(&response)).unwrap_or_else(last)));
    Sse::new(events).keep_alive(KeepAlive::default()).into_response()
}

fn event(response: &WatchJobResponse) -> Result<Event, Status> {
    use watch_job_response::Event as Wire;
    let name = match &response.event {
        Some(Wire::Job(_)) => "job",
        Some(Wire::Decision(_)) => "decision",
        Some(Wire::Record(_)) => "record",
        Some(Wire::MissedEvents(_)) => "missed_events",
        None => "unknown",
    };
    Ok(Event::default().event(name).data(to_json(response)?))
}

fn last(status: Status) -> Event {
    Event::default().event("error").data(Problem::from(status).to_json().to_string())
}
