//! What differs between the databases.

use sqlx::{Database, error::DatabaseError, query::Query};
use uuid::Uuid;

use super::{Chunk, Error, columns::Columns, failure::Failure};
use lrs_model::name::JobId;

/// A chunk to be stored.
#[derive(Clone, Copy)]
pub(super) struct Arrived<'a> {
    /// Whose it is.
    pub(super) job: JobId,
    /// What it is.
    pub(super) chunk: &'a Chunk,
    /// How many chunks that arrived it stands for; `None` if they were not counted.
    pub(super) arrivals: Option<i64>,
}

/// A statement with what has been bound so far.
pub(super) type Insert<'q, DB> = Query<'q, DB, <DB as Database>::Arguments>;

/// A database that jobs are stored in.
pub(super) trait Dialect: Database {
    /// A row of `telemetry`, without its job.
    type StoredChunk: Send + Unpin;

    /// What stands around the key of a label to give its value, or null if there is no such label.
    const LABEL: (&'static str, &'static str);
    /// Inserts a job unless its identity or its name is there already.
    const INSERT_JOB: &'static str;
    /// Updates what may change of a job.
    const UPDATE_JOB: &'static str;
    /// Inserts a decision unless its identity is there already.
    const INSERT_DECISION: &'static str;
    /// Rank, place and number of samples of an attempt's chunks below a place.
    const CHUNK_SIZES: &'static str;
    /// A rank's chunks from one place to another, locked against being changed elsewhere.
    const LOCK_CHUNKS: &'static str;

    /// A job if it has ended, locked against being read for writing elsewhere.
    const LOCK_ENDED_JOB: &'static str;

    /// Whether the same statement may succeed later.
    fn is_transient(error: &dyn DatabaseError) -> bool;

    /// How many rows a statement changed.
    fn rows_affected(result: &Self::QueryResult) -> u64;

    /// How many chunks that arrived this row stands for, if they were counted.
    fn arrivals(row: &Self::StoredChunk) -> Option<i64>;

    /// The chunk of `job` in this row.
    fn chunk(job: JobId, row: Self::StoredChunk) -> Result<Chunk, Error>;

    /// Which of these jobs exist; none of them is deleted by others before the end of the transaction.
    fn lock_jobs(
        connection: &mut Self::Connection,
        jobs: &[Uuid],
    ) -> impl Future<Output = Result<Vec<Uuid>, Failure>> + Send;

    /// Binds the columns of a row of `telemetry`, in their order there.
    fn bind_columns(insert: Insert<'_, Self>, columns: Columns) -> Result<Insert<'_, Self>, Error>;
}
