//! How a command fails: a message, a line for each invalid field, a hint, and an exit code.

use std::{
    fmt::{self, Display},
    io,
    process::ExitCode,
    time::Duration,
};

use serde_json::{Value, json};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::config;
use lrs_model::{job::Timestamp, name::InvalidName, violation::Violations};
use lrs_runtime::{error::chain, secret::without_addresses};
use lrs_store as store;

/// The exit codes, as `lrs --help` lists them.
pub const EXIT_CODES: &str = "\
Exit codes:
  0  it worked
  1  another failure than those below
  2  wrong usage, invalid input, or a wrong configuration
  3  there is no such job
  4  a conflict: the name is taken, the job has ended, or it has changed in the meantime; the address is in use, another
     server has the database open, or the schema is of another release
  5  the server or the database cannot be reached; try again later
  6  `lrs replay` found a difference, or `lrs doctor` something wrong
  7  not let in: a wrong password, no such database, or a right that is missing
  8  `lrs serve` ended before every call was answered: its grace period was over, or a second signal came";

/// The exit code of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Another failure than those below.
    Failed = 1,
    /// Wrong usage or invalid input.
    Invalid = 2,
    /// No such job.
    NotFound = 3,
    /// A conflict with the current state of the job, the database or the machine.
    Conflict = 4,
    /// The server or the database cannot be reached.
    Unavailable = 5,
    /// `lrs replay` found a difference, or `lrs doctor` a finding.
    Differs = 6,
    /// A wrong password, no such database, a right that is missing.
    Denied = 7,
    /// The server ended before every call was answered.
    Cut = 8,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The exit code of the process.
    pub exit: Exit,
    /// One line.
    pub message: String,
    /// The invalid fields, as field and description.
    pub violations: Vec<(String, String)>,
    /// What the user can do about it.
    pub hint: Option<String>,
}

impl Failure {
    /// A failure with a message alone.
    pub fn new(exit: Exit, message: impl Display) -> Self {
        Self { exit, message: message.to_string(), violations: Vec::new(), hint: None }
    }

    /// Wrong usage or invalid input.
    pub fn invalid(message: impl Display) -> Self {
        Self::new(Exit::Invalid, message)
    }

    /// A failure without a message: the reader of standard output has closed it, as `head` does.
    #[must_use]
    pub fn silent() -> Self {
        Self::silently(Exit::Failed)
    }

    /// A failure whose reason has been said already.
    #[must_use]
    pub fn silently(exit: Exit) -> Self {
        Self::new(exit, "")
    }

    /// The same with a hint.
    #[must_use]
    pub fn with_hint(self, hint: impl Display) -> Self {
        Self { hint: Some(hint.to_string()), ..self }
    }

    /// Invalid input, with its violations.
    pub fn violated(message: impl Display, violations: &Violations) -> Self {
        let violations = violations.iter().map(|v| (v.field.clone(), v.description.clone())).collect();
        Self { violations, ..Self::invalid(message) }
    }

    /// The failure that a server's status stands for.
    #[must_use]
    pub fn of_status(status: &Status) -> Self {
        let details = status.get_error_details();
        let violations = details.bad_request().map_or_else(Vec::new, |bad| {
            bad.field_violations.iter().map(|v| (v.field.clone(), v.description.clone())).collect()
        });
        let reason = details.error_info().map(|info| info.reason.as_str()).unwrap_or_default();
        // The server's message repeats the violations in one long line.
        let message =
            if violations.is_empty() { one_line(status.message()) } else { "the server refused it:".to_owned() };
        let message = if message.is_empty() { status.code().description().to_owned() } else { message };
        let hint = retry_delay(status)
            .map(|delay| format!("try again in {:.1} s", delay.as_secs_f64()))
            .or_else(|| hint_for(status.code(), reason).map(str::to_owned));
        Self { exit: exit_for(status.code()), message, violations, hint }
    }

    /// A line of a log in JSON.
    #[must_use]
    pub fn to_json(&self, now: Timestamp) -> Value {
        let violations =
            self.violations.iter().map(|(field, description)| {
                json!({"field": without_addresses(field), "problem": without_addresses(description)})
            });
        let mut line = json!({
            "timestamp": now.to_string(),
            "level": "ERROR",
            "message": without_addresses(&one_line(&self.message)),
            "exit_code": self.exit as u8,
        });
        if !self.violations.is_empty() {
            line["violations"] = violations.collect();
        }
        if let Some(hint) = &self.hint {
            line["hint"] = one_line(hint).into();
        }
        line
    }

