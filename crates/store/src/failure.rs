//! What can go wrong inside a transaction, before it is known whether to try again.

use std::time::Duration;

use super::Error;

/// Why work in a database failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// The driver failed.
    Sql(sqlx::Error),
    /// This crate refused.
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

/// The work's result, if it comes within `timeout`.
pub(super) async fn bounded<T>(
    timeout: Duration,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    tokio::time::timeout(timeout, work)
        .await
        .unwrap_or_else(|_| Err(Error::unavailable(format!("no answer within {} seconds", timeout.as_secs())).into()))
}
