//! The HTTP interface: probes, metrics, the monitor's pages, and the JSON form of the operators' services under `/v1/`.
//!
//! JSON requests become calls of the same methods that gRPC serves, inside the process (`transcode`). So there is one
//! mapping of requests and one set of checks.

use std::{future::Future, pin::pin};

use axum::{
    Router,
    extract::{DefaultBodyLimit, Request},
    http::{HeaderMap, HeaderValue, Method, Uri, header},
    middleware,
    response::{IntoResponse as _, Response},
    routing::get,
};
use futures::StreamExt as _;
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto, graceful::GracefulShutdown},
    service::TowerToHyperService,
};
use tokio::{net::TcpListener, task::JoinSet};
use tonic::{Status, transport::server::Connected as _};
use tower::ServiceExt as _;

use crate::{
    connections,
    rpc::{Calls, Door, Limits, Services},
};
use lrs_engine::Fleet;
use lrs_runtime::metrics::Exposition;

mod body;
mod dashboard;
mod file;
mod fleet;
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

use observe::OpenedBy;
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
) -> (Router, impl Future<Output = ()>) {
    let (fleet, watchers) = (fleet::Board::new(fleet), watch::WatcherSlots::new(limits.watchers));
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
        .layer(middleware::from_fn(origin::check))
        .layer(middleware::map_response(say_what_it_is))
        .layer(middleware::from_fn_with_state(traffic::Slots::new(limits.calls), traffic::pass))
        .layer(middleware::from_fn_with_state(observer, observe::follow))
        .with_state(Shared { door, calls, metrics, fleet, watchers });
    (router, chore)
}

/// Serves HTTP/1.1 until `stop` is done and the requests under way have been answered. A connection on which no whole
/// head of a request comes for `header_timeout` is closed.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    limits: Limits,
    stop: impl Future<Output = ()> + Send + 'static,
) {
    // No HTTP/2: to tell it apart, a connection would be read without a time-out.
    let mut server = auto::Builder::new(TokioExecutor::new()).http1_only();
    server.http1().timer(TokioTimer::new()).header_read_timeout(limits.header_timeout);
    let (mut tasks, graceful) = (JoinSet::new(), GracefulShutdown::new());
    let (mut connections, mut stop) = (pin!(connections::accept(listener, limits.connections)), pin!(stop));
    loop {
        let connection = tokio::select! {
            Some(Ok(connection)) = connections.next() => connection,
            () = &mut stop => break,
        };
        let peer = OpenedBy(connection.connect_info().remote_addr());
        let service = router.clone().map_request(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(peer);
            request
        });
        let service = TowerToHyperService::new(service);
        let answers = graceful.watch(server.serve_connection(TokioIo::new(connection), service).into_owned());
        tasks.spawn(async move {
            if let Err(problem) = answers.await {
                tracing::debug!(%problem, "An HTTP connection broke");
            }
        });
        while tasks.try_join_next().is_some() {}
    }
    graceful.shutdown().await;
    tasks.join_all().await;
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
