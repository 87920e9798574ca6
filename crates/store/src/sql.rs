//! A store over any SQL database: reads are the same everywhere, writes go through the database's own [`Writer`].

use std::ops::Range;

use async_trait::async_trait;
use sqlx::{ColumnIndex, Decode, Encode, Executor, FromRow, IntoArguments, Pool, Type};
use uuid::Uuid;

use super::{
    ChangeQuery, ChangeRow, Chunk, DecisionQuery, DecisionRow, Error, ExpiredJob, ExpiryQuery, JobCount, JobRecord,
    ListedJob, MayCommit, Outcome, Removal, StateRow, Store, Write,
    dialect::Dialect,
    failure::bounded,
    merge::{self, ChunkSize},
    reading::{ANSWER_TIMEOUT, Readers},
    removal,
    rows::{
        attempt::StoredAttempt, change::StoredChange, decision::StoredDecision, job::StoredJob, state::StoredState,
    },
    writer::Writer,
};
use lrs_model::{
    change::Change,
    filter::JobQuery,
    job::{AttemptRow, IdleBefore, JobRow, State, Timestamp},
    name::{JobId, JobName},
};

/// A store over a SQL database.
pub(super) struct Sql<DB: Dialect, W> {
    pub(super) readers: Readers<DB>,
    pub(super) writer: W,
}

#[async_trait]
impl<DB, W> Store for Sql<DB, W>
where
    DB: Dialect,
    W: Writer<DB>,
    DB::Arguments: IntoArguments<DB>,
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
    for<'c> &'c Pool<DB>: Executor<'c, Database = DB>,
    for<'q> bool: Decode<'q, DB> + Encode<'q, DB> + Type<DB>,
    for<'q> i64: Encode<'q, DB> + Decode<'q, DB> + Type<DB>,
    for<'q> Option<i64>: Encode<'q, DB> + Type<DB>,
    for<'q> String: Encode<'q, DB> + Decode<'q, DB> + Type<DB>,
    for<'q> Uuid: Encode<'q, DB> + Decode<'q, DB> + Type<DB>,
    for<'n> &'n str: ColumnIndex<DB::Row>,
    for<'r> ExpiredJob: FromRow<'r, DB::Row>,
    for<'r> StoredJob: FromRow<'r, DB::Row>,
    for<'r> StoredAttempt: FromRow<'r, DB::Row>,
    for<'r> StoredChange: FromRow<'r, DB::Row>,
    for<'r> StoredDecision: FromRow<'r, DB::Row>,
    for<'r> StoredState: FromRow<'r, DB::Row>,
    for<'r> ChunkSize: FromRow<'r, DB::Row>,
    for<'r> DB::StoredChunk: FromRow<'r, DB::Row>,
    for<'r> (Option<i64>,): FromRow<'r, DB::Row>,
    for<'r> (String, i64, i64): FromRow<'r, DB::Row>,
    for<'r> (Uuid,): FromRow<'r, DB::Row>,
{
    async fn commit_if(&self, batch: &[Write], may_commit: MayCommit<'_>) -> Result<Vec<Outcome>, Error> {
        self.writer.commit(batch, may_commit).await
    }

    async fn job(&self, name: &JobName) -> Result<Option<JobRow>, Error> {
        self.readers.job(name).await
    }

    async fn list_jobs(&self, query: &JobQuery) -> Result<Vec<ListedJob>, Error> {
        self.readers.list_jobs(query).await
    }

    async fn job_records(&self, names: &[JobName]) -> Result<Vec<JobRecord>, Error> {
        self.readers.job_records(names).await
    }

    async fn count_jobs(&self, before: IdleBefore) -> Result<Vec<JobCount>, Error> {
        self.readers.count_jobs(before).await
    }

    async fn attempts(&self, job: JobId) -> Result<Vec<AttemptRow>, Error> {
        self.readers.attempts(job).await
    }

    async fn telemetry(&self, job: JobId, attempt: u32, from_seq: u64, limit: u32) -> Result<Vec<Chunk>, Error> {
        self.readers.telemetry(job, attempt, from_seq, limit).await
    }

    async fn telemetry_of_steps(
        &self,
        job: JobId,
        attempt: u32,
        steps: Range<u64>,
        from_seq: u64,
        limit: u32,
    ) -> Result<Vec<Chunk>, Error> {
        self.readers.telemetry_of_steps(job, attempt, steps, from_seq, limit).await
    }

    async fn next_telemetry_step(&self, job: JobId, attempt: u32, from: u64) -> Result<Option<u64>, Error> {
        self.readers.next_telemetry_step(job, attempt, from).await
    }

    async fn merge_telemetry(&self, job: JobId, attempt: u32, below_seq: u64, target: u32) -> Result<u64, Error> {
        merge::merge(&self.readers.pool, &self.writer, merge::Part { job, attempt, below_seq }, target).await
    }

    async fn expired_jobs(&self, query: &ExpiryQuery) -> Result<Vec<ExpiredJob>, Error> {
        self.readers.expired_jobs(query).await
    }

    async fn remove_telemetry(&self, job: JobId, now: Timestamp, limit: u32) -> Result<Removal, Error> {
        let work = async {
            let mut transaction = self.writer.begin().await?;
            let removal = removal::remove::<DB>(&mut transaction, job, now, limit).await?;
            transaction.commit().await?;
            Ok(removal)
        };
        bounded(ANSWER_TIMEOUT, work).await.map_err(|failure| DB::explain(failure, "to remove telemetry", "telemetry"))
    }

    async fn decisions(&self, job: JobId, query: &DecisionQuery) -> Result<Vec<DecisionRow>, Error> {
        self.readers.decisions(job, query).await
    }

    async fn changes(&self, query: &ChangeQuery) -> Result<Vec<ChangeRow>, Error> {
        self.readers.changes(query).await
    }

    async fn change_by_request(&self, job_name: &JobName, request_id: &str) -> Result<Option<Change>, Error> {
        self.readers.change_by_request(job_name, request_id).await
    }

    async fn remove_changes(&self, deleted_before: Timestamp, limit: u32) -> Result<u64, Error> {
        let work = async {
            let mut transaction = self.writer.begin().await?;
            let removed = removal::remove_changes::<DB>(&mut transaction, deleted_before, limit).await?;
            transaction.commit().await?;
            Ok(removed)
        };
        bounded(ANSWER_TIMEOUT, work).await.map_err(|failure| DB::explain(failure, "to remove changes", "changes"))
    }

    async fn count_ended_jobs(&self) -> Result<Vec<(State, u64)>, Error> {
        self.readers.count_ended_jobs().await
    }

    async fn state(&self, job: JobId) -> Result<Option<StateRow>, Error> {
        self.readers.state(job).await
    }

    async fn ping(&self) -> Result<(), Error> {
        self.writer.ping().await
    }

    fn epoch(&self) -> i64 {
        self.writer.epoch()
    }

    fn is_exclusive(&self) -> bool {
        self.writer.is_exclusive()
    }

    async fn close(&self) {
        self.readers.pool.close().await;
        self.writer.close().await;
    }
}
