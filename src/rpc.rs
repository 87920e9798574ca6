//! The gRPC interface: translates between the wire and the engine, and nothing more.

use std::{future::Future, time::Duration};

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::{codec::CompressionEncoding, service::Routes};
use tonic_health::{ServingStatus, server::HealthReporter};

use crate::connections;
use lrs_engine::Engine;
use lrs_proto::{
    DESCRIPTORS, job_service_server::JobServiceServer, learning_rate_service_server::LearningRateServiceServer,
    report_service_server::ReportServiceServer, schedule_service_server::ScheduleServiceServer,
};

pub mod convert;
mod door;
mod fields;
pub(crate) mod filter;
mod job_service;
mod learning_rate_service;
pub(crate) mod page_token;
mod report_service;
mod schedule_service;
pub(crate) mod status;
mod telemetry_stream;
mod traffic;
mod update_mask;

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
    /// Bytes of a request, after decompression.
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

/// The services, once for both interfaces: gRPC serves them on its own listener, `http` calls them in process.
#[derive(Clone)]
pub struct Services {
    /// Where all calls come in.
    pub door: Door,
    /// What trainers call.
    pub learning_rates: LearningRates,
    /// What operators call.
    pub jobs: Jobs,
    /// Schedules without jobs.
    pub schedules: Schedules,
    /// What became of jobs.
    pub reports: Reports,
}

impl Services {
    /// The services in front of an engine. Streams end when `drain` is cancelled.
    #[must_use]
    pub fn new(engine: Engine, drain: CancellationToken, limits: Limits) -> Self {
        let door = Door::new(engine, drain);
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

const SERVICES: [&str; 5] =
    ["", "lrs.v1.JobService", "lrs.v1.LearningRateService", "lrs.v1.ReportService", "lrs.v1.ScheduleService"];

impl Health {
    /// Nothing serves yet.
    pub async fn new() -> Self {
        let health = Self(HealthReporter::new());
        health.set(false).await;
        health
    }

    /// All services serve, or none does.
    pub async fn set(&self, serves: bool) {
        let status = if serves { ServingStatus::Serving } else { ServingStatus::NotServing };
        for service in SERVICES {
            self.0.set_service_status(service, status).await;
        }
    }

    /// Ends the streams of those who watch, after they have been told the last status.
    pub async fn close(&self) {
        let mut reporter = self.0.clone();
        for service in SERVICES {
            reporter.clear_service_status(service).await;
        }
    }
}

/// Serves gRPC until `stop` is done and the calls under way have been answered.
///
/// # Errors
/// If the connections can not be served at all, or the descriptors are no descriptors.
pub async fn serve(
    listener: TcpListener,
    services: Services,
    health: Health,
    limits: Limits,
    stop: impl Future<Output = ()>,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    tonic::transport::Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .max_concurrent_streams(limits.calls_per_connection)
        .layer(traffic::TrafficLayer::new(limits.calls))
        .add_routes(routes(services, health, limits)?)
        .serve_with_incoming_shutdown(connections::accept(listener, limits.connections), stop)
        .await?;
    Ok(())
}

fn routes(services: Services, health: Health, limits: Limits) -> Result<Routes, tonic_reflection::server::Error> {
    use tonic_health::pb::{FILE_DESCRIPTOR_SET, health_server::HealthServer};

    /// All of them are told the same.
    macro_rules! bounded {
        ($server:expr) => {
            $server
                .accept_compressed(CompressionEncoding::Gzip)
                .accept_compressed(CompressionEncoding::Zstd)
                .send_compressed(CompressionEncoding::Gzip)
                .send_compressed(CompressionEncoding::Zstd)
                .max_decoding_message_size(limits.message_bytes)
        };
    }
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(DESCRIPTORS)
            .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
    };
    let health = HealthServer::new(tonic_health::server::HealthService::from_health_reporter(health.0));
    let routes = Routes::new(bounded!(LearningRateServiceServer::new(services.learning_rates)))
        .add_service(bounded!(JobServiceServer::new(services.jobs)))
        .add_service(bounded!(ScheduleServiceServer::new(services.schedules)))
        .add_service(bounded!(ReportServiceServer::new(services.reports)))
        .add_service(health)
        .add_service(reflection().build_v1()?)
        .add_service(reflection().build_v1alpha()?);
    Ok(routes.prepare())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn health_is_told_of_every_service_there_is() {
        use tonic::server::NamedService as _;
        assert_eq!(
            SERVICES[1..],
            [
                JobServiceServer::<Jobs>::NAME,
                LearningRateServiceServer::<LearningRates>::NAME,
                ReportServiceServer::<Reports>::NAME,
                ScheduleServiceServer::<Schedules>::NAME
            ]
        );
    }
}
