//! What can go wrong inside a transaction, before it is known whether to try again.

use std::time::Duration;

use super::{Error, dialect::Dialect};

/// Why a piece of work in a database did not come to its end.
#[derive(Debug)]
pub(super) enum Failure {
    /// The driver says so.
    Sql(sqlx::Error),
    /// We say so.
    Store(Error),
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Store(error)
    }
}

impl Failure {
    /// The error for the caller; `what` was being done on `table`.
    pub(super) fn into_error<DB: Dialect>(self, what: &'static str, table: &'static str) -> Error {
        let error = match self {
            Self::Store(error) => return error,
            Self::Sql(error) => error,
        };
        match error {
            sqlx::Error::Database(answer) if DB::is_transient(&*answer) => Error::Unavailable(answer.to_string()),
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::Protocol(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed => Error::Unavailable(error.to_string()),
            sqlx::Error::Decode(_) | sqlx::Error::ColumnDecode { .. } => {
                Error::Inconsistent { table, id: "unknown".to_owned(), problem: error.to_string() }
            }
            other => Error::Refused { what, problem: other.to_string() },
        }
    }
}

/// The work's result, if it comes within `timeout`.
pub(super) async fn bounded<T>(
    timeout: Duration,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    tokio::time::timeout(timeout, work)
        .await
        .unwrap_or_else(|_| Err(Error::Unavailable(format!("no answer within {} seconds", timeout.as_secs())).into()))
}
