//! Errors over HTTP: problem details (RFC 9457), with the code and the details of the gRPC status as further members.

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::trace::{self, Why};

/// The media type of an error's body.
const MEDIA_TYPE: HeaderValue = HeaderValue::from_static("application/problem+json");

/// An error on its way to the caller.
#[derive(Debug)]
pub(super) struct Problem {
    status: Status,
    http: StatusCode,
    allowed: Option<String>,
}

impl Problem {
    /// A problem with another HTTP status than the one that its gRPC code maps to.
    pub(super) fn with_http(status: Status, http: StatusCode) -> Self {
        Self { status, http, allowed: None }
    }

    /// The path does not have this HTTP method. `allowed` lists the methods that it has, unless the router adds them.
    pub(super) fn method(message: String, allowed: Option<String>) -> Self {
        Self { status: Status::unimplemented(message), http: StatusCode::METHOD_NOT_ALLOWED, allowed }
    }

    /// The body.
    pub(super) fn to_json(&self) -> Value {
        let found = self.status.get_error_details();
        let (kind, title) = match found.error_info() {
            Some(info) => (format!("urn:lrs:v1:{}", info.reason), in_words(&info.reason)),
            // There is nothing to say beyond the status code.
            None => ("about:blank".to_owned(), self.http.canonical_reason().unwrap_or("Error").to_owned()),
        };
        let mut body = json!({
            "type": kind,
            "title": title,
            "status": self.http.as_u16(),
            "detail": self.status.message(),
            "code": i32::from(self.status.code()),
            "details": details(&found),
        });
        if let Some(id) = trace::request_id() {
            body["request_id"] = id.into();
        }
        body
    }
}

/// Turns `JOB_NOT_FOUND` into `Job not found`.
fn in_words(reason: &str) -> String {
    let words = reason.replace('_', " ").to_lowercase();
    let mut letters = words.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

impl From<Status> for Problem {
    fn from(status: Status) -> Self {
        let http = http_code(status.code());
        Self::with_http(status, http)
    }
}

impl From<lrs_engine::Error> for Problem {
    fn from(error: lrs_engine::Error) -> Self {
        crate::rpc::status::of(error).into()
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = self.to_json().to_string();
        let mut response = (self.http, [(header::CONTENT_TYPE, MEDIA_TYPE)], body).into_response();
        response.extensions_mut().insert(Why(self.status.message().to_owned()));
        if let Some(allowed) = self.allowed.and_then(|allowed| HeaderValue::try_from(allowed).ok()) {
            response.headers_mut().insert(header::ALLOW, allowed);
        }
        let delay = self.status.get_details_retry_info().and_then(|info| info.retry_delay);
        if let Some(delay) = delay {
            // Whole seconds, at least 1: 0 would mean at once.
            let seconds = delay.as_secs() + u64::from(delay.subsec_nanos() > 0);
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)));
        }
        response
    }
}

/// The mapping of `google/rpc/code.proto`.
fn http_code(code: Code) -> StatusCode {
    match code {
        Code::Ok => StatusCode::OK,
        Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange => StatusCode::BAD_REQUEST,
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::PermissionDenied => StatusCode::FORBIDDEN,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::AlreadyExists | Code::Aborted => StatusCode::CONFLICT,
        Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
        // 499: the client went away. The standard has no name for it.
        Code::Cancelled => StatusCode::from_u16(499).unwrap_or(StatusCode::BAD_REQUEST),
        Code::Unknown | Code::Internal | Code::DataLoss => StatusCode::INTERNAL_SERVER_ERROR,
        Code::Unimplemented => StatusCode::NOT_IMPLEMENTED,
        Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Code::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
    }
}

/// The details that this server gives, as JSON.
fn details(details: &ErrorDetails) -> Vec<Value> {
    let mut found = Vec::new();
    if let Some(info) = details.error_info() {
        found.push(json!({
            "@type": "type.googleapis.com/google.rpc.ErrorInfo",
            "reason": info.reason,
            "domain": info.domain,
            "metadata": info.metadata,
        }));
    }
    if let Some(request) = details.bad_request() {
        let violation = |violation: &tonic_types::FieldViolation| json!({"field": violation.field, "description": violation.description});
        found.push(json!({
            "@type": "type.googleapis.com/google.rpc.BadRequest",
            "field_violations": request.field_violations.iter().map(violation).collect::<Vec<_>>(),
        }));
    }
    if let Some(delay) = details.retry_info().and_then(|info| info.retry_delay) {
        found.push(json!({
            "@type": "type.googleapis.com/google.rpc.RetryInfo",
            "retry_delay": pbjson_types::Duration::from(delay),
        }));
    }
    if let Some(resource) = details.resource_info() {
        found.push(json!({
            "@type": "type.googleapis.com/google.rpc.ResourceInfo",
            "resource_type": resource.resource_type,
            "resource_name": resource.resource_name,
        }));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use lrs_engine::Error;
    use lrs_model::violation::Violations;

    #[test]
    fn violations_are_in_the_body() {
        let mut violations = Violations::new();
        violations.add("job_id", "is required");
        let problem = Problem::from(Error::Invalid(violations));
        assert_eq!(problem.http, StatusCode::BAD_REQUEST);
        let body = problem.to_json();
        assert_eq!((&body["code"], &body["status"]), (&json!(3), &json!(400)));
        assert_eq!(
            (&body["type"], &body["title"]),
            (&json!("urn:lrs:v1:INVALID_ARGUMENT"), &json!("Invalid argument"))
        );
        assert_eq!(body["detail"], "invalid argument: job_id: is required");
        assert_eq!(body["details"][0]["reason"], "INVALID_ARGUMENT");
        assert_eq!(body["details"][1]["@type"], "type.googleapis.com/google.rpc.BadRequest");
        assert_eq!(body["details"][1]["field_violations"][0]["field"], "job_id");
    }

    #[test]
    fn a_problem_without_a_reason_says_what_its_status_says() {
        let problem = Problem::from(Status::not_found("nothing"));
        let body = problem.to_json();
        assert_eq!((&body["type"], &body["title"]), (&json!("about:blank"), &json!("Not Found")));
        assert_eq!(problem.into_response().headers()[header::CONTENT_TYPE], "application/problem+json");
    }

    #[test]
    fn what_passes_by_itself_says_when_to_come_again() {
        let response = Problem::from(Error::Overloaded { what: "the queue", limit: 1 }).into_response();
        assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(response.headers()[header::RETRY_AFTER], "1");
        let body = Problem::from(Error::Overloaded { what: "the queue", limit: 1 }).to_json();
        assert_eq!(body["details"][1]["retry_delay"], "0.100s");
    }

    #[test]
    fn every_code_has_its_status() {
        for (code, expected) in [
            (Code::NotFound, 404),
            (Code::AlreadyExists, 409),
            (Code::Aborted, 409),
            (Code::FailedPrecondition, 400),
            (Code::Unavailable, 503),
            (Code::DataLoss, 500),
            (Code::Cancelled, 499),
        ] {
            assert_eq!(http_code(code).as_u16(), expected, "{code:?}");
        }
    }
}
