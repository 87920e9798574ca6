//! Removing the telemetry of jobs that have ended, a bounded piece at a time.

use sqlx::{Encode, Executor, FromRow, IntoArguments, QueryBuilder, Type, query, query_scalar};
use uuid::Uuid;

use super::{dialect::Dialect, failure::Failure, statements};
use lrs_model::{job::Timestamp, name::JobId};

/// Asks for jobs whose telemetry is past its retention.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpiryQuery {
    /// The namespaces to look in.
    pub namespaces: Namespaces,
    /// Only jobs that ended before this.
    pub ended_before: Timestamp,
    /// The most jobs to return.
    pub limit: u32,
}

/// Some of the namespaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Namespaces {
    /// This namespace.
    Only(String),
    /// All namespaces but these.
    AllBut(Vec<String>),
}

/// A job whose telemetry is past its retention.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct ExpiredJob {
    /// Its identity.
    pub id: Uuid,
    /// Its name, as stored.
    pub name: String,
}

impl ExpiredJob {
    /// Its identity.
    #[must_use]
    pub fn job(&self) -> JobId {
        JobId(self.id)
    }
}

/// The result of one removal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Removal {
    /// Chunks removed.
    pub chunks: u64,
    /// Whether nothing is left to remove.
    pub is_complete: bool,
}

/// The statement for `query`; jobs that ended first come first.
pub(super) fn expired<DB: Dialect>(query: &ExpiryQuery) -> QueryBuilder<DB>
where
    for<'q> String: Encode<'q, DB>,
    for<'q> i64: Encode<'q, DB>,
    String: Type<DB>,
    i64: Type<DB>,
{
    let mut sql = QueryBuilder::new("-- expired_jobs\nselect id, name from jobs where end_time is not null");
    sql.push(" and keeps_telemetry and end_time < ").push_bind(query.ended_before.0);
    match &query.namespaces {
        Namespaces::Only(namespace) => {
            sql.push(" and namespace = ").push_bind(namespace.clone());
        }
        Namespaces::AllBut(others) => {
            for other in others {
                sql.push(" and namespace <> ").push_bind(other.clone());
            }
        }
    }
    sql.push(" order by end_time, id limit ").push_bind(i64::from(query.limit));
    sql
}

/// See [`Store::remove_changes`](super::Store::remove_changes); in the transaction that `connection` is in.
pub(super) async fn remove_changes<DB>(
    connection: &mut DB::Connection,
    deleted_before: Timestamp,
    limit: u32,
) -> Result<u64, Failure>
where
    DB: Dialect,
    DB::Arguments: IntoArguments<DB>,
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
    for<'q> i64: Encode<'q, DB> + Type<DB>,
{
    let statement = query(statements::REMOVE_CHANGES).bind(deleted_before.0).bind(i64::from(limit));
    Ok(DB::rows_affected(&statement.execute(&mut *connection).await?))
}

/// See [`Store::remove_telemetry`](super::Store::remove_telemetry); in the transaction that `connection` is in.
///
/// The job is locked first, so that a merge of its chunks runs before or after the removal and adds no chunk meanwhile.
pub(super) async fn remove<DB>(
    connection: &mut DB::Connection,
    job: JobId,
    now: Timestamp,
    limit: u32,
) -> Result<Removal, Failure>
where
    DB: Dialect,
    DB::Arguments: IntoArguments<DB>,
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
    for<'q> i64: Encode<'q, DB> + Type<DB>,
    for<'q> Uuid: Encode<'q, DB> + sqlx::Decode<'q, DB> + Type<DB>,
    for<'r> (Uuid,): FromRow<'r, DB::Row>,
{
    let locked: Option<Uuid> = query_scalar(DB::LOCK_ENDED_JOB).bind(job.0).fetch_optional(&mut *connection).await?;
    if locked.is_none() {
        return Ok(Removal { chunks: 0, is_complete: true });
    }
    query(statements::MARK_REMOVAL).bind(job.0).bind(now.0).execute(&mut *connection).await?;
    let removed = query(statements::REMOVE_CHUNKS).bind(job.0).bind(i64::from(limit)).execute(&mut *connection).await?;
    let chunks = DB::rows_affected(&removed);
    let is_complete = chunks < u64::from(limit);
    if is_complete {
        // The snapshot is of no use without the telemetry, and has some of it.
        for statement in [statements::DELETE_STATE, statements::FINISH_REMOVAL] {
            query(statement).bind(job.0).execute(&mut *connection).await?;
        }
    }
    Ok(Removal { chunks, is_complete })
}
