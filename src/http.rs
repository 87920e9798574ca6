//! The HTTP interface: probes, metrics, and the JSON form of the operators' services under `/v1/`.
//!
//! The JSON calls go to the same service implementations as gRPC's, in process: one mapping, one set of checks.

use std::{future::Future, io};

use axum::{
    Router,
    extract::DefaultBodyLimit,
    middleware,
    routing::{get, post},
    serve::ListenerExt as _,
};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;
use tonic::Status;

use crate::rpc::{Limits, Services};

mod body;
mod jobs;
mod params;
mod probes;
mod problem;
mod reports;
mod schedules;
mod traffic;
mod watch;

use problem::Problem;

/// What the handlers share.
#[derive(Clone)]
struct Shared {
    services: Services,
    metrics: PrometheusHandle,
}

/// All routes.
pub fn router(services: Services, metrics: PrometheusHandle, limits: Limits) -> Router {
    Router::new()
        .route("/", get(probes::index))
        .route("/livez", get(probes::livez))
        .route("/readyz", get(probes::readyz))
        .route("/metrics", get(probes::metrics))
        .route("/v1/namespaces/{namespace}/jobs", get(jobs::list).post(jobs::create))
        .route(
            "/v1/namespaces/{namespace}/jobs/{job}",
            get(jobs::get).patch(jobs::update).delete(jobs::delete).post(jobs::custom),
        )
        .route("/v1/namespaces/{namespace}/jobs/{job}/attempts", get(jobs::attempts))
        .route("/v1/namespaces/{namespace}/jobs/{job}/decisions", get(jobs::decisions))
        .route("/v1/namespaces/{namespace}/jobs/{job}/telemetry", get(jobs::telemetry))
        .route("/v1/namespaces/{namespace}/experiments/{experiment}", get(reports::of_experiment))
        .route("/v1/schedules:preview", post(schedules::preview))
        .fallback(unknown_path)
        .method_not_allowed_fallback(unknown_method)
        .layer(DefaultBodyLimit::max(limits.message_bytes))
        .layer(middleware::from_fn_with_state(traffic::Slots::new(limits.calls), traffic::pass))
        .with_state(Shared { services, metrics })
}

/// Serves HTTP until `stop` is done and the requests under way have been answered.
///
/// # Errors
/// If the connections can not be served at all.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    stop: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let listener = listener.tap_io(|connection| {
        // A connection that can not be hurried is slow, not wrong.
        if let Err(problem) = connection.set_nodelay(true) {
            tracing::debug!(%problem, "TCP_NODELAY could not be set on an HTTP connection");
        }
    });
    axum::serve(listener, router).with_graceful_shutdown(stop).await
}

async fn unknown_path(uri: axum::http::Uri) -> Problem {
    Status::not_found(format!("there is nothing at {}; GET / lists what there is", uri.path())).into()
}

async fn unknown_method(method: axum::http::Method, uri: axum::http::Uri) -> Problem {
    let status = Status::unimplemented(format!("{method} is not a method of {}", uri.path()));
    Problem::with_http(status, axum::http::StatusCode::METHOD_NOT_ALLOWED)
}
