//! Turns errors of the engine into gRPC statuses: the only place that gives an error its code, its reason and its
//! details.
//!
//! Every status has a `google.rpc.ErrorInfo` with a reason in [`DOMAIN`] that clients can rely on, and a `RequestInfo`
//! with the identifier that the log has too. An invalid argument also has a `BadRequest` with every violation, an error
//! that passes by itself a `RetryInfo`, and an error about a job a `ResourceInfo`.

use std::{collections::HashMap, time::Duration};

use crate::trace;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, StatusExt as _};

use lrs_engine::Error;
use lrs_model::violation::Violations;
use lrs_runtime::{error::chain, throttle::Throttle};

/// The domain of every `ErrorInfo.reason`.
pub const DOMAIN: &str = "lrs.v1";

/// The resource type of every `ResourceInfo`.
const JOB: &str = "lrs.v1.Job";
/// The most bytes of violations in a status. A status travels in headers; clients read some 8 KiB of text and details
/// together, and reset the stream if there is more.
const MAX_VIOLATIONS_BYTES: usize = 1500;
/// The most characters of one text, such as a refused value, in a status.
const MAX_TEXT_CHARS: usize = 400;
/// When to try again after a limit has been reached.
const RETRY_WHEN_FULL: Duration = Duration::from_millis(100);
/// When to try again while the database or the engine is away.
const RETRY_WHEN_AWAY: Duration = Duration::from_secs(1);

/// Callers that try again and again must not fill the log. The line about the failing call is counted elsewhere.
static LINES: Throttle = Throttle::new(5);

/// The status of an error of the engine.
#[must_use]
#[expect(clippy::needless_pass_by_value, reason = "handed over to `map_err`")]
pub fn of(error: Error) -> Status {
    // No `_` arm: a new error does not compile until it has a code and a reason.
    let (code, reason) = match &error {
        Error::Invalid(_) => (Code::InvalidArgument, "INVALID_ARGUMENT"),
        Error::JobNotFound(_) => (Code::NotFound, "JOB_NOT_FOUND"),
        Error::ExperimentNotFound { .. } => (Code::NotFound, "EXPERIMENT_NOT_FOUND"),
        Error::JobExists { .. } => (Code::AlreadyExists, "JOB_EXISTS"),
        // Not ALREADY_EXISTS: a different change exists under this identifier, and sending this one again will not
        // help.
        Error::RequestIdReused { .. } => (Code::FailedPrecondition, "REQUEST_ID_REUSED"),
        Error::JobEnded { .. } => (Code::FailedPrecondition, "JOB_ENDED"),
        Error::JobNotEnded { .. } => (Code::FailedPrecondition, "JOB_NOT_ENDED"),
        Error::NoAttempt(_) => (Code::FailedPrecondition, "NO_ATTEMPT"),
        Error::StaleAttempt { .. } => (Code::FailedPrecondition, "STALE_ATTEMPT"),
        Error::UnknownAttempt { .. } => (Code::NotFound, "UNKNOWN_ATTEMPT"),
        Error::AttemptTokenReused { .. } => (Code::FailedPrecondition, "ATTEMPT_TOKEN_REUSED"),
        Error::EtagMismatch { .. } => (Code::Aborted, "ETAG_MISMATCH"),
        Error::WrongState { .. } => (Code::FailedPrecondition, "WRONG_STATE"),
        Error::TelemetryRemoved { .. } => (Code::FailedPrecondition, "TELEMETRY_REMOVED"),
        Error::JobDamaged { .. } => (Code::DataLoss, "JOB_DAMAGED"),
        Error::Overloaded { .. } => (Code::ResourceExhausted, "OVERLOADED"),
        Error::StoreUnavailable(_) | Error::OutcomeUnknown(_) => (Code::Unavailable, "STORE_UNAVAILABLE"),
        Error::StoreBusy(_) => (Code::Unavailable, "STORE_BUSY"),
        Error::Store(_) => (Code::Internal, "INTERNAL"),
        Error::Deposed => (Code::Unavailable, "DEPOSED"),
        Error::ShuttingDown => (Code::Unavailable, "SHUTTING_DOWN"),
    };
    let mut details = ErrorDetails::with_error_info(reason, DOMAIN, facts(&error));
    if let Error::Invalid(violations) = &error {
        details.set_bad_request(told(violations));
    }
    if let Some(delay) = retry_delay(&error) {
        details.set_retry_info(Some(delay));
    }
    if let Some(id) = trace::request_id() {
        details.set_request_info(id, "");
    }
    if let Some(job) = job_of(&error) {
        details.set_resource_info(JOB, job, "", "");
    }
    let message = match &error {
        // The log shows the SQL, but the caller must not see it.
        Error::Store(problem) => {
            if LINES.passes() {
                tracing::error!("A call failed in the database: {}", chain(problem));
            }
            "the database refused; the server's log says why".to_owned()
        }
        Error::JobDamaged { job, problem } => {
            if LINES.passes() {
                tracing::error!(job.name = %job, %problem, "{job} is out of service: {problem}");
            }
            error.to_string()
        }
        Error::Invalid(violations) => {
            let told = told(violations);
            let texts: Vec<String> = told.iter().map(|v| format!("{}: {}", v.field, v.description)).collect();
            format!("invalid argument: {}", texts.join("; "))
        }
        // The causes may contain SQL too.
        Error::StoreUnavailable(problem) | Error::OutcomeUnknown(problem) => {
            tracing::debug!("A call has to be repeated, as the database is not available: {}", chain(problem));
            error.to_string()
        }
        other => shortened(&other.to_string()),
    };
    Status::with_error_details(code, message, details)
}

