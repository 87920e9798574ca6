//! Around every HTTP request: a bound on the number of requests under way.

use std::sync::Arc;

use axum::{
    extract::{MatchedPath, Request, State},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use tokio::sync::Semaphore;

use super::Problem;
use lrs_engine::Error;

/// How many requests may be under way.
#[derive(Clone)]
pub(super) struct Slots {
    free: Arc<Semaphore>,
    limit: usize,
}

impl Slots {
    /// Slots for `limit` requests.
    pub(super) fn new(limit: usize) -> Self {
        Self { free: Arc::new(Semaphore::new(limit)), limit }
    }
}

/// Lets a request pass if a slot is free. Probes always pass: a busy server is alive.
pub(super) async fn pass(State(slots): State<Slots>, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().map_or("other", MatchedPath::as_str);
    let slot = if route.starts_with("/v1/") { Some(slots.free.try_acquire()) } else { None };
    match slot {
        Some(Err(_)) => Problem::from(Error::Overloaded { what: "the list of requests under way", limit: slots.limit })
            .into_response(),
        Some(Ok(_)) | None => next.run(request).await,
    }
}

#[cfg(test)]
mod tests {
    use axum::{Router, body::Body, http::StatusCode, middleware, routing::get};
    use tower::ServiceExt as _;

    use super::*;

    async fn status(limit: usize, path: &str) -> StatusCode {
        let router = Router::new()
            .route("/livez", get(async || "ok"))
            .route("/v1/jobs", get(async || "ok"))
            .layer(middleware::from_fn_with_state(Slots::new(limit), pass));
        let request = Request::builder().uri(path).body(Body::empty()).unwrap();
        router.oneshot(request).await.unwrap().status()
    }

    #[tokio::test]
    async fn a_request_too_many_is_refused_but_a_probe_is_not() {
        assert_eq!(status(0, "/v1/jobs").await, StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(status(1, "/v1/jobs").await, StatusCode::OK);
        assert_eq!(status(0, "/livez").await, StatusCode::OK);
    }
}
