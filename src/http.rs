//! The HTTP interface: probes, metrics, the monitor's pages, and the JSON form of the operators' services under `/v1/`.
//!
//! JSON requests become calls of the same methods that gRPC serves, inside the process (`transcode`). So there is one
//! mapping of requests and one set of checks.

use std::future::Future;

use axum::{
    Router,
    body::Body,
    extract::DefaultBodyLimit,
    http::{HeaderMap, HeaderValue, Method, Uri, header},
    middleware,
    response::{IntoResponse as _, Response},
    routing::get,
};
use tokio::net::TcpListener;
use tonic::Status;
use tower::ServiceExt as _;

use crate::{
    connections::{self, Bounds, Interface, Pressure, Reading, RequestBody},
    rpc::{Calls, Door, Limits, Services, overloaded},
};
use lrs_engine::Fleet;
use lrs_runtime::metrics::Exposition;

mod body;
mod dashboard;
mod file;
mod fleet;
mod hosts;
mod observe;
mod origin;
mod outlook;
mod params;
mod probes;
mod problem;
mod reports;
mod traffic;
mod transcode;
mod watch;

pub use hosts::{HostNames, Hosts};
use problem::Problem;

/// What the handlers share.
#[derive(Clone)]
struct Shared {
    door: Door,
    calls: Calls,
    metrics: Exposition,
    fleet: fleet::Board,
    watchers: watch::WatcherSlots,
}

/// All routes, and chores: to forget what the pages showed when nobody looks any more, and to say what the log lacks. The
/// chores run until they are dropped.
pub fn router(
    services: Services,
    metrics: Exposition,
    fleet: Fleet,
    limits: Limits,
    hosts: Hosts,
    pressure: Pressure,
) -> (Router, impl Future<Output = ()>) {
    let (fleet, watchers) = (fleet::Board::new(fleet), watch::WatcherSlots::new(limits.watchers, pressure.clone()));
    let (door, calls) = (services.door.clone(), Calls::new(services));
    let (forget, observer) = (fleet.clone().forget_unseen(), observe::Observer::new());
    let failures = observer.failures();
    let chore = async move {
        tokio::join!(forget, failures.say_left_out());
    };
    let router = Router::new()
        .route("/", get(index))
        .route("/jobs/{namespace}/{job}", get(dashboard::job))
        .route("/compare", get(dashboard::compare))
        .route("/reports", get(dashboard::reports))
        .route("/assets/{name}", get(dashboard::asset))
        .route("/v1/fleet", get(fleet::list))
        .route("/v1/fleet:watch", get(fleet::watch))
        .route("/livez", get(probes::livez))
        .route("/readyz", get(probes::readyz))
        .route("/metrics", get(probes::metrics))
        .route("/v1/namespaces/{namespace}/jobs/{job}/outlook", get(outlook::get));
    let router = transcode::add_routes(router)
        .fallback(unknown_path)
        .method_not_allowed_fallback(unknown_method)
        .layer(DefaultBodyLimit::max(limits.message_bytes))
        .layer(middleware::from_fn_with_state(hosts, origin::check))
        .layer(middleware::map_response(say_what_it_is))
        .layer(middleware::from_fn_with_state(traffic::Slots::new(limits.calls, pressure), traffic::pass))
        .layer(middleware::from_fn_with_state(observer, observe::follow))
        .with_state(Shared { door, calls, metrics, fleet, watchers });
    (router, chore)
}

/// Serves HTTP/1.1 until `stop` is done and the requests under way have been answered.
pub async fn serve(listener: TcpListener, router: Router, bounds: Bounds, stop: impl Future<Output = ()>) {
    let service = router.map_request(|request: http::Request<RequestBody>| request.map(Body::new));
    let refuse = |used_up| Problem::from(overloaded(used_up)).into_response();
    let interface = Interface { service, is_http2: false, reading: |_| Reading::Whole, refuse };
    connections::serve(listener, interface, bounds, stop).await;
}

/// Tells browsers not to guess another content type.
async fn say_what_it_is(mut response: Response) -> Response {
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// The fleet for a browser, a list of routes for a program.
async fn index(headers: HeaderMap) -> Response {
    if probes::accepts(&headers, "text/html") { dashboard::fleet(headers).await } else { probes::index() }
}

/// There is nothing at this path: a page with links for a browser, a problem for a program.
async fn unknown_path(uri: Uri, headers: HeaderMap) -> Response {
    if uri.path().split('/').nth(1) != Some("v1") && probes::accepts(&headers, "text/html") {
        return dashboard::nothing().await;
    }
    let status = Status::not_found(format!("there is nothing at {}; GET / lists what there is", uri.path()));
    Problem::from(status).into_response()
}

/// The router adds the methods that there are to the answer.
async fn unknown_method(method: Method, uri: Uri) -> Problem {
    Problem::method(format!("{method} is not a method of {}", uri.path()), None)
}
