//! The gRPC interface: translates between the wire and the engine, and nothing more.

use std::{collections::HashSet, future::Future, sync::LazyLock, time::Duration};

use http::Request;
use tokio::net::TcpListener;
use tonic::{Status, body::Body, codec::CompressionEncoding, service::Routes};
use tonic_health::{ServingStatus, server::HealthReporter};
use tower::{Layer as _, ServiceExt as _};

use crate::{
    connections::{self, Bounds, Budget, Interface, Pressure, Reading, RequestBody, Unread, UsedUp},
    trace::Failures,
};
use lrs_engine::Error;
use lrs_proto::{
    DESCRIPTORS, job_service_server::JobServiceServer, learning_rate_service_server::LearningRateServiceServer,
    reflect, report_service_server::ReportServiceServer, schedule_service_server::ScheduleServiceServer,
};

mod calls;
pub mod convert;
mod deadline;
mod door;
#[cfg(test)]
mod every;
mod fields;
pub(crate) mod filter;
mod job_service;
mod learning_rate_service;
mod observe;
pub(crate) mod page_token;
mod report_service;
mod schedule_service;
pub(crate) mod status;
mod telemetry_stream;
mod traffic;
mod update_mask;

pub use calls::Calls;
pub use door::Door;
pub use job_service::Jobs;
pub use learning_rate_service::LearningRates;
pub use report_service::Reports;
pub use schedule_service::Schedules;
pub use status::DOMAIN;

/// The bounds of the interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The largest size of a request in bytes, after decompression.
    pub message_bytes: usize,
    /// Connections that a listener may have open; further ones wait in the kernel.
    pub connections: usize,
    /// How long a caller may take to send a request, or to go on with it.
    pub read_timeout: Duration,
    /// How long a caller may take to read, or to go on reading, an answer.
    pub write_timeout: Duration,
    /// Bytes of requests that may be in memory, over all connections.
    pub request_bytes: usize,
    /// Bytes of answers that may wait to be written, over all connections.
    pub response_bytes: usize,
    /// Calls that may be under way at once, over all connections.
    pub calls: usize,
    /// Streams that may be open at once over gRPC, over all connections.
    pub streams: usize,
    /// Streams and calls that one connection may have open.
    pub calls_per_connection: u32,
    /// Messages of a telemetry stream that may await their acknowledgement; further ones are not read.
    pub stream_messages: usize,
    /// Streams of server-sent events that may be open at once.
    pub watchers: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            message_bytes: 8 << 20,
            connections: 16_384,
            read_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(30),
            request_bytes: 64 << 20,
            response_bytes: 128 << 20,
            calls: 8192,
            streams: 32_768,
            calls_per_connection: 1024,
            stream_messages: 64,
            watchers: 512,
        }
    }
}

impl Limits {
    /// The bounds of the connections of both listeners, which share the memory.
    #[must_use]
    pub fn bounds(&self, pressure: &Pressure) -> Bounds {
        Bounds {
            connections: self.connections,
            streams: self.calls_per_connection,
            read_timeout: self.read_timeout,
            write_timeout: self.write_timeout,
            requests: Budget::new("request_bytes", self.request_bytes, pressure.clone()),
            answers: Budget::new("response_bytes", self.response_bytes, pressure.clone()),
            pressure: pressure.clone(),
        }
    }
}

/// The services, which both interfaces share: gRPC serves them on its own listener, `http` calls them inside the
/// process.
#[derive(Clone)]
pub struct Services {
    /// The way to the engine.
    pub door: Door,
    /// The service for trainers.
    pub learning_rates: LearningRates,
    /// The service for operators.
    pub jobs: Jobs,
    /// The service for schedules without jobs.
    pub schedules: Schedules,
    /// The service for audit reports.
    pub reports: Reports,
}

impl Services {
    /// The services behind `door`.
    #[must_use]
    pub fn new(door: Door, limits: Limits) -> Self {
        Self {
            learning_rates: LearningRates::new(door.clone(), limits.stream_messages),
            jobs: Jobs::new(door.clone()),
            schedules: Schedules::new(door.clone()),
            reports: Reports::new(door.clone()),
            door,
        }
    }
}

/// Says to gRPC clients whether the services serve.
#[derive(Clone)]
pub struct Health(HealthReporter);

impl Health {
    /// No service serves yet.
    pub async fn new() -> Self {
        let health = Self(HealthReporter::new());
        health.set(false).await;
        health
    }

