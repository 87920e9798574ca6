//! A layer around every gRPC call: a bound on the calls under way, and the duration of the call.

use std::{
    collections::HashMap,
    sync::Arc,
    task::{Context, Poll},
};

use futures::future::BoxFuture;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};
use tonic::{Code, Status, body::Body};
use tower::{Layer, Service};

use super::Limits;
use crate::connections::{self, Pressure};
use lrs_engine::Error;
use lrs_proto::reflect;
use lrs_runtime::metrics::{
    Counter, Gauge, Histogram,
    families::{RPC_CALLS, RPC_DURATION, RPC_IN_FLIGHT, STREAMS_ENDED},
};

/// The label of calls to a path that is no method of the interface.
const OTHER: &str = "other";
/// The codes of gRPC, whose numbers begin at 0.
const CODES: usize = 17;

/// Puts [`Traffic`] around a service.
#[derive(Clone)]
pub(super) struct TrafficLayer {
    calls: Slots,
    streams: Slots,
    pressure: Pressure,
    /// The timers by the path of the method.
    timers: Arc<HashMap<String, Arc<Timer>>>,
    other: Arc<Timer>,
    in_flight: Gauge,
}

impl TrafficLayer {
    /// Lets at most so many calls and streams be under way at once. Install the metrics before this.
    pub(super) fn new(limits: Limits, pressure: Pressure) -> Self {
        for code in codes() {
            STREAMS_ENDED.show([code_name(code)]);
        }
        let timer = |path: String, is_stream| (path.clone(), Arc::new(Timer::new(method(&path), is_stream)));
        let timers = reflect::methods().map(|method| timer(reflect::path(&method), method.is_server_streaming()));
        Self {
            calls: Slots::new("the list of calls under way (max_calls)", limits.calls),
            streams: Slots::new("the list of open streams (max_streams)", limits.streams),
            pressure,
            timers: Arc::new(timers.collect()),
            // Watching the health and the reflection are streams.
            other: Arc::new(Timer::new(OTHER, true)),
            in_flight: RPC_IN_FLIGHT.gauge([]),
        }
    }
}

impl<S> Layer<S> for TrafficLayer {
    type Service = Traffic<S>;

    fn layer(&self, inner: S) -> Traffic<S> {
        Traffic { inner, layer: self.clone() }
    }
}

/// How many calls of a kind may be under way.
#[derive(Clone)]
struct Slots {
    what: &'static str,
    limit: usize,
    free: Arc<Semaphore>,
}

impl Slots {
    fn new(what: &'static str, limit: usize) -> Self {
        Self { what, limit, free: Arc::new(Semaphore::new(limit)) }
    }

    fn take(&self) -> Result<OwnedSemaphorePermit, Error> {
        let full = Error::Overloaded { what: self.what, limit: self.limit };
        Arc::clone(&self.free).try_acquire_owned().map_err(|_| full)
    }
}

/// A service with a bound on its calls and a timer. A call is under way until its answer has been written; its time is
/// taken when the answer begins.
#[derive(Clone)]
pub(super) struct Traffic<S> {
    inner: S,
    layer: TrafficLayer,
}

impl<S, B> Service<http::Request<B>> for Traffic<S>
where
    S: Service<http::Request<B>, Response = http::Response<Body>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<S::Response, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let timer = Started::now(&self.layer, request.uri().path());
        let slots = if timer.timer.is_stream { &self.layer.streams } else { &self.layer.calls };
        let slot = match slots.take() {
            Ok(slot) => slot,
            Err(full) => {
                self.layer.pressure.note();
                timer.finish(Code::ResourceExhausted);
                return Box::pin(std::future::ready(Ok(super::status::of(full).into_http())));
            }
        };
        let under_way = UnderWay::begin(self.layer.in_flight.clone(), slot);
        let answer = self.inner.call(request);
        Box::pin(async move {
            let mut answer = answer.await;
            timer.finish(answer.as_ref().map_or(Code::Unknown, code));
            if let Ok(answer) = &mut answer {
                connections::hold(answer, under_way);
            }
            answer
        })
    }
}

