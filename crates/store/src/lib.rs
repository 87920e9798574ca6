//! What survives: one trait, two databases. The store remembers; it decides nothing.
//!
//! Telemetry and people's decisions are the truth; [`StateRow`] only makes recovery fast.

mod columns;
mod commit;
mod dialect;
mod failure;
#[doc(hidden)]
pub mod fuzz;
pub mod inspection;
mod listing;
mod location;
mod merge;
pub mod postgres;
mod reading;
mod removal;
mod rows;
mod schema;
pub mod sqlite;
mod statements;

use async_trait::async_trait;

pub use location::{inspect, migrate, open, schema};
pub use removal::{ExpiredJob, ExpiryQuery, Namespaces, Removal};
pub use schema::{Migration, Schema, newest_schema_version};

use lrs_model::{
    decision::Decision,
    filter::JobQuery,
    job::{AttemptRow, JobRow, Timestamp},
    name::{JobId, JobName},
    telemetry::Sample,
};

/// What went wrong in a database.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database can not be reached or is not able to answer now. The outcome of a write is unknown: repeat it.
    #[error("the database is not available: {0}")]
    Unavailable(String),
    /// A row is there that can not be understood.
    #[error("table {table}, row {id}: {problem}")]
    Inconsistent {
        /// The table.
        table: &'static str,
        /// The row's key, readable.
        id: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The schema is of a newer release than this program.
    #[error(
        "the database has schema version {found}, this program knows versions up to {known}: \
         upgrade lrs, or point it at another database"
    )]
    NewerSchema {
        /// Highest version found.
        found: i64,
        /// Highest version known.
        known: i64,
    },
    /// The schema is of an older release than this program, and was not to be changed.
    #[error("the database has schema version {found}, this program looks at version {wanted}: run `lrs migrate` first")]
    OlderSchema {
        /// Highest version found; 0 for none.
        found: i64,
        /// The version wanted.
        wanted: i64,
    },
    /// The database refused, and would again.
    #[error("the database refused {what}: {problem}")]
    Refused {
        /// What was being done.
        what: &'static str,
        /// What the database said.
        problem: String,
    },
}

impl Error {
    /// Whether the same call may succeed later.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable(_))
    }
}

/// One change. Every change is idempotent: after an unknown outcome the same one is written again.
#[derive(Clone, Debug, PartialEq)]
pub enum Write {
    /// A new job; see [`Outcome::NameTaken`].
    CreateJob(Box<JobRow>),
    /// The job's row as it is from now on (its `id`, `name`, `initial_spec`, `create_time` never change). Nothing if the job is gone.
    UpdateJob(Box<JobRow>),
    /// The job and all that belongs to it.
    DeleteJob(JobId),
    /// A new job with the attempts up to `source_attempt`, their telemetry, and the decisions of those attempts (and of
    /// attempt 0), copied from another job. The
    /// tokens are marked as the other job's, so that the new job's trainers may use the same. A decision that takes effect at or after
    /// `row.forked_from`'s step is left out: the new job decides for itself from there on. See [`Outcome::SourceGone`].
    ForkJob {
        /// The new job.
        row: Box<JobRow>,
        /// The job to copy from.
        source: JobId,
        /// The newest attempt to copy.
        source_attempt: u32,
    },
    /// A new attempt.
    StartAttempt(JobId, AttemptRow),
    /// Sets [`AttemptRow::reserved_end`].
    Reserve {
        /// The job.
        job: JobId,
        /// Its attempt.
        attempt: u32,
        /// The new end.
        reserved_end: u64,
    },
    /// Telemetry as it arrived.
    AppendTelemetry(JobId, Chunk),
    /// A decision, with the `request_id` that a person gave. Nothing if a decision of that identity is there already.
    RecordDecision(JobId, Box<Decision>, Option<String>),
    /// Replaces the job's snapshot.
    SaveState(JobId, StateRow),
}

impl Write {
    /// The jobs that must be there, or must not be deleted meanwhile.
    fn jobs(&self) -> impl Iterator<Item = JobId> {
        let (job, source) = match self {
            Self::CreateJob(row) | Self::UpdateJob(row) => (row.id, None),
            Self::ForkJob { row, source, .. } => (row.id, Some(*source)),
            Self::DeleteJob(job)
            | Self::StartAttempt(job, _)
            | Self::Reserve { job, .. }
            | Self::AppendTelemetry(job, _)
            | Self::RecordDecision(job, ..)
            | Self::SaveState(job, _) => (*job, None),
        };
        [Some(job), source].into_iter().flatten()
    }
}

/// What came of a [`Write`].
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// It is done, or was already.
    Done,
    /// The name belongs to this other job; nothing was written for this one.
    NameTaken(Box<JobRow>),
    /// The job to copy from is not there (any more); nothing was written for the new one.
    SourceGone,
}