    /// The text for standard error, with colours if asked for.
    #[must_use]
    pub fn render(&self, colour: bool) -> String {
        let (red, cyan, reset) = if colour { ("\x1b[1;31m", "\x1b[36m", "\x1b[0m") } else { ("", "", "") };
        let message = Some(&self.message).filter(|message| !message.is_empty());
        let message = message.map(|message| format!("{red}error:{reset} {message}\n"));
        let violations = self.violations.iter().map(|(field, description)| format!("  {field}: {description}\n"));
        let hint = self.hint.as_ref().map(|hint| format!("{cyan}hint:{reset} {hint}\n"));
        without_addresses(&message.into_iter().chain(violations).chain(hint).collect::<String>())
    }
}

/// The delay that the server asks for before a retry, if any.
#[must_use]
pub fn retry_delay(status: &Status) -> Option<Duration> {
    status.get_details_retry_info()?.retry_delay
}

fn exit_for(code: Code) -> Exit {
    match code {
        Code::InvalidArgument | Code::OutOfRange | Code::Unimplemented => Exit::Invalid,
        Code::NotFound => Exit::NotFound,
        Code::AlreadyExists | Code::FailedPrecondition | Code::Aborted => Exit::Conflict,
        Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::ResourceExhausted => Exit::Unavailable,
        Code::PermissionDenied | Code::Unauthenticated => Exit::Denied,
        Code::Ok | Code::Unknown | Code::Internal | Code::DataLoss => Exit::Failed,
    }
}

fn hint_for(code: Code, reason: &str) -> Option<&'static str> {
    match (code, reason) {
        (_, "JOB_NOT_ENDED") => Some("end it with `lrs job complete`, or add --force"),
        (_, "JOB_ENDED") => Some("an ended job stays as it is; `lrs job fork` makes a new one from any of its steps"),
        (_, "JOB_NOT_FOUND") => Some("`lrs job list --all-namespaces` shows the jobs there are"),
        (_, "TELEMETRY_REMOVED") => {
            Some("the server's `retention` says how long telemetry of ended jobs is kept; a backup may have it still")
        }
        (_, "UNKNOWN_ATTEMPT") => Some("`lrs job attempts` shows the attempts there are"),
        (Code::AlreadyExists, _) => Some("`lrs job apply` gives it the spec of the file; --name chooses another name"),
        (Code::Aborted, _) => Some("somebody else changed it in the meantime: run the command again"),
        (Code::DeadlineExceeded | Code::Cancelled, _) => {
            Some("the server did not answer in time; --timeout sets how long to wait")
        }
        (Code::Unimplemented, _) => Some("the server is of another release than this program; compare `lrs version`"),
        _ => None,
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

impl Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.render(false).trim_end())
    }
}

impl std::error::Error for Failure {}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        Self::of_status(&status)
    }
}

impl From<InvalidName> for Failure {
    fn from(error: InvalidName) -> Self {
        Self::invalid(error).with_hint("write JOB, NAMESPACE/JOB or namespaces/NAMESPACE/jobs/JOB")
    }
}

impl From<store::Error> for Failure {
    fn from(error: store::Error) -> Self {
        Self::new(exit_of_store(&error), chain(&error))
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        error.downcast().unwrap_or_else(|error| {
            match error.downcast_ref() {
                Some(config::Error::Invalid(violations)) => {
                    return Self::violated("the configuration is wrong:", violations);
                }
                Some(config::Error::File { path, problems }) => {
                    return Self::violated(format_args!("the configuration file {path} is wrong:"), problems);
                }
                _ => {}
            }
            let exit = if error.is::<config::Error>() {
                Exit::Invalid
            } else if let Some(error) = error.downcast_ref() {
                exit_of_store(error)
            } else {
                error.downcast_ref::<io::Error>().map_or(Exit::Failed, |error| exit_of_system(error.kind()))
            };
            Self::new(exit, one_line(&chain(error.as_ref())))
        })
    }
}

fn exit_of_store(error: &store::Error) -> Exit {
    match error {
        store::Error::Unavailable(_) | store::Error::Busy(_) | store::Error::OutcomeUnknown(_) => Exit::Unavailable,
        store::Error::NewerSchema { .. }
        | store::Error::OlderSchema { .. }
        | store::Error::Taken { .. }
        | store::Error::Deposed { .. }
        | store::Error::LostTail { .. } => Exit::Conflict,
        store::Error::Denied(_) => Exit::Denied,
        store::Error::Inconsistent { .. }
        | store::Error::Differs { .. }
        | store::Error::Withdrawn
        | store::Error::Undone
        | store::Error::Refused { .. } => Exit::Failed,
    }
}

