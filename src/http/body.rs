//! Bodies of requests and answers.

use axum::{
    body::Bytes,
    extract::{FromRequest as _, Request, rejection::BytesRejection},
    http::StatusCode,
};
use lrs_engine::Error;
use lrs_model::violation::Violations;
use lrs_proto::json::Canonical;
use serde::Serialize;
use tonic::Status;

use super::Problem;
use crate::{connections::Unread, rpc};

/// The body of a request, if it is not too large.
pub(super) async fn read(request: Request) -> Result<Bytes, Problem> {
    Bytes::from_request(request, &()).await.map_err(|problem| refused(&problem))
}

/// A message as canonical JSON.
pub(super) fn to_json<T: Serialize>(message: &T) -> Result<String, Status> {
    serde_json::to_string(&Canonical(message))
        .map_err(|problem| Status::internal(format!("the answer cannot be written as JSON: {problem}")))
}

/// The error that `field` is wrong.
pub(super) fn invalid(field: &str, problem: impl std::fmt::Display) -> Error {
    let mut violations = Violations::new();
    violations.add(field, problem);
    Error::Invalid(violations)
}

fn refused(problem: &BytesRejection) -> Problem {
    if let Some(why) = unread(problem) {
        let http = match why {
            Unread::TooSlow(_) => StatusCode::REQUEST_TIMEOUT,
            Unread::UsedUp(_) => StatusCode::TOO_MANY_REQUESTS,
            Unread::ShuttingDown => StatusCode::SERVICE_UNAVAILABLE,
            Unread::Broken => StatusCode::BAD_REQUEST,
        };
        return Problem::with_http(rpc::unread(why), http);
    }
    let http = problem.status();
    let status = if http == StatusCode::PAYLOAD_TOO_LARGE {
        Status::out_of_range("the body is larger than this server takes (message_bytes)")
    } else {
        Status::invalid_argument(format!("the body cannot be read: {problem}"))
    };
    Problem::with_http(status, http)
}

/// Why the connection gave no more of the body, if that was it.
fn unread(problem: &BytesRejection) -> Option<Unread> {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(problem);
    while let Some(error) = cause {
        if let Some(why) = error.downcast_ref() {
            return Some(*why);
        }
        cause = error.source();
    }
    None
}