/// The status of a call before the server can answer calls.
pub(crate) fn not_ready(why: &str) -> Status {
    let mut details = ErrorDetails::with_error_info("NOT_READY", DOMAIN, HashMap::new());
    details.set_retry_info(Some(RETRY_WHEN_AWAY));
    Status::with_error_details(Code::Unavailable, format!("the server is not ready yet: {why}"), details)
}

/// The facts about an error, for programs.
fn facts(error: &Error) -> HashMap<String, String> {
    let pairs: Vec<(&str, String)> = match error {
        Error::StaleAttempt { attempt, newest, .. } => {
            vec![("attempt", attempt.to_string()), ("newest_attempt", newest.to_string())]
        }
        Error::UnknownAttempt { attempt, newest, .. } => {
            vec![("attempt", attempt.to_string()), ("newest_attempt", newest.to_string())]
        }
        Error::AttemptTokenReused { first, .. } => vec![("resume_step", first.to_string())],
        Error::JobEnded { state, .. } | Error::JobNotEnded { state, .. } | Error::WrongState { state, .. } => {
            vec![("state", state.to_string())]
        }
        Error::EtagMismatch { found, .. } => vec![("etag", found.clone())],
        Error::TelemetryRemoved { removed_time, .. } => vec![("removed_time", removed_time.clone())],
        Error::StoreUnavailable(_) | Error::StoreBusy(_) => vec![("outcome", "unchanged".to_owned())],
        Error::OutcomeUnknown(_) => vec![("outcome", "unknown".to_owned())],
        Error::Overloaded { what, limit } => vec![("what", (*what).to_owned()), ("limit", limit.to_string())],
        _ => Vec::new(),
    };
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn retry_delay(error: &Error) -> Option<Duration> {
    match error {
        Error::Overloaded { .. } => Some(RETRY_WHEN_FULL),
        Error::StoreUnavailable(_)
        | Error::StoreBusy(_)
        | Error::OutcomeUnknown(_)
        | Error::Deposed
        | Error::ShuttingDown => Some(RETRY_WHEN_AWAY),
        _ => None,
    }
}

fn job_of(error: &Error) -> Option<String> {
    match error {
        Error::JobNotFound(job) | Error::JobDamaged { job, .. } => Some(job.clone()),
        Error::JobExists { job, .. }
        | Error::RequestIdReused { job, .. }
        | Error::JobEnded { job, .. }
        | Error::JobNotEnded { job, .. }
        | Error::NoAttempt(job)
        | Error::StaleAttempt { job, .. }
        | Error::UnknownAttempt { job, .. }
        | Error::AttemptTokenReused { job, .. }
        | Error::EtagMismatch { job, .. }
        | Error::TelemetryRemoved { job, .. }
        | Error::WrongState { job, .. } => Some(job.to_string()),
        Error::Invalid(_)
        | Error::ExperimentNotFound { .. }
        | Error::Overloaded { .. }
        | Error::StoreUnavailable(_)
        | Error::StoreBusy(_)
        | Error::OutcomeUnknown(_)
        | Error::Store(_)
        | Error::Deposed
        | Error::ShuttingDown => None,
    }
}

/// As many violations as there is room for; the last one says how many were left out.
fn told(violations: &Violations) -> Vec<FieldViolation> {
    let mut room = MAX_VIOLATIONS_BYTES;
    let mut told = Vec::new();
    for violation in violations.iter() {
        let (field, description) = (shortened(&violation.field), shortened(&violation.description));
        let Some(left) = room.checked_sub(field.len() + description.len()) else {
            told.push(FieldViolation::new(field, format!("this too, and {} in all", violations.len())));
            break;
        };
        room = left;
        told.push(FieldViolation::new(field, description));
    }
    told
}

/// `text`, or its beginning.
fn shortened(text: &str) -> String {
    match text.char_indices().nth(MAX_TEXT_CHARS) {
        Some((end, _)) => format!("{}… ({} characters)", &text[..end], text.chars().count()),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lrs_model::{job::State, name::JobName};
    use lrs_runtime::error::Cause;

    fn job() -> JobName {
        JobName::new("a", "b").unwrap()
    }

    fn reason(status: &Status) -> String {
        status.get_details_error_info().unwrap().reason
    }

    #[test]
    fn an_invalid_argument_carries_every_violation() {
        let mut violations = Violations::new();
        violations.refuse("job.spec.groups[0].base_lr", -1, "at least 0");
        violations.add("job_id", "is required");

        let status = of(Error::Invalid(violations));

        assert_eq!(status.code(), Code::InvalidArgument);
        let found = status.get_details_bad_request().unwrap().field_violations;
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].field, "job.spec.groups[0].base_lr");
        assert_eq!(found[0].description, "-1 is not allowed: must be at least 0");
        assert!(status.message().contains("job_id: is required"));
    }

    #[test]
    fn however_much_is_wrong_fits_into_the_headers_of_an_answer() {
        let mut violations = Violations::new();
        violations.refuse("name", "x".repeat(1 << 20), "shorter");
        (0..1000).for_each(|i| violations.add(format!("groups[{i}].schedule"), "is too large"));

        let status = of(Error::Invalid(violations));

        let (text, details) = (status.message().len(), status.details().len());
        assert!(text + details * 4 / 3 < 8000, "{text} and {details}");
        let told = status.get_details_bad_request().unwrap().field_violations;
        assert!(told[0].description.ends_with("… (1048608 characters)"), "{:?}", told[0]);
        assert!(told.len() > 10 && told.last().unwrap().description.contains("1001 in all"), "{told:?}");
    }

    #[test]
    fn each_error_has_its_code_and_reason() {
        let cases = [
            (Error::JobNotFound("x".into()), Code::NotFound, "JOB_NOT_FOUND"),
            (
                Error::ExperimentNotFound { namespace: "a".into(), experiment: "e".into() },
                Code::NotFound,
                "EXPERIMENT_NOT_FOUND",
            ),
            (Error::JobExists { job: job(), differs: "seed".to_owned() }, Code::AlreadyExists, "JOB_EXISTS"),
            (
                Error::RequestIdReused { job: job(), request_id: "r".into() },
                Code::FailedPrecondition,
                "REQUEST_ID_REUSED",
            ),
            (Error::JobEnded { job: job(), state: State::Failed }, Code::FailedPrecondition, "JOB_ENDED"),
            (Error::JobNotEnded { job: job(), state: State::Running }, Code::FailedPrecondition, "JOB_NOT_ENDED"),
            (Error::NoAttempt(job()), Code::FailedPrecondition, "NO_ATTEMPT"),
            (Error::StaleAttempt { job: job(), attempt: 1, newest: 2 }, Code::FailedPrecondition, "STALE_ATTEMPT"),
            (Error::UnknownAttempt { job: job(), attempt: 9, newest: 2 }, Code::NotFound, "UNKNOWN_ATTEMPT"),
            (
                Error::AttemptTokenReused { job: job(), token: "t".into(), first: 1, now: 2 },
                Code::FailedPrecondition,
                "ATTEMPT_TOKEN_REUSED",
            ),
            (
                Error::EtagMismatch { job: job(), expected: "1".into(), found: "2".into() },
                Code::Aborted,
                "ETAG_MISMATCH",
            ),
            (
                Error::TelemetryRemoved { job: job(), removed_time: "2026-01-01T00:00:00Z".into() },
                Code::FailedPrecondition,
                "TELEMETRY_REMOVED",
            ),
            (
                Error::WrongState { job: job(), state: State::Paused, problem: "no".into() },
                Code::FailedPrecondition,
                "WRONG_STATE",
            ),
            (Error::JobDamaged { job: "x".into(), problem: "p".into() }, Code::DataLoss, "JOB_DAMAGED"),
            (Error::Overloaded { what: "queue", limit: 1 }, Code::ResourceExhausted, "OVERLOADED"),
            (Error::StoreUnavailable(Cause::new("away")), Code::Unavailable, "STORE_UNAVAILABLE"),
            (Error::OutcomeUnknown(Cause::new("away")), Code::Unavailable, "STORE_UNAVAILABLE"),
            (Error::StoreBusy(Cause::new("locked")), Code::Unavailable, "STORE_BUSY"),
            (Error::Store(Cause::new("select")), Code::Internal, "INTERNAL"),
            (Error::Deposed, Code::Unavailable, "DEPOSED"),
            (Error::ShuttingDown, Code::Unavailable, "SHUTTING_DOWN"),
        ];
        for (error, code, expected) in cases {
            let shown = format!("{error:?}");
            let status = of(error);
            assert_eq!((status.code(), reason(&status).as_str()), (code, expected), "{shown}");
            assert_eq!(status.get_details_error_info().unwrap().domain, DOMAIN);
        }
    }

    #[test]
    fn what_passes_by_itself_says_when_to_come_again() {
        for error in [
            Error::Overloaded { what: "the queue", limit: 4096 },
            Error::StoreUnavailable(Cause::new("refused")),
            Error::ShuttingDown,
        ] {
            let status = of(error);
            assert!(status.get_details_retry_info().unwrap().retry_delay.unwrap() > Duration::ZERO);
        }
        assert!(of(Error::NoAttempt(job())).get_details_retry_info().is_none());
    }

    #[test]
    fn a_caller_never_sees_sql() {
        let sql = Cause::new("syntax error in: select seq from decisions");
        for error in [Error::Store(sql.clone()), Error::StoreUnavailable(sql)] {
            let status = of(error);
            assert!(!status.message().contains("select"), "{}", status.message());
            assert!(!String::from_utf8_lossy(status.details()).contains("select"));
        }
    }

    #[test]
    fn what_is_about_a_job_names_it() {
        let status = of(Error::StaleAttempt { job: job(), attempt: 1, newest: 2 });
        assert_eq!(status.get_details_resource_info().unwrap().resource_name, "namespaces/a/jobs/b");
        assert_eq!(status.get_details_error_info().unwrap().metadata["newest_attempt"], "2");
    }
}