/// Of a listener, or of a file that is to be written.
fn exit_of_system(kind: io::ErrorKind) -> Exit {
    match kind {
        io::ErrorKind::AddrInUse => Exit::Conflict,
        io::ErrorKind::AddrNotAvailable => Exit::Invalid,
        io::ErrorKind::PermissionDenied => Exit::Denied,
        _ => Exit::Failed,
    }
}

#[cfg(test)]
mod tests {
    use tonic_types::{ErrorDetails, FieldViolation};

    use super::*;

    #[test]
    fn every_violation_of_an_answer_gets_a_line_of_its_own() {
        let details = ErrorDetails::with_bad_request(vec![
            FieldViolation::new("spec.groups[0].base_lr", "-1 is not allowed: must be finite and at least 0"),
            FieldViolation::new("spec.schedule", "is required"),
        ]);
        let status = Status::with_error_details(Code::InvalidArgument, "2 violations", details);

        let failure = Failure::of_status(&status);

        assert_eq!(failure.exit, Exit::Invalid);
        assert_eq!(
            failure.render(false),
            "error: the server refused it:\n  spec.groups[0].base_lr: -1 is not allowed: must be finite and at least 0\n  \
             spec.schedule: is required\n"
        );
    }

    #[test]
    fn an_overloaded_server_says_when_to_come_back() {
        let details = ErrorDetails::with_retry_info(Some(Duration::from_millis(1500)));
        let status = Status::with_error_details(Code::ResourceExhausted, "the queue is full (4096)", details);
        assert_eq!(
            Failure::of_status(&status).render(false),
            "error: the queue is full (4096)\nhint: try again in 1.5 s\n"
        );
    }

    #[test]
    fn each_kind_of_failure_has_its_exit_code() {
        for (code, exit) in [
            (Code::InvalidArgument, 2),
            (Code::NotFound, 3),
            (Code::AlreadyExists, 4),
            (Code::FailedPrecondition, 4),
            (Code::Aborted, 4),
            (Code::Unavailable, 5),
            (Code::PermissionDenied, 7),
            (Code::Internal, 1),
        ] {
            assert_eq!(Failure::of_status(&Status::new(code, "")).exit as u8, exit, "{code:?}");
        }
    }

    #[test]
    fn a_failure_keeps_its_exit_code_through_anyhow() {
        let failure = Failure::new(Exit::Unavailable, "away");
        assert_eq!(Failure::from(anyhow::Error::new(failure.clone())), failure);
        assert_eq!(Failure::from(anyhow::anyhow!("inner").context("outer")).message, "outer: inner");
    }

    #[test]
    fn a_wrong_configuration_is_wrong_usage_field_by_field() {
        let options = config::Options { grpc_listen: Some("nonsense".to_owned()), ..config::Options::default() };
        let failure = Failure::from(anyhow::Error::from(config::Config::checked(options).unwrap_err()));
        assert_eq!((failure.exit, failure.violations[0].0.as_str()), (Exit::Invalid, "grpc_listen"));
    }

    #[test]
    fn whatever_ends_a_server_has_its_exit_code() {
        let io = |kind| anyhow::Error::from(io::Error::from(kind));
        for (error, exit) in [
            (store::Error::unavailable("refused").into(), Exit::Unavailable),
            (store::Error::busy("locked").into(), Exit::Unavailable),
            (store::Error::denied("a wrong password").into(), Exit::Denied),
            (store::Error::Taken { holder: "another".to_owned() }.into(), Exit::Conflict),
            (store::Error::NewerSchema { found: 2, known: 1 }.into(), Exit::Conflict),
            (store::Error::refused("to migrate", "no").into(), Exit::Failed),
            (io(io::ErrorKind::AddrInUse), Exit::Conflict),
            (io(io::ErrorKind::AddrNotAvailable), Exit::Invalid),
            (io(io::ErrorKind::PermissionDenied), Exit::Denied),
            (io(io::ErrorKind::StorageFull), Exit::Failed),
            (anyhow::anyhow!("a listener ended by itself"), Exit::Failed),
        ] {
            let failure = Failure::from(error.context("the server cannot start"));
            assert_eq!(failure.exit, exit, "{failure}");
            assert!(failure.message.starts_with("the server cannot start"), "{failure}");
        }
    }

    #[test]
    fn colours_are_only_there_when_asked_for() {
        let failure = Failure::invalid("no").with_hint("yes");
        assert!(!failure.render(false).contains('\x1b'));
        assert!(failure.render(true).contains("\x1b[1;31merror:"));
    }
}
