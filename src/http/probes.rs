//! For operators of the server: whether it is alive, whether it is ready, and its metrics.

use axum::{
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::json;

use super::Shared;
use lrs_runtime::metrics::families::READY;

/// A short list of routes.
pub(super) fn index() -> Response {
    axum::Json(json!({
        "name": "lrs",
        "version": env!("CARGO_PKG_VERSION"),
        "endpoints": {
            "live": "/livez",
            "ready": "/readyz",
            "metrics": "/metrics",
            "fleet": "/v1/fleet",
            "jobs": "/v1/namespaces/{namespace}/jobs",
            "job_report": "/v1/namespaces/{namespace}/jobs/{job}:report",
            "experiment_report": "/v1/namespaces/{namespace}/experiments/{experiment}:report",
            "schedule_preview": "/v1/schedules:preview",
        },
    }))
    .into_response()
}

/// Says that the process answers.
pub(super) async fn livez() -> &'static str {
    "ok\n"
}

/// Says whether calls can be answered, and if not, why.
pub(super) async fn readyz(State(shared): State<Shared>, headers: HeaderMap) -> Response {
    readiness(shared.door.ready(), wants_json(&headers))
}

/// The metrics in Prometheus' text format.
pub(super) async fn metrics(State(shared): State<Shared>) -> Response {
    READY.gauge([]).set(if shared.door.ready().is_ok() { 1.0 } else { 0.0 });
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], shared.metrics.render()).into_response()
}

fn readiness(ready: Result<(), String>, json: bool) -> Response {
    let status = if ready.is_ok() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    match (ready, json) {
        (Ok(()), false) => (status, "ok\n").into_response(),
        (Ok(()), true) => (status, axum::Json(json!({"ready": true}))).into_response(),
        (Err(why), false) => (status, format!("not ready: {why}\n")).into_response(),
        (Err(why), true) => (status, axum::Json(json!({"ready": false, "reason": why}))).into_response(),
    }
}

fn wants_json(headers: &HeaderMap) -> bool {
    accepts(headers, "application/json")
}

/// Whether the caller accepts this media type by name.
pub(super) fn accepts(headers: &HeaderMap, kind: &str) -> bool {
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    accept.is_some_and(|accept| accept.contains(kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn body(response: Response) -> String {
        let bytes = axum::body::to_bytes(response.into_body(), 1000).await.unwrap();
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    #[tokio::test]
    async fn a_server_that_is_not_ready_says_why() {
        let text = readiness(Err("recovering".into()), false);
        assert_eq!(text.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(body(text).await, "not ready: recovering\n");
        let json = readiness(Err("recovering".into()), true);
        assert_eq!(body(json).await, r#"{"ready":false,"reason":"recovering"}"#);
    }

    #[tokio::test]
    async fn a_server_that_is_ready_says_so() {
        let text = readiness(Ok(()), false);
        assert_eq!(text.status(), StatusCode::OK);
        assert_eq!(body(text).await, "ok\n");
    }

    #[test]
    fn json_is_for_those_who_ask_for_it() {
        let accept = |value: &'static str| HeaderMap::from_iter([(header::ACCEPT, value.parse().unwrap())]);
        assert!(wants_json(&accept("application/json")));
        assert!(!wants_json(&accept("*/*")));
        assert!(!wants_json(&HeaderMap::new()));
    }
}
