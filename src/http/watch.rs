//! Streams of server-sent events: as many at once as are allowed, and those of a method that streams its answers.

use std::{convert::Infallible, sync::Arc};

use axum::{
    body::Bytes,
    response::{
        IntoResponse as _, Response, Sse,
        sse::{Event, KeepAlive},
    },
};
use futures::{Stream, StreamExt as _};
use lrs_engine::Error;
use lrs_proto::{codec::Codec, reflect::MessageDescriptor};
use prost::encoding::decode_key;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::Status;

use super::Problem;
use crate::connections::Pressure;

/// How many streams may be open at once.
#[derive(Clone)]
pub(super) struct WatcherSlots {
    free: Arc<Semaphore>,
    limit: usize,
    pressure: Pressure,
}

/// The right to one open stream, given back when it is dropped.
pub(super) struct WatcherSlot {
    _permit: OwnedSemaphorePermit,
}

impl WatcherSlots {
    /// Slots for `limit` streams.
    pub(super) fn new(limit: usize, pressure: Pressure) -> Self {
        Self { free: Arc::new(Semaphore::new(limit)), limit, pressure }
    }

    /// A slot, to be taken before there is any work.
    ///
    /// # Errors
    /// If all slots are taken.
    pub(super) fn take(&self) -> Result<WatcherSlot, Error> {
        let free = Arc::clone(&self.free).try_acquire_owned();
        free.map(|permit| WatcherSlot { _permit: permit }).map_err(|_| {
            self.pressure.note();
            Error::Overloaded { what: "the list of open event streams (max_watchers)", limit: self.limit }
        })
    }
}

/// An answer that goes on as long as there are events and the caller reads them. It holds its slot until then.
pub(super) fn stream(events: impl Stream<Item = Event> + Send + 'static, slot: WatcherSlot) -> Response {
    let events = events.map(move |event| {
        let _held = &slot;
        Ok::<_, Infallible>(event)
    });
    Sse::new(events).keep_alive(KeepAlive::default()).into_response()
}

/// The answers of a method, which are messages in their wire form. An error is the last event, `error`.
pub(super) fn of_answers(
    answers: impl Stream<Item = Result<Bytes, Status>> + Send + 'static,
    message: MessageDescriptor,
    codec: Codec,
    slot: WatcherSlot,
) -> Response {
    let event = move |answer: Result<Bytes, Status>| {
        let event = answer.and_then(|wire| {
            let json = codec.write(&wire).map_err(|problem| Status::internal(problem.to_string()))?;
            Ok(Event::default().event(event_name(&message, &wire)).data(json))
        });
        event.unwrap_or_else(last)
    };
    stream(answers.map(event), slot)
}

/// The name of the first field that an answer has: an answer of a stream is one of several kinds, each in a field of
/// its own.
fn event_name(message: &MessageDescriptor, mut wire: &[u8]) -> String {
    let first = decode_key(&mut wire).ok().and_then(|(number, _)| message.get_field(number));
    first.map_or_else(|| "unknown".to_owned(), |field| field.name().to_owned())
}

fn last(status: Status) -> Event {
    Event::default().event("error").data(Problem::from(status).to_json().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use lrs_proto::{WatchJobResponse, reflect::descriptor, watch_job_response::Event as Wire};
    use prost::Message as _;
    use tokio_util::sync::CancellationToken;

    #[test]
    fn an_event_has_the_name_of_its_kind() {
        let name = |event| event_name(&descriptor::<WatchJobResponse>(), &WatchJobResponse { event }.encode_to_vec());
        assert_eq!(name(Some(Wire::MissedEvents(3))), "missed_events");
        assert_eq!(name(Some(Wire::Job(lrs_proto::Job::default()))), "job");
        assert_eq!(name(None), "unknown");
    }

    #[test]
    fn a_stream_too_many_is_refused_until_another_ends() {
        let slots = WatcherSlots::new(1, Pressure::new(CancellationToken::new()));
        let slot = slots.take().unwrap();
        assert!(matches!(slots.take(), Err(Error::Overloaded { limit: 1, .. })));
        drop(slot);
        assert!(slots.take().is_ok());
    }
}