    /// All services serve, or none does.
    pub async fn set(&self, serves: bool) {
        let status = if serves { ServingStatus::Serving } else { ServingStatus::NotServing };
        for service in health_names() {
            self.0.set_service_status(service, status).await;
        }
    }

    /// Ends the streams of those who watch, after they have been told the last status.
    pub async fn close(&self) {
        let mut reporter = self.0.clone();
        for service in health_names() {
            reporter.clear_service_status(&service).await;
        }
    }
}

/// The failing calls of all methods.
#[must_use]
pub fn failures() -> Failures {
    Failures::new(reflect::methods().map(|method| traffic::method(&reflect::path(&method)).to_owned()))
}

/// The names that health is asked by: each service's, and the empty one for the whole server.
fn health_names() -> impl Iterator<Item = String> {
    std::iter::once(String::new()).chain(reflect::pool().services().map(|service| service.full_name().to_owned()))
}

/// Serves gRPC until `stop` is done and the calls under way have been answered.
///
/// # Errors
/// If the descriptors are invalid.
pub async fn serve(
    listener: TcpListener,
    services: Services,
    health: Health,
    limits: Limits,
    bounds: Bounds,
    failures: Failures,
    stop: impl Future<Output = ()>,
) -> Result<(), tonic_reflection::server::Error> {
    let routes = deadline::Deadlines(routes(services, health, limits)?);
    let service = traffic::TrafficLayer::new(limits, bounds.pressure.clone()).layer(routes);
    let service = observe::ObserveLayer::new(failures).layer(service);
    let service = service.map_request(|request: Request<RequestBody>| {
        use http_body_util::BodyExt as _;
        request.map(|body| Body::new(body.map_err(unread)))
    });
    let refuse = |used_up| status::of(overloaded(used_up)).into_http();
    let interface = Interface { service, is_http2: true, reading, refuse };
    connections::serve(listener, interface, bounds, stop).await;
    Ok(())
}

/// Callers of our methods that do not stream must send the whole request without a pause.
fn reading(path: &str) -> Reading {
    static WHOLE: LazyLock<HashSet<String>> = LazyLock::new(|| {
        let whole = reflect::methods().filter(|method| !method.is_client_streaming());
        whole.map(|method| reflect::path(&method)).collect()
    });
    if WHOLE.contains(path) { Reading::Whole } else { Reading::Messages }
}

/// The error that the memory for requests or answers is used up.
pub(crate) fn overloaded(UsedUp { name, limit }: UsedUp) -> Error {
    Error::Overloaded { what: name, limit }
}

/// The status of a call whose request was not read to its end.
pub(crate) fn unread(why: Unread) -> Status {
    match why {
        Unread::UsedUp(used_up) => status::of(overloaded(used_up)),
        Unread::ShuttingDown => status::of(Error::ShuttingDown),
        Unread::TooSlow(_) => Status::deadline_exceeded(why.to_string()),
        Unread::Broken => Status::cancelled(why.to_string()),
    }
}

fn routes(services: Services, health: Health, limits: Limits) -> Result<Routes, tonic_reflection::server::Error> {
    use tonic_health::pb::{FILE_DESCRIPTOR_SET, health_server::HealthServer};

    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(DESCRIPTORS)
            .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
    };
    let health = HealthServer::new(tonic_health::server::HealthService::from_health_reporter(health.0));
    let routes = service_routes(services, limits.message_bytes)
        .add_service(health)
        .add_service(reflection().build_v1()?)
        .add_service(reflection().build_v1alpha()?);
    Ok(routes.prepare())
}

/// Our services, each for requests of up to `message_bytes`.
fn service_routes(services: Services, message_bytes: usize) -> Routes {
    /// Every service is set up alike.
    macro_rules! set_up {
        ($server:expr) => {
            $server
                .accept_compressed(CompressionEncoding::Gzip)
                .accept_compressed(CompressionEncoding::Zstd)
                .send_compressed(CompressionEncoding::Gzip)
                .send_compressed(CompressionEncoding::Zstd)
                .max_decoding_message_size(message_bytes)
        };
    }
    Routes::new(set_up!(LearningRateServiceServer::new(services.learning_rates)))
        .add_service(set_up!(JobServiceServer::new(services.jobs)))
        .add_service(set_up!(ScheduleServiceServer::new(services.schedules)))
        .add_service(set_up!(ReportServiceServer::new(services.reports)))
}
