//! Serves the connections of a listener, each in a task of its own, until the process is to end.

use std::{
    convert::Infallible,
    future::poll_fn,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::conn::auto,
};
use tokio::{
    net::TcpListener,
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
    time::Instant,
};
use tokio_util::task::TaskTracker;
use tonic::transport::server::TcpConnectInfo;
use tower::{Service, ServiceExt as _};

use super::{
    accept::next,
    answer,
    budget::{Budget, UsedUp},
    call::Calls,
    outbox::{Outbox, Watched, ticks},
    pressure::Pressure,
    request::{Reading, RequestBody, Terms},
    socket::{Full, Socket},
};

/// The bytes that the HTTP library may buffer for a connection over HTTP/1.1, or a stream over HTTP/2, in each
/// direction. That includes the head of a request.
const BUFFER: usize = 64 << 10;
/// The bytes of a connection over HTTP/2 that may have arrived and wait to be read, and those of a stream. With less,
/// the library closes the connection of a trainer that sends a thousand small messages at once.
const WINDOW: u32 = 1 << 20;
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);
/// How long a connection without a call stays open after it was told that it will be closed, for a request that was
/// sent before.
const LAST_CALL: Duration = Duration::from_secs(1);

/// The bounds of the connections of a listener.
#[derive(Clone, Debug)]
pub struct Bounds {
    /// Connections that may be open at once; further ones wait in the kernel.
    pub connections: usize,
    /// Streams that a connection over HTTP/2 may have open.
    pub streams: u32,
    /// How long a caller may take to send a request, or to go on with it.
    pub read_timeout: Duration,
    /// How long a caller may take to read, or to go on reading, what is written to it.
    pub write_timeout: Duration,
    /// The memory for requests.
    pub requests: Budget,
    /// The memory for answers.
    pub answers: Budget,
    /// Whether callers are refused.
    pub pressure: Pressure,
}

/// What is served over the connections of a listener.
pub struct Interface<S, B> {
    /// The service.
    pub service: S,
    /// Whether it is served over HTTP/2 alone, with prior knowledge, or over HTTP/1.1 alone. To tell them apart, a
    /// connection would have to be read without a time-out.
    pub is_http2: bool,
    /// How the body of a request to a path is read.
    pub reading: fn(&str) -> Reading,
    /// The answer to a call for whose answer there is no memory.
    pub refuse: fn(UsedUp) -> Response<B>,
}

impl<S: Clone, B> Clone for Interface<S, B> {
    fn clone(&self) -> Self {
        Self { service: self.service.clone(), ..*self }
    }
}

/// Serves `interface` until `stop` is done and the calls under way have been answered.
pub async fn serve<S, B>(
    listener: TcpListener,
    interface: Interface<S, B>,
    bounds: Bounds,
    stop: impl Future<Output = ()>,
) where
    S: Service<Request<RequestBody>, Response = Response<B>, Error = Infallible, Future: Send> + Clone + Send + 'static,
    B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>> + Unpin + Send>
        + Unpin
        + Send
        + 'static,
{
    let places = Places::new(bounds.connections);
    let (mut tasks, mut stop) = (JoinSet::new(), pin!(stop));
    loop {
        let (place, stream) = tokio::select! {
            next = async { (places.take().await, next(&listener).await) } => next,
            () = &mut stop => break,
        };
        let socket = Socket::new(stream, place, bounds.write_timeout);
        tasks.spawn(serve_connection(socket, interface.clone(), bounds.clone(), places.clone()));
        while tasks.try_join_next().is_some() {}
    }
    // Who connects from now on is refused at once.
    drop(listener);
    while tasks.join_next().await.is_some() {}
}

