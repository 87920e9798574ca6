//! Orders may come from programs and from our own pages, but not from another site's page in the same browser.

use axum::{
    extract::Request,
    http::{HeaderMap, Method, StatusCode},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use tonic::Status;

use super::Problem;

/// Refuses a request that changes something if a page of another origin sent it.
pub(super) async fn check(request: Request, next: Next) -> Response {
    if changes(request.method()) && is_foreign(request.headers()) {
        let status = Status::permission_denied("a page of another origin may not give orders here");
        return Problem::with_http(status, StatusCode::FORBIDDEN).into_response();
    }
    next.run(request).await
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
    use axum::{Router, body::Body, middleware, routing::post};
    use tower::ServiceExt as _;

    use super::*;

    async fn status(method: &str, headers: &[(&str, &str)]) -> StatusCode {
        let router = Router::new()
            .route("/v1/jobs", post(async || "done").get(async || "read"))
            .layer(middleware::from_fn(check));
        let request = Request::builder().method(method).uri("/v1/jobs").header("host", "lrs:8080");
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
            assert_eq!(status("POST", headers).await, expected, "{headers:?}");
            assert_eq!(status("GET", headers).await, ok, "{headers:?}");
        }
    }
}
