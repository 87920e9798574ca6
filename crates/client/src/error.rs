//! Errors of the trainer's client.

use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::StatusExt as _;

/// Why a call of the trainer's client failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The endpoint is not a URL that the client can connect to.
    #[error("{endpoint:?} is not an endpoint")]
    Endpoint {
        /// The text that was given.
        endpoint: String,
        /// Why the client cannot connect to it.
        source: tonic::transport::Error,
    },
    /// The service could not be reached in time.
    #[error("the service did not answer within {waited:?}: {}", .last.message())]
    Unreachable {
        /// How long the client tried.
        waited: Duration,
        /// The answer to the last try.
        last: Status,
    },
    /// The service refused, and would refuse again: the job is unknown or has ended, or a newer attempt was started.
    #[error("the service refused ({:?}): {}", .0.code(), .0.message())]
    Refused(Status),
    /// The service answered without any rate.
    #[error("the service answered for {job} without any rate")]
    NoRates {
        /// The job.
        job: String,
    },
    /// Steps must be reported in rising order, each once.
    #[error("step {step} was reported after step {last}")]
    StepNotRising {
        /// The step.
        step: u64,
        /// The step reported before it, or the step before the attempt's first step.
        last: u64,
    },
    /// Too many samples wait to become durable.
    #[error("{limit} samples wait to become durable: the service has been away for too long")]
    BacklogFull {
        /// The limit.
        limit: usize,
    },
    /// Some samples did not become durable in time.
    #[error("{unacknowledged} samples did not become durable within {waited:?} ({})", .last_failure.as_deref().unwrap_or("no failure"))]
    NotDurable {
        /// The number of samples that are not durable.
        unacknowledged: usize,
        /// How long the client waited.
        waited: Duration,
        /// Why the last connection broke.
        last_failure: Option<String>,
    },
}

/// Whether the service does not know the attempt: it has lost it, if it has known it before.
pub(super) fn is_unknown_attempt(status: &Status) -> bool {
    let reasons = ["UNKNOWN_ATTEMPT", "NO_ATTEMPT"];
    status.get_details_error_info().is_some_and(|info| reasons.contains(&info.reason.as_str()))
}

/// Whether the service would refuse the same call every time.
pub(super) fn is_permanent(status: &Status) -> bool {
    match status.code() {
        Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::FailedPrecondition
        | Code::OutOfRange
        | Code::Unimplemented
        | Code::Unauthenticated => true,
        Code::Ok
        | Code::Cancelled
        | Code::Unknown
        | Code::DeadlineExceeded
        | Code::ResourceExhausted
        | Code::Aborted
        | Code::Internal
        | Code::Unavailable
        | Code::DataLoss => false,
    }
}
