//! What a trainer can be told has gone wrong.

use std::time::Duration;

use tonic::{Code, Status};

/// Why a call of the trainer's client failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The endpoint is not a URL that can be connected to.
    #[error("{endpoint:?} is not an endpoint")]
    Endpoint {
        /// What was given.
        endpoint: String,
        /// What is wrong with it.
        source: tonic::transport::Error,
    },
    /// The service could not be reached in time.
    #[error("the service did not answer within {waited:?}: {}", .last.message())]
    Unreachable {
        /// How long it was tried.
        waited: Duration,
        /// What the last try came to.
        last: Status,
    },
    /// The service refused, and would again: the job is unknown or has ended, or a newer attempt has been started.
    #[error("the service refused ({:?}): {}", .0.code(), .0.message())]
    Refused(Status),
    /// The service's answer makes no sense.
    #[error("the service answered for {job} without any rate")]
    NoRates {
        /// The job.
        job: String,
    },
    /// Steps are reported in rising order, each once.
    #[error("step {step} was reported after step {last}")]
    StepNotRising {
        /// The step.
        step: u64,
        /// The step reported before, or the one before the attempt's first.
        last: u64,
    },
    /// Too many samples wait to become durable.
    #[error("{limit} samples wait to become durable: the service has been away for too long")]
    BacklogFull {
        /// The bound.
        limit: usize,
    },
    /// Not all that was reported became durable in time.
    #[error("{unacknowledged} samples did not become durable within {waited:?} ({})", .last_failure.as_deref().unwrap_or("no failure"))]
    NotDurable {
        /// How many.
        unacknowledged: usize,
        /// How long was waited.
        waited: Duration,
        /// What the last broken connection broke of.
        last_failure: Option<String>,
    },
}

/// Whether the same call would be refused again, however often it is made.
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
