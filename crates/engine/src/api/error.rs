//! What can go wrong with a call to the engine.

use lrs_model::{job::State, name::JobName, violation::Violations};
use lrs_runtime::error::Cause;

/// Why a call to the engine failed. Nothing was changed, unless said otherwise.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The spec, or another argument, is wrong: every violation, by field.
    #[error("invalid argument: {0}")]
    Invalid(Violations),
    /// There is no such job.
    #[error("there is no job {0}")]
    JobNotFound(String),
    /// No job of the namespace is of this experiment.
    #[error("no job of namespaces/{namespace} is of the experiment {experiment:?}")]
    ExperimentNotFound {
        /// The namespace.
        namespace: String,
        /// The experiment.
        experiment: String,
    },
    /// The name is taken by a job with another spec.
    #[error("{job} exists already, with another spec: {differs}")]
    JobExists {
        /// The job.
        job: JobName,
        /// The fields of the spec that differ.
        differs: String,
    },
    /// The request was made before with other contents.
    #[error("request_id {request_id:?} was used before for another change of {job}")]
    RequestIdReused {
        /// The job.
        job: JobName,
        /// The request's identifier.
        request_id: String,
    },
    /// The job has ended, so it takes no telemetry, gives no rates and cannot be changed.
    #[error("{job} has ended: it is {state}")]
    JobEnded {
        /// The job.
        job: JobName,
        /// How it ended.
        state: State,
    },
    /// The job has not ended, and must have.
    #[error("{job} is {state}: end it first, or set force")]
    JobNotEnded {
        /// The job.
        job: JobName,
        /// Its state.
        state: State,
    },
    /// No attempt has been started.
    #[error("{0} has no attempt yet: call StartAttempt first")]
    NoAttempt(JobName),
    /// The attempt is not the newest.
    #[error("attempt {attempt} of {job} is over: attempt {newest} is the newest")]
    StaleAttempt {
        /// The job.
        job: JobName,
        /// The attempt that was named.
        attempt: u32,
        /// The newest attempt.
        newest: u32,
    },
    /// The attempt has not been started.
    #[error("{job} has no attempt {attempt}: the newest is {newest}")]
    UnknownAttempt {
        /// The job.
        job: JobName,
        /// The attempt that was named.
        attempt: u64,
        /// The newest attempt.
        newest: u32,
    },
    /// The token belongs to an attempt with another `resume_step`.
    #[error("attempt_token {token:?} of {job} was used with resume_step {first}, not {now}")]
    AttemptTokenReused {
        /// The job.
        job: JobName,
        /// The token.
        token: String,
        /// The `resume_step` it was first used with.
        first: u64,
        /// The `resume_step` given now.
        now: u64,
    },
    /// Somebody changed the job since it was read.
    #[error("{job} has changed since it was read: its etag is {found:?}, not {expected:?}")]
    EtagMismatch {
        /// The job.
        job: JobName,
        /// The etag that was sent.
        expected: String,
        /// The etag it has.
        found: String,
    },
    /// The job's state does not allow it.
    #[error("{job} is {state}: {problem}")]
    WrongState {
        /// The job.
        job: JobName,
        /// Its state.
        state: State,
        /// What cannot be done.
        problem: String,
    },
    /// What the store has of this job cannot be understood; other jobs are not affected.
    #[error("{job} is out of service: {problem}")]
    JobDamaged {
        /// The job.
        job: String,
        /// Table, row and problem.
        problem: String,
    },
    /// The telemetry is past its namespace's retention and was removed, all or some.
    #[error(
        "the telemetry of {job} is past its retention: its removal began at {removed_time}; its decisions are still there"
    )]
    TelemetryRemoved {
        /// The job.
        job: JobName,
        /// When its removal began, in words.
        removed_time: String,
    },
    /// A bound of the configuration has been reached; try again after a while.
    #[error("{what} is full ({limit})")]
    Overloaded {
        /// What is full.
        what: &'static str,
        /// Its limit.
        limit: usize,
    },
    /// The database is away; try again after a while. Nothing was changed.
    #[error("the database is not available: nothing was changed, try again")]
    StoreUnavailable(#[source] Cause),
    /// The database is there, but others hold it up, such as a session that has a table locked; try again. Nothing was
    /// changed.
    #[error("the database is busy, {0}: nothing was changed, try again")]
    StoreBusy(Cause),
    /// The database was lost, or did not answer, while it committed a change. The change may be stored, or take effect
    /// yet.
    #[error(
        "the database did not say whether it has stored the change: the change may have been made, or be made yet; repeat \
         the call, with the same request_id if it has one, or read the job to find out"
    )]
    OutcomeUnknown(#[source] Cause),
    /// The database refused.
    #[error("the database refused")]
    Store(#[source] Cause),
    /// This process does not own the database any more, and begins anew; try again after a while.
    #[error("this server does not own the database any more")]
    Deposed,
    /// The process is shutting down.
    #[error("the server is shutting down")]
    ShuttingDown,
}
