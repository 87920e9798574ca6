//! What differs between SQL databases.

use sqlx::{Database, error::DatabaseError, query::Query};
use uuid::Uuid;

use super::{Chunk, Error, columns::Columns, failure::Failure};
use lrs_model::name::JobId;

/// A chunk to be stored.
#[derive(Clone, Copy)]
pub(super) struct Arrived<'a> {
    /// The job it belongs to.
    pub(super) job: JobId,
    /// The chunk.
    pub(super) chunk: &'a Chunk,
    /// How many chunks, as they arrived, were merged into it; `None` if they were not counted.
    pub(super) arrivals: Option<i64>,
}

/// A statement and the values bound so far.
pub(super) type Insert<'q, DB> = Query<'q, DB, <DB as Database>::Arguments>;

/// A SQL database in which jobs can be stored.
pub(super) trait Dialect: Database {
    /// A row of `telemetry`, without its job.
    type StoredChunk: Send + Unpin;

    /// The SQL before and after the key of a label that gives the value of the label, or null if the job has none.
    const LABEL: (&'static str, &'static str);
    /// Inserts a job unless its identity or its name exists already.
    const INSERT_JOB: &'static str;
    /// Updates the columns of a job that may change.
    const UPDATE_JOB: &'static str;
    /// Inserts a decision unless its identity exists already.
    const INSERT_DECISION: &'static str;
    /// Rank, place and number of samples of an attempt's chunks: those after a place and below another, so many at
    /// most.
    const CHUNK_SIZES: &'static str;
    /// A rank's chunks from one place to another, locked against being changed elsewhere.
    const LOCK_CHUNKS: &'static str;

    /// A job if it has ended, locked against being read for writing elsewhere.
    const LOCK_ENDED_JOB: &'static str;

    /// Whether the same statement may succeed later.
    fn is_transient(error: &dyn DatabaseError) -> bool;

    /// The error for the caller; `what` was being done on `table`.
    fn explain(failure: Failure, what: &'static str, table: &'static str) -> Error {
        let error = match failure {
            Failure::Store(error) => return error,
            Failure::Sql(error) => error,
        };
        match error {
            sqlx::Error::Database(answer) if Self::is_transient(&*answer) => Error::unavailable(answer.into_error()),
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::Protocol(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed => Error::unavailable(error),
            sqlx::Error::Decode(_) | sqlx::Error::ColumnDecode { .. } => Error::inconsistent(table, "unknown", error),
            other => Error::refused(what, other),
        }
    }

    /// How many rows a statement changed.
    fn rows_affected(result: &Self::QueryResult) -> u64;

    /// See [`Arrived::arrivals`].
    fn arrivals(row: &Self::StoredChunk) -> Option<i64>;

    /// The chunk of `job` in this row.
    fn chunk(job: JobId, row: Self::StoredChunk) -> Result<Chunk, Error>;

    /// Returns those of `jobs` that exist, and keeps others from deleting them before the end of the transaction.
    fn lock_jobs(
        connection: &mut Self::Connection,
        jobs: &[Uuid],
    ) -> impl Future<Output = Result<Vec<Uuid>, Failure>> + Send;

    /// Binds the columns of a row of `telemetry`, in their order there.
    fn bind_columns(insert: Insert<'_, Self>, columns: Columns) -> Result<Insert<'_, Self>, Error>;
}
