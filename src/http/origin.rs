//! Programs and our own pages may read and give orders, but not another site's page in the same browser.

use axum::{
    extract::{Request, State},
    http::{HeaderMap, Method, StatusCode, Version, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use tonic::Status;

use super::{Hosts, Problem};

/// Paths that every host may be asked for: they tell nothing of jobs, and probes are sent under many names.
const PROBES: &[&str] = &["/livez", "/readyz", "/metrics"];
/// The most characters of a refused host that are repeated.
const SHOWN: usize = 100;

/// Refuses a request for a host that this server does not have, and a request that changes something if a page of
/// another origin sent it.
pub(super) async fn check(State(hosts): State<Hosts>, request: Request, next: Next) -> Response {
    let has_host = request.headers().contains_key(header::HOST) || request.uri().authority().is_some();
    if request.version() == Version::HTTP_11 && !has_host {
        return Problem::from(Status::invalid_argument("a request over HTTP/1.1 must have a Host header"))
            .into_response();
    }
    if let Some(host) = foreign_host(&hosts, &request) {
        let host: String = host.chars().take(SHOWN).collect();
        let status = Status::permission_denied(format!(
            "{host:?} is not a name of this server: add it to allowed_hosts (LRS_ALLOWED_HOSTS), now {hosts}"
        ));
        return Problem::with_http(status, StatusCode::MISDIRECTED_REQUEST).into_response();
    }
    if changes(request.method()) && is_foreign(request.headers()) {
        let status = Status::permission_denied("a page of another origin may not give orders here");
        return Problem::with_http(status, StatusCode::FORBIDDEN).into_response();
    }
    next.run(request).await
}

/// The host that the request is for, if it is not allowed. What has no host, a program of HTTP/1.0, is not a browser.
fn foreign_host(hosts: &Hosts, request: &Request) -> Option<String> {
    if PROBES.contains(&request.uri().path()) {
        return None;
    }
    let in_headers = request.headers().get_all(header::HOST).iter();
    let in_headers = in_headers.map(|host| String::from_utf8_lossy(host.as_bytes()).into_owned());
    let in_uri = request.uri().authority().map(|authority| authority.as_str().to_owned());
    in_headers.chain(in_uri).find(|host| !hosts.allow(host))
}

fn changes(method: &Method) -> bool {
    !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

/// Judges by headers that the browser sets and no page can change: `Sec-Fetch-Site`, and in browsers without it
/// `Origin`, which must name the host that is asked. Programs send neither.
fn is_foreign(headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    if let Some(site) = text("sec-fetch-site") {
        return !matches!(site, "same-origin" | "none");
    }
    text("origin").is_some_and(|origin| origin.split_once("://").map(|(_, host)| host) != text("host"))
}

#[cfg(test)]
mod tests {
    use axum::{
        Router,
        body::Body,
        middleware,
        routing::{get, post},
    };
    use tower::ServiceExt as _;

    use super::*;

    async fn status(method: &str, path: &str, headers: &[(&str, &str)]) -> StatusCode {
        let router = Router::new()
            .route("/v1/jobs", post(async || "done").get(async || "read"))
            .route("/livez", get(async || "ok"))
            .layer(middleware::from_fn_with_state(Hosts::Private, check));
        let request = Request::builder().method(method).uri(path);
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        router.oneshot(request.body(Body::empty()).unwrap()).await.unwrap().status()
    }

    #[tokio::test]
    async fn a_page_of_another_origin_may_read_and_not_order() {
        let (ok, refused) = (StatusCode::OK, StatusCode::FORBIDDEN);
        for (headers, expected) in [
            (&[][..], ok),
            (&[("origin", "http://lrs:8080")][..], ok),
            (&[("sec-fetch-site", "same-origin"), ("origin", "https://behind.a.proxy")][..], ok),
            (&[("origin", "http://evil.example")][..], refused),
            (&[("origin", "null")][..], refused),
            (&[("sec-fetch-site", "cross-site")][..], refused),
            (&[("sec-fetch-site", "same-site"), ("origin", "http://lrs:8080")][..], refused),
        ] {
            let headers = [&[("host", "lrs:8080")], headers].concat();
            assert_eq!(status("POST", "/v1/jobs", &headers).await, expected, "{headers:?}");
            assert_eq!(status("GET", "/v1/jobs", &headers).await, ok, "{headers:?}");
        }
    }

    #[tokio::test]
    async fn a_page_whose_name_was_made_to_resolve_to_this_server_may_not_even_read() {
        let rebound = [("host", "evil.example:8080"), ("origin", "http://evil.example:8080")];
        let refused = StatusCode::MISDIRECTED_REQUEST;
        for headers in [&rebound[..1], &rebound, &[("host", "lrs"), ("host", "evil.example")]] {
            for method in ["GET", "HEAD", "POST", "DELETE"] {
                assert_eq!(status(method, "/v1/jobs", headers).await, refused, "{method} {headers:?}");
            }
            assert_eq!(status("GET", "/livez", headers).await, StatusCode::OK);
        }
        assert_eq!(status("GET", "http://evil.example/v1/jobs", &[("host", "lrs")]).await, refused);
        assert_eq!(status("GET", "/v1/jobs", &[]).await, StatusCode::BAD_REQUEST);
    }
}