/// The code of an answer that has begun. An error at the beginning is in the headers; without one, the call has not
/// failed so far.
fn code(answer: &http::Response<Body>) -> Code {
    answer.headers().get(Status::GRPC_STATUS).map_or(Code::Ok, |code| Code::from_bytes(code.as_bytes()))
}

/// Holds a slot and counts it.
struct UnderWay {
    in_flight: Gauge,
    _slot: OwnedSemaphorePermit,
}

impl UnderWay {
    fn begin(in_flight: Gauge, slot: OwnedSemaphorePermit) -> Self {
        in_flight.increment(1.0);
        Self { in_flight, _slot: slot }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.in_flight.decrement(1.0);
    }
}

/// What is counted of a method. All of it shows from the start, with 0.
struct Timer {
    is_stream: bool,
    duration: Histogram,
    /// The calls, by code.
    calls: Vec<Counter>,
}

impl Timer {
    fn new(method: &str, is_stream: bool) -> Self {
        let calls = codes().map(|code| RPC_CALLS.counter([method, code_name(code)])).collect();
        Self { is_stream, duration: RPC_DURATION.histogram([method]), calls }
    }

    fn record(&self, code: Code, seconds: f64) {
        self.duration.record(seconds);
        if let Some(calls) = usize::try_from(i32::from(code)).ok().and_then(|code| self.calls.get(code)) {
            calls.increment(1);
        }
    }
}

fn codes() -> impl Iterator<Item = Code> {
    (0..).take(CODES).map(Code::from_i32)
}

/// A call that has arrived.
struct Started {
    timer: Arc<Timer>,
    at: Instant,
}

impl Started {
    fn now(layer: &TrafficLayer, path: &str) -> Self {
        Self { timer: Arc::clone(layer.timers.get(path).unwrap_or(&layer.other)), at: Instant::now() }
    }

    fn finish(&self, code: Code) {
        self.timer.record(code, self.at.elapsed().as_secs_f64());
    }
}

/// The method of a path, as the log and the metrics name it.
pub(super) fn method(path: &str) -> &str {
    path.trim_start_matches('/')
}

/// The name of a code in gRPC's documentation.
pub(super) fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use tokio_util::sync::CancellationToken;
    use tower::{ServiceExt as _, service_fn};

    use super::*;

    async fn answer(limit: usize, path: &str, status: Status) -> http::Response<Body> {
        let inner = service_fn(move |_: http::Request<()>| {
            std::future::ready(Ok::<_, Infallible>(status.clone().into_http::<Body>()))
        });
        let request = http::Request::builder().uri(path).body(()).unwrap();
        let limits = Limits { calls: limit, streams: 1, ..Limits::default() };
        TrafficLayer::new(limits, Pressure::new(CancellationToken::new())).layer(inner).oneshot(request).await.unwrap()
    }

    #[tokio::test]
    async fn every_method_is_timed_by_its_name_and_code() {
        let metrics = lrs_runtime::metrics::install().unwrap();
        for method in reflect::methods() {
            answer(1, &reflect::path(&method), Status::not_found("no")).await;
        }
        answer(1, "/somewhere/Else", Status::unimplemented("no")).await;
        let text = metrics.render();
        for method in reflect::methods() {
            let path = reflect::path(&method);
            assert!(text.contains(&format!("method=\"{}\",code=\"NOT_FOUND\"", &path[1..])), "{path}: {text}");
        }
        assert!(text.contains("method=\"other\",code=\"UNIMPLEMENTED\""), "{text}");
    }

    #[tokio::test]
    async fn a_call_too_many_is_refused_at_the_door() {
        let refused = answer(0, "/lrs.v1.JobService/GetJob", Status::ok("")).await;
        assert_eq!(code(&refused), Code::ResourceExhausted);
        let taken = answer(1, "/lrs.v1.JobService/GetJob", Status::not_found("")).await;
        assert_eq!(code(&taken), Code::NotFound);
    }
}