async fn serve_connection<S, B>(socket: Socket, interface: Interface<S, B>, bounds: Bounds, places: Places)
where
    S: Service<Request<RequestBody>, Response = Response<B>, Error = Infallible, Future: Send> + Clone + Send + 'static,
    B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>> + Unpin + Send>
        + Unpin
        + Send
        + 'static,
{
    let link = Link { calls: Calls::new(), outbox: Outbox::new(None), full: socket.full() };
    let streams = Streams { tracker: TaskTracker::new(), outbox: Arc::clone(&link.outbox), bounds: bounds.clone() };
    let tracker = streams.tracker.clone();
    let builder = builder(interface.is_http2, &bounds, streams);
    let (local_addr, remote_addr) = socket.addresses();
    let calls = Arc::clone(&link.calls);
    let terms =
        Terms { budget: bounds.requests.clone(), pressure: bounds.pressure.clone(), read_timeout: bounds.read_timeout };
    let answers = bounds.answers.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        let call = calls.begin();
        let reading = (interface.reading)(request.uri().path());
        let mut request = request.map(|body| RequestBody::new(body, reading, terms.clone(), Arc::clone(&call)));
        request.extensions_mut().insert(TcpConnectInfo { local_addr, remote_addr });
        let (answer, answers, refuse) = (interface.service.clone().oneshot(request), answers.clone(), interface.refuse);
        async move { Ok::<_, Infallible>(answer::begin(answer.await?, call, &answers, refuse).await) }
    });
    {
        let mut connection = pin!(builder.serve_connection(TokioIo::new(socket), service));
        let mut ticks = ticks(bounds.read_timeout.min(bounds.write_timeout));
        let mut closing: Option<Instant> = None;
        loop {
            tokio::select! {
                ended = poll_fn(|context| link.outbox.within(|| connection.as_mut().poll(context))) => {
                    if let Err(problem) = ended {
                        tracing::debug!(problem, "A connection broke");
                    }
                    break;
                }
                () = bounds.pressure.drained(), if closing.is_none() => {
                    closing = Some(Instant::now());
                    connection.as_mut().graceful_shutdown();
                }
                _ = ticks.tick() => {
                    if let Some(why) = link.judge(&bounds, closing) {
                        tracing::debug!(peer = ?remote_addr, "A connection was closed: {why}");
                        break;
                    }
                    let is_idle = link.calls.quiet().is_some_and(|quiet| quiet > bounds.read_timeout);
                    if closing.is_none() && is_idle && places.are_wanted() {
                        closing = Some(Instant::now());
                        connection.as_mut().graceful_shutdown();
                    }
                }
            }
        }
    }
    tracker.close();
    tracker.wait().await;
}

fn builder(is_http2: bool, bounds: &Bounds, streams: Streams) -> auto::Builder<Streams> {
    let mut builder = auto::Builder::new(streams);
    builder.http1().timer(TokioTimer::new()).header_read_timeout(bounds.read_timeout).max_buf_size(BUFFER);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .max_concurrent_streams(bounds.streams)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .max_send_buf_size(BUFFER);
    if is_http2 { builder.http2_only() } else { builder.http1_only() }
}

/// The places for connections.
#[derive(Clone)]
struct Places {
    free: Arc<Semaphore>,
    are_wanted: Arc<AtomicBool>,
}

impl Places {
    fn new(places: usize) -> Self {
        Self { free: Arc::new(Semaphore::new(places)), are_wanted: Arc::default() }
    }

    /// Waits for a place. Cancel safe.
    async fn take(&self) -> Option<OwnedSemaphorePermit> {
        let free = || Arc::clone(&self.free);
        let place = free().try_acquire_owned().ok();
        self.are_wanted.store(place.is_none(), Ordering::Relaxed);
        // The semaphore is never closed.
        let place = if place.is_some() { place } else { free().acquire_owned().await.ok() };
        self.are_wanted.store(false, Ordering::Relaxed);
        place
    }

    /// Whether all places are taken.
    fn are_wanted(&self) -> bool {
        self.are_wanted.load(Ordering::Relaxed)
    }
}

/// What a connection is judged by.
struct Link {
    calls: Arc<Calls>,
    outbox: Arc<Outbox>,
    full: Full,
}

impl Link {
    /// Why the connection must be closed, if it must.
    fn judge(&self, bounds: &Bounds, closing: Option<Instant>) -> Option<&'static str> {
        let patience = bounds.pressure.patience(bounds.write_timeout);
        if self.full.is_stuck(patience) || self.outbox.is_stuck(patience) {
            return Some("nobody reads what is written to it (write_timeout)");
        }
        let quiet = self.calls.quiet()?;
        if closing.is_some_and(|since| since.elapsed() > LAST_CALL) {
            return Some("it has no call, and its place is wanted or the server is shutting down");
        }
        let is_mute = !self.calls.has_begun() && quiet > bounds.read_timeout;
        is_mute.then_some("it never had a call (read_timeout)")
    }
}

/// Runs the streams of a connection over HTTP/2.
#[derive(Clone)]
struct Streams {
    tracker: TaskTracker,
    outbox: Arc<Outbox>,
    bounds: Bounds,
}

impl<F: Future<Output = ()> + Send + 'static> hyper::rt::Executor<F> for Streams {
    fn execute(&self, stream: F) {
        let pressure = self.bounds.pressure.clone();
        self.tracker.spawn(Watched::new(stream, &self.outbox, pressure, self.bounds.write_timeout));
    }
}