/// Telemetry of one rank in one attempt: as it arrived, or merged from several such.
#[derive(Clone, Debug, PartialEq)]
pub struct Chunk {
    /// The attempt.
    pub attempt: u32,
    /// The reporting rank.
    pub rank: u32,
    /// Order of arrival within the job and attempt, over all ranks. Rises, with gaps after a merge.
    pub seq: u64,
    /// The rank had said that no more would come at or below this step. `None`: nothing said so far.
    pub through_step: Option<u64>,
    /// By rising step, each step once. May be empty.
    pub samples: Vec<Sample>,
}

/// The pure heart's snapshot, opaque here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateRow {
    /// The attempt it belongs to.
    pub attempt: u32,
    /// Chunks with a `seq` below this are in it.
    pub next_seq: u64,
    /// Its encoding (JSON).
    pub state: String,
}

/// Which decisions, in the order they were recorded.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DecisionQuery {
    /// Only of this attempt.
    pub attempt: Option<u32>,
    /// Only people's.
    pub people_only: bool,
    /// Begin after the decision of this position.
    pub after: Option<u64>,
    /// How many at most.
    pub limit: u32,
}

/// A decision as stored.
#[derive(Clone, Debug, PartialEq)]
pub struct DecisionRow {
    /// Rises in the order in which the job's decisions were recorded, with gaps.
    pub position: u64,
    /// The decision.
    pub decision: Decision,
    /// The `request_id` that a person gave.
    pub request_id: Option<String>,
}

/// A database that remembers jobs.
///
/// All reads see what was committed. Errors of single rows are given row by row where a method can return several, so
/// that a corrupt one does not hide the others. All methods are cancel safe.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// All of `batch` in one transaction, in order; an answer for each. Nothing is written on an error, except that
    /// after [`Error::Unavailable`] it is unknown.
    async fn commit(&self, batch: &[Write]) -> Result<Vec<Outcome>, Error>;

    /// The job of this name.
    async fn job(&self, name: &JobName) -> Result<Option<JobRow>, Error>;

    /// Jobs, for people. A row that can not be understood comes as [`JobRow::unreadable`] with what is wrong as its reason.
    async fn list_jobs(&self, query: &JobQuery) -> Result<Vec<JobRow>, Error>;

    /// Jobs that have not ended, for recovery, by rising identity, beginning after `after`. A row that can not be
    /// understood comes with what could be read of it.
    async fn unended_jobs(&self, after: Option<JobId>, limit: u32) -> Result<Vec<LoadedJob>, Error>;

    /// All attempts of a job, first to newest.
    async fn attempts(&self, job: JobId) -> Result<Vec<AttemptRow>, Error>;

    /// Telemetry of an attempt in the order of arrival, from `from_seq` on.
    async fn telemetry(&self, job: JobId, attempt: u32, from_seq: u64, limit: u32) -> Result<Vec<Chunk>, Error>;

    /// Telemetry of an attempt that has a sample of a step in `start..end`, in the order of arrival. The chunks are whole:
    /// they may have samples outside the range too.
    async fn telemetry_of_steps(&self, job: JobId, attempt: u32, start: u64, end: u64) -> Result<Vec<Chunk>, Error>;

    /// The lowest step at or after `from` up to which there may be samples to read: `from` itself if a chunk spans it, else the first step of
    /// the next chunk. `None` if there is nothing at or after `from`.
    async fn next_telemetry_step(&self, job: JobId, attempt: u32, from: u64) -> Result<Option<u64>, Error>;

    /// Replaces runs of small chunks of one rank by one with the same samples, `seq` of the last of them and its `through_step`,
    /// in chunks of up to `target` samples; chunks with `seq >= below_seq` are left alone. Returns how many rows went away.
    async fn merge_telemetry(&self, job: JobId, attempt: u32, below_seq: u64, target: u32) -> Result<u64, Error>;

    /// Jobs whose telemetry is past its time and is there still, all or some.
    async fn expired_jobs(&self, query: &ExpiryQuery) -> Result<Vec<ExpiredJob>, Error>;

    /// Removes up to `limit` chunks of a job that has ended, in one transaction, and with the last of them its snapshot. The first
    /// removal marks the job with `now`, see [`JobRow::telemetry_removed_time`]. Nothing if the job has not ended, or is gone.
    async fn remove_telemetry(&self, job: JobId, now: Timestamp, limit: u32) -> Result<Removal, Error>;

    /// Decisions of a job.
    async fn decisions(&self, job: JobId, query: &DecisionQuery) -> Result<Vec<DecisionRow>, Error>;

    /// The job's snapshot.
    async fn state(&self, job: JobId) -> Result<Option<StateRow>, Error>;

    /// Whether the database answers and can be written.
    async fn ping(&self) -> Result<(), Error>;

    /// Lets go of all connections, after what is under way.
    async fn close(&self);
}

/// A job read for recovery.
#[derive(Debug)]
pub struct LoadedJob {
    /// Its identity.
    pub id: JobId,
    /// Its name, as stored.
    pub name: String,
    /// The row, or what is wrong with it.
    pub row: Result<JobRow, Error>,
}
