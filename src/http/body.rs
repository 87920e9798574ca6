//! Bodies of requests and answers: messages in canonical JSON.

use axum::{
    body::Bytes,
    extract::{FromRequest, Request, rejection::BytesRejection},
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::{Serialize, de::DeserializeOwned};
use tonic::Status;

use super::{Problem, params::invalid_error};
use lrs_engine::Error;
use lrs_proto::json::Canonical;

/// The body of a request.
#[derive(Debug)]
pub(super) struct Body(Bytes);

impl<S: Send + Sync> FromRequest<S> for Body {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        match Bytes::from_request(request, state).await {
            Ok(bytes) => Ok(Self(bytes)),
            Err(problem) => Err(refused(&problem)),
        }
    }
}

impl Body {
    /// The message in it; an empty body is an empty message.
    pub(super) fn read<T: DeserializeOwned + Default>(&self) -> Result<T, Error> {
        if self.0.iter().all(u8::is_ascii_whitespace) {
            return Ok(T::default());
        }
        serde_json::from_slice(&self.0).map_err(|problem| invalid_error("body", problem))
    }
}

/// What a service answered, as JSON.
pub(super) fn answer<T: Serialize>(result: Result<tonic::Response<T>, Status>) -> Result<Response, Problem> {
    let message = result?.into_inner();
    let json = to_json(&message)?;
    Ok(([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], json).into_response())
}

/// A message as text.
pub(super) fn to_json<T: Serialize>(message: &T) -> Result<String, Status> {
    serde_json::to_string(&Canonical(message))
        .map_err(|problem| Status::internal(format!("the answer can not be written as JSON: {problem}")))
}

fn refused(problem: &BytesRejection) -> Problem {
    let http = problem.status();
    let status = if http == StatusCode::PAYLOAD_TOO_LARGE {
        Status::out_of_range("the body is larger than this server takes (message_bytes)")
    } else {
        Status::invalid_argument(format!("the body can not be read: {problem}"))
    };
    Problem::with_http(status, http)
}

#[cfg(test)]
mod tests {
    use super::*;
    use lrs_proto::{Job, PauseJobRequest};

    #[test]
    fn an_empty_body_is_an_empty_message() {
        let body = Body(Bytes::from_static(b" \n"));
        assert_eq!(body.read::<PauseJobRequest>().unwrap(), PauseJobRequest::default());
    }

    #[test]
    fn both_cases_are_read() {
        let body = Body(Bytes::from_static(br#"{"spec": {"totalSteps": "7", "decision_lag": 8}}"#));
        let spec = body.read::<Job>().unwrap().spec.unwrap();
        assert_eq!((spec.total_steps, spec.decision_lag), (Some(7), Some(8)));
    }

    #[test]
    fn an_error_says_where_in_the_body() {
        let body = Body(Bytes::from_static(b"{\"spec\": {\n  \"colour\": 1}}"));
        let problem = body.read::<Job>().unwrap_err().to_string();
        assert!(problem.contains("body: unknown field `colour`") && problem.contains("line 2"), "{problem}");
    }
}
