//! Streams of server-sent events: as many at once as are allowed, and those of one job. The name of each event says what its data is.

use std::{convert::Infallible, sync::Arc};

use axum::response::{
    IntoResponse as _, Response, Sse,
    sse::{Event, KeepAlive},
};
use futures::{Stream, StreamExt as _};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::Status;

use super::{Problem, body::to_json};
use lrs_engine::Error;
use lrs_proto::{WatchJobResponse, watch_job_response};

/// Places for those who watch.
#[derive(Clone)]
pub(super) struct Places {
    free: Arc<Semaphore>,
    limit: usize,
}

/// A place; free again when it is dropped.
pub(super) struct Place {
    _permit: OwnedSemaphorePermit,
}

impl Places {
    /// As many as this.
    pub(super) fn new(limit: usize) -> Self {
        Self { free: Arc::new(Semaphore::new(limit)), limit }
    }

    /// A place, to be taken before there is any work.
    ///
    /// # Errors
    /// If there is none.
    pub(super) fn take(&self) -> Result<Place, Error> {
        let full = Error::Overloaded { what: "the list of open event streams (max_watchers)", limit: self.limit };
        Arc::clone(&self.free).try_acquire_owned().map(|permit| Place { _permit: permit }).map_err(|_| full)
    }
}

/// An answer that goes on as long as there are events and someone takes them. It keeps its place until then.
pub(super) fn stream(events: impl Stream<Item = Event> + Send + 'static, place: Place) -> Response {
    let events = events.map(move |event| {
        let _held = &place;
        Ok::<_, Infallible>(event)
    });
    Sse::new(events).keep_alive(KeepAlive::default()).into_response()
}

/// The events of a job until it has ended. An error is the last event, `error`.
pub(super) fn of_job<S>(responses: tonic::Response<S>, place: Place) -> Response
where
    S: Stream<Item = Result<WatchJobResponse, Status>> + Send + 'static,
{
    let event = |response: Result<_, _>| response.and_then(|response| event(&response)).unwrap_or_else(last);
    stream(responses.into_inner().map(event), place)
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
