//! Around every HTTP request: a bound on the number of requests under way.

use std::sync::Arc;

use axum::{
    extract::{MatchedPath, Request, State},
    http::header::CONTENT_TYPE,
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use tokio::sync::Semaphore;

use super::Problem;
use crate::connections::{self, Pressure};
use lrs_engine::Error;

/// How many requests may be under way.
#[derive(Clone)]
pub(super) struct Slots {
    free: Arc<Semaphore>,
    limit: usize,
    pressure: Pressure,
}

impl Slots {
    /// Slots for `limit` requests.
    pub(super) fn new(limit: usize, pressure: Pressure) -> Self {
        Self { free: Arc::new(Semaphore::new(limit)), limit, pressure }
    }
}

/// Lets a request pass if a slot is free, which it holds until its answer has been written. Probes always pass: a busy
/// server is alive. A stream of events gives its slot back when it begins, since it has one of its own.
pub(super) async fn pass(State(slots): State<Slots>, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().map_or("other", MatchedPath::as_str);
    let slot = if route.starts_with("/v1/") { Some(Arc::clone(&slots.free).try_acquire_owned()) } else { None };
    match slot {
        Some(Err(_)) => {
            slots.pressure.note();
            let what = "the list of requests under way (max_calls)";
            Problem::from(Error::Overloaded { what, limit: slots.limit }).into_response()
        }
        Some(Ok(slot)) => {
            let mut response = next.run(request).await;
            if !is_event_stream(&response) {
                connections::hold(&mut response, slot);
            }
            response
        }
        None => next.run(request).await,
    }
}

fn is_event_stream(response: &Response) -> bool {
    response.headers().get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"))
}

#[cfg(test)]
mod tests {
    use axum::{Router, body::Body, http::StatusCode, middleware, routing::get};
    use tokio_util::sync::CancellationToken;
    use tower::ServiceExt as _;

    use super::*;

    async fn status(limit: usize, path: &str) -> StatusCode {
        let router = Router::new()
            .route("/livez", get(async || "ok"))
            .route("/v1/jobs", get(async || "ok"))
            .layer(middleware::from_fn_with_state(Slots::new(limit, Pressure::new(CancellationToken::new())), pass));
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
