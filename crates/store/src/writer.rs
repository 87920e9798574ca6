//! How a SQL database is written to: the part of a store that each database has of its own.

use async_trait::async_trait;
use sqlx::Transaction;

use super::{Error, MayCommit, Outcome, Write, dialect::Dialect, failure::Failure};

/// How a database is written to.
#[async_trait]
pub(super) trait Writer<DB: Dialect>: Send + Sync + 'static {
    /// See [`Store::commit_if`](super::Store::commit_if).
    async fn commit(&self, batch: &[Write], may_commit: MayCommit<'_>) -> Result<Vec<Outcome>, Error>;

    /// A transaction for work that decides nothing: telemetry is merged, or removed. It has proven the ownership, which
    /// stays until its end.
    async fn begin(&self) -> Result<Transaction<'static, DB>, Failure>;

    /// See [`Store::ping`](super::Store::ping).
    async fn ping(&self) -> Result<(), Error>;

    /// See [`Store::epoch`](super::Store::epoch).
    fn epoch(&self) -> i64;

    /// See [`Store::is_exclusive`](super::Store::is_exclusive).
    fn is_exclusive(&self) -> bool;

    /// Lets go of the connections, after what is under way.
    async fn close(&self);
}
