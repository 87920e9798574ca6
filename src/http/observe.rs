//! Around every HTTP request: its identifier and trace, in the log and in the answer, what is counted of it, and a line
//! about a request that fails.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use axum::{
    extract::{MatchedPath, Request, State},
    http::{Method, StatusCode},
    middleware::Next,
    response::Response,
};
use tokio::time::Instant;
use tonic::transport::server::TcpConnectInfo;
use tracing::Level;

use super::transcode;
use crate::trace::{Call, Failures, REQUEST_ID, Why};
use lrs_runtime::metrics::families::{HTTP_DURATION, HTTP_REQUESTS};

/// The routes that are not methods of a service.
const OWN: [&str; 11] = [
    "/",
    "/jobs/{namespace}/{job}",
    "/compare",
    "/reports",
    "/assets/{name}",
    "/v1/fleet",
    "/v1/fleet:watch",
    "/livez",
    "/readyz",
    "/metrics",
    "/v1/namespaces/{namespace}/jobs/{job}/outlook",
];
/// What anybody who watches the server asks again and again; the log says by itself that a server is not ready.
const PROBES: [&str; 3] = ["/livez", "/readyz", "/metrics"];
/// The label of a path or a method that does not exist.
const OTHER: &str = "other";
/// Statuses that show from the start; each route has some of them.
const STATUSES: [StatusCode; 9] = [
    StatusCode::OK,
    StatusCode::BAD_REQUEST,
    StatusCode::FORBIDDEN,
    StatusCode::NOT_FOUND,
    StatusCode::CONFLICT,
    StatusCode::TOO_MANY_REQUESTS,
    StatusCode::INTERNAL_SERVER_ERROR,
    StatusCode::SERVICE_UNAVAILABLE,
    StatusCode::GATEWAY_TIMEOUT,
];

/// What all requests share. Cheap to clone.
#[derive(Clone)]
pub(super) struct Observer {
    /// The routes with a verb at the end, which the router does not tell apart.
    routes: Arc<BTreeSet<String>>,
    failures: Failures,
}

impl Observer {
    /// Shows the metrics of every route, and tells of requests that fail.
    pub(super) fn new() -> Self {
        let routes = routes();
        for (route, methods) in &routes {
            for method in methods {
                HTTP_DURATION.show([method, route]);
                for status in STATUSES {
                    HTTP_REQUESTS.show([method, route, status.as_str()]);
                }
            }
        }
        let places = routes.iter().flat_map(|(route, methods)| methods.iter().map(move |method| place(method, route)));
        let failures = Failures::new(places);
        Self { routes: Arc::new(routes.into_keys().collect()), failures }
    }

    /// The requests that fail.
    pub(super) fn failures(&self) -> Failures {
        self.failures.clone()
    }

    /// The route of a request, by the path that the router found and the verb at the end.
    fn route(&self, request: &Request) -> &str {
        let Some(matched) = request.extensions().get::<MatchedPath>() else { return OTHER };
        let verb = request.uri().path().rsplit_once(':').map(|(_, verb)| format!("{}:{verb}", matched.as_str()));
        let known = verb.and_then(|route| self.routes.get(&route)).or_else(|| self.routes.get(matched.as_str()));
        known.map_or(OTHER, String::as_str)
    }
}

/// Every route with its methods, and what stands for all others.
fn routes() -> BTreeMap<String, BTreeSet<&'static str>> {
    let mut routes: BTreeMap<String, BTreeSet<&'static str>> = BTreeMap::new();
    for (method, route) in transcode::routes() {
        routes.entry(route).or_default().insert(label(&method));
    }
    for path in OWN {
        routes.entry(path.to_owned()).or_default().insert("GET");
    }
    routes.entry(OTHER.to_owned()).or_default().extend(["GET", OTHER]);
    routes
}

/// An HTTP method as a label: a caller may send any word.
fn label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        _ => OTHER,
    }
}

fn place(method: &str, route: &str) -> String {
    format!("{method} {route}")
}

/// Follows a request.
pub(super) async fn follow(State(observer): State<Observer>, request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let (method, route) = (label(request.method()), observer.route(&request));
    let peer = request.extensions().get::<TcpConnectInfo>().and_then(TcpConnectInfo::remote_addr);
    let name = place(method, route);
    let call = Call::new(&name, request.headers(), peer);
    let mut response = call.around(next.run(request)).await;
    response.headers_mut().insert(REQUEST_ID, call.request_id());

    let status = response.status();
    HTTP_REQUESTS.counter([method, route, status.as_str()]).increment(1);
    HTTP_DURATION.histogram([method, route]).record(begun.elapsed().as_secs_f64());
    if (status.is_client_error() || status.is_server_error()) && !PROBES.contains(&route) {
        let why = response.extensions_mut().remove::<Why>();
        let why = why.as_ref().map_or_else(|| status.canonical_reason().unwrap_or_default(), |Why(why)| why);
        observer.failures.tell(&call, &name, level(status), status.as_str(), why);
    }
    response
}

/// Whose fault a status is: `INFO` is the caller's, the others are ours.
fn level(status: StatusCode) -> Level {
    match status {
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT => Level::WARN,
        StatusCode::NOT_IMPLEMENTED => Level::INFO,
        _ if status.is_server_error() => Level::ERROR,
        _ => Level::INFO,
    }
}

#[cfg(test)]
mod tests {
    use axum::{Router, body::Body, middleware, routing::post};
    use tower::ServiceExt as _;

    use super::*;

    #[test]
    fn every_route_of_the_router_has_its_label() {
        let quoted = include_str!("../http.rs").split(".route(").skip(1).filter_map(|rest| rest.split('"').nth(1));
        assert_eq!(quoted.collect::<BTreeSet<_>>(), OWN.into_iter().collect());
    }

    #[tokio::test]
    async fn a_request_is_counted_by_its_verb_and_never_by_what_the_caller_makes_up() {
        let metrics = lrs_runtime::metrics::install().unwrap();
        let path = "/v1/namespaces/{namespace}/jobs/{job}";
        let router = Router::new()
            .route(path, post(async || StatusCode::CONFLICT))
            .layer(middleware::from_fn_with_state(Observer::new(), follow));
        for (method, path) in [
            ("POST", "/v1/namespaces/a/jobs/b:pause"),
            ("POST", "/v1/namespaces/a/jobs/b:made-up"),
            ("MADEUP", "/v1/namespaces/a/jobs/b"),
        ] {
            let request = Request::builder().method(method).uri(path).header(REQUEST_ID, "r").body(Body::empty());
            let answer = router.clone().oneshot(request.unwrap()).await.unwrap();
            assert_eq!(answer.headers()[REQUEST_ID], "r");
        }
        let text = metrics.render();
        let counted = |labels: &str| text.contains(&format!("lrs_http_requests_total{{{labels}}} 1\n"));
        assert!(counted(&format!(r#"method="POST",route="{path}:pause",status="409""#)), "{text}");
        assert!(counted(&format!(r#"method="POST",route="{path}",status="409""#)), "{text}");
        assert!(counted(&format!(r#"method="other",route="{path}",status="405""#)), "{text}");
        assert!(!text.contains("made-up") && !text.contains("MADEUP"), "{text}");
    }
}
