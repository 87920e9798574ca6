//! What differs between SQL databases.

use sqlx::{Database, error::DatabaseError, query::Query};
use uuid::Uuid;

use super::{Chunk, Error, columns::Columns, failure::Failure, rows::chunk::ChunkHead};
use lrs_model::name::JobId;
use lrs_runtime::error::Cause;

/// What a database's error means for whoever asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Nature {
    /// The database is away, or cannot be written now: the same may succeed later.
    Away,
    /// Others are in the way: the same may succeed soon.
    Busy,
    /// The database does not let this program in, which only a person can mend.
    Denial,
    /// The tables are not as they should be, as while a backup is being restored: nothing is wrong with what was asked.
    Disorder,
    /// The database would refuse the same again.
    Refusal,
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

    /// What an error means for whoever asked.
    fn nature(error: &dyn DatabaseError) -> Nature;

    /// Whether a commit that failed with this error has left nothing, for certain.
    fn is_undone(error: &dyn DatabaseError) -> bool;

    /// What to tell people of an error that passes, where the database's own words do not say enough.
    fn in_words(error: &dyn DatabaseError) -> Option<&'static str>;

    /// The error for a caller of a store that is open; `what` was being done on `table`.
    ///
    /// A right or a password that is taken away meanwhile can be given back, tables that are not there can come back, and
    /// nothing is wrong with what was to be written: the database counts as away.
    fn explain(failure: Failure, what: &'static str, table: &'static str) -> Error {
        if let Failure::Sql(sqlx::Error::Database(answer)) = &failure
            && Self::nature(&**answer) == Nature::Disorder
        {
            return Error::unavailable(answer.message());
        }
        match Self::explain_opening(failure, what, table) {
            Error::Denied(cause) => Error::Unavailable(cause),
            error => error,
        }
    }

    /// The error for whoever opens the database; `what` was being done on `table`.
    fn explain_opening(failure: Failure, what: &'static str, table: &'static str) -> Error {
        let error = match failure {
            Failure::Store(error) => return error,
            Failure::Sql(error) => error,
        };
        match error {
            sqlx::Error::Database(answer) => {
                let why = match Self::in_words(&*answer) {
                    Some(words) => Cause::new(format!("{words} ({})", answer.message())),
                    None => Cause::new(answer.message()),
                };
                match Self::nature(&*answer) {
                    Nature::Away => Error::Unavailable(why),
                    Nature::Busy => Error::Busy(why),
                    Nature::Denial => Error::Denied(why),
                    Nature::Disorder | Nature::Refusal => Error::refused(what, answer.into_error()),
                }
            }
            sqlx::Error::Io(_)
            | sqlx::Error::Protocol(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed => Error::unavailable(error),
            // A certificate that is not trusted, a file with a key that is not there.
            sqlx::Error::Tls(_) | sqlx::Error::Configuration(_) => Error::denied(error),
            sqlx::Error::Decode(_) | sqlx::Error::ColumnDecode { .. } => Error::inconsistent(table, "unknown", error),
            other => Error::refused(what, other),
        }
    }

    /// How many rows a statement changed.
    fn rows_affected(result: &Self::QueryResult) -> u64;

    /// The columns of this row that are the same in all databases.
    fn head(row: &Self::StoredChunk) -> &ChunkHead;

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
