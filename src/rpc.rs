//! The gRPC interface: translates between the wire and the engine, and nothing more.

use std::{future::Future, time::Duration};

use tokio::net::TcpListener;
use tonic::{codec::CompressionEncoding, service::Routes};
use tonic_health::{ServingStatus, server::HealthReporter};

use crate::{connections, trace::Failures};
use lrs_proto::{
    DESCRIPTORS, job_service_server::JobServiceServer, learning_rate_service_server::LearningRateServiceServer,
    reflect, report_service_server::ReportServiceServer, schedule_service_server::ScheduleServiceServer,
};

mod calls;
pub mod convert;
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

const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);

/// The bounds of the interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The largest size of a request in bytes, after decompression.
    pub message_bytes: usize,
    /// Connections that a listener may have open; further ones wait in the kernel.
    pub connections: usize,
    /// How long an HTTP connection may take to send the head of a request, or be silent between two.
    pub header_timeout: Duration,
    /// Calls that may be under way at once, over all connections.
    pub calls: usize,
    /// Streams and calls that one connection may have open.
    pub calls_per_connection: u32,
    /// Messages of a telemetry stream that may await their acknowledgement; further ones are not read.
    pub stream_messages: usize,
    /// Streams of server-sent events that may be open at once.
    pub watchers: usize,
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
/// If connections cannot be served at all, or the descriptors are invalid.
pub async fn serve(
    listener: TcpListener,
    services: Services,
    health: Health,
    limits: Limits,
    failures: Failures,
    stop: impl Future<Output = ()>,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    tonic::transport::Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .max_concurrent_streams(limits.calls_per_connection)
        .layer(observe::ObserveLayer::new(failures))
        .layer(traffic::TrafficLayer::new(limits.calls))
        .add_routes(routes(services, health, limits)?)
        .serve_with_incoming_shutdown(connections::accept(listener, limits.connections), stop)
        .await?;
    Ok(())
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
