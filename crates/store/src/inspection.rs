//! A database as it was at one moment, to be looked at: all reads see the same commits, whoever writes meanwhile.

use async_trait::async_trait;
use sqlx::{
    ColumnIndex, Decode, Encode, Executor, FromRow, IntoArguments, Pool, Row as _, Type, query, query_as, query_scalar,
};
use uuid::Uuid;

use super::{
    Chunk, DecisionQuery, DecisionRow, Error, ExpiredJob, ExpiryQuery, LoadedJob, Outcome, Removal, StateRow, Store,
    Write,
    dialect::Dialect,
    failure::{Failure, bounded},
    reading::{ANSWER_TIMEOUT, Readers},
    rows::{attempt::StoredAttempt, chunk::ChunkHead, decision::StoredDecision, job::StoredJob, state::StoredState},
    schema::Schema,
    statements,
};
use lrs_model::{
    filter::JobQuery,
    job::{AttemptRow, JobRow, Timestamp},
    name::{JobId, JobName},
};

/// Looks at a database. As a [`Store`] it can be read; every write is refused.
#[async_trait]
pub trait Inspection: Store {
    /// How far the schema has come.
    fn schema(&self) -> &Schema;

    /// All jobs, ended or not, by rising identity, beginning after `after`.
    async fn all_jobs(&self, after: Option<JobId>, limit: u32) -> Result<Vec<LoadedJob>, Error>;

    /// Decisions of a job, in the order they were recorded: for each its position and what could be read of it.
    async fn decision_rows(
        &self,
        job: JobId,
        after: Option<i64>,
        limit: u32,
    ) -> Result<Vec<(i64, Result<DecisionRow, Error>)>, Error>;

    /// Telemetry of an attempt by rising `seq`, beginning after `after`: what could be read of it.
    async fn chunk_rows(
        &self,
        job: JobId,
        attempt: u32,
        after: Option<i64>,
        limit: u32,
    ) -> Result<Vec<ChunkRow>, Error>;

    /// The attempts that telemetry is stored of, by rising number.
    async fn attempts_of_telemetry(&self, job: JobId) -> Result<Vec<i64>, Error>;

    /// Rows that belong to no job.
    async fn orphans(&self) -> Result<Vec<Orphans>, Error>;

    /// Indices of the schema that are not there, or can not be used.
    async fn missing_indices(&self) -> Result<Vec<String>, Error>;

    /// What the database itself finds wrong with its files, in its words, where it can tell.
    async fn file_damage(&self) -> Result<Vec<String>, Error>;
}

/// A row of `telemetry`, as far as it could be read.
#[derive(Debug)]
pub struct ChunkRow {
    /// Its `seq`.
    pub seq: i64,
    /// How many chunks that arrived it stands for; `None` if they were not counted.
    pub arrivals: Option<i64>,
    /// The chunk, or what is wrong with the row.
    pub chunk: Result<Chunk, Error>,
}

/// Rows that belong to a job that is not there.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct Orphans {
    /// The table.
    #[sqlx(rename = "place")]
    pub table: String,
    /// The job they name.
    pub job_id: Uuid,
    /// How many.
    #[sqlx(rename = "row_count")]
    pub count: i64,
}

/// A database at the moment of the first read, over a pool of one connection that is in a transaction.
pub(super) struct Moment<DB: Dialect> {
    pub(super) readers: Readers<DB>,
    pub(super) schema: Schema,
    /// Gives the names of all indices that can be used.
    pub(super) index_names: &'static str,
    /// The indices that the schema has.
    pub(super) wanted_indices: Vec<String>,
    /// Gives what is wrong with the files, a line each; `ok` if nothing is.
    pub(super) file_check: Option<&'static str>,
}

const WHAT: &str = "to be inspected";

const CHUNKS_AFTER: &str = "
    -- chunks_after
    select attempt, seq, rank, through_step, first_step, last_step, arrivals, steps, loss, grad_norm, learning_rate,
        metric_names, metric_indices, metric_steps, metric_values
    from telemetry where job_id = $1 and attempt = $2 and seq > $3
    order by seq limit $4";

const ATTEMPTS_OF_TELEMETRY: &str = "
    -- attempts_of_telemetry
    select distinct attempt from telemetry where job_id = $1 order by attempt";

fn failed<DB: Dialect>(table: &'static str) -> impl Fn(sqlx::Error) -> Error {
    move |error| Failure::from(error).into_error::<DB>(WHAT, table)
}

fn read_only<T>() -> Result<T, Error> {
    Err(Error::Refused { what: "to be changed", problem: "it was opened to be inspected only".to_owned() })
}

async fn rows<DB: Dialect, T>(
    table: &'static str,
    work: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, Error> {
    bounded(ANSWER_TIMEOUT, async { Ok(work.await?) }).await.map_err(|failure| failure.into_error::<DB>(WHAT, table))
}

#[async_trait]
impl<DB> Inspection for Moment<DB>
where
    DB: Dialect,
    DB::Arguments: IntoArguments<DB>,
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
    for<'c> &'c Pool<DB>: Executor<'c, Database = DB>,
    for<'q> bool: Encode<'q, DB> + Type<DB>,
    for<'q> i64: Encode<'q, DB> + Decode<'q, DB> + Type<DB>,
    for<'q> Option<i64>: Encode<'q, DB> + Type<DB>,
    for<'q> String: Encode<'q, DB> + Decode<'q, DB> + Type<DB>,
    for<'q> Uuid: Encode<'q, DB> + Decode<'q, DB> + Type<DB>,
    for<'n> &'n str: ColumnIndex<DB::Row>,
    for<'r> ExpiredJob: FromRow<'r, DB::Row>,
    for<'r> Orphans: FromRow<'r, DB::Row>,
    for<'r> StoredJob: FromRow<'r, DB::Row>,
    for<'r> StoredAttempt: FromRow<'r, DB::Row>,
    for<'r> StoredDecision: FromRow<'r, DB::Row>,
    for<'r> StoredState: FromRow<'r, DB::Row>,
    for<'r> ChunkHead: FromRow<'r, DB::Row>,
    for<'r> DB::StoredChunk: FromRow<'r, DB::Row>,
    for<'r> (Option<i64>,): FromRow<'r, DB::Row>,
    for<'r> (i64,): FromRow<'r, DB::Row>,
    for<'r> (String,): FromRow<'r, DB::Row>,
{
    fn schema(&self) -> &Schema {
        &self.schema
    }

    async fn all_jobs(&self, after: Option<JobId>, limit: u32) -> Result<Vec<LoadedJob>, Error> {
        self.readers.loaded_jobs(statements::ALL_JOBS, after, limit).await
    }

    async fn decision_rows(
        &self,
        job: JobId,
        after: Option<i64>,
        limit: u32,
    ) -> Result<Vec<(i64, Result<DecisionRow, Error>)>, Error> {
        let work = query(statements::DECISIONS)
            .bind(job.0)
            .bind(None::<i64>)
            .bind(false)
            .bind(after.unwrap_or(i64::MIN))
            .bind(i64::from(limit))
            .fetch_all(&self.readers.pool);
        let unreadable = failed::<DB>("decisions");
        let read = |row: DB::Row| {
            let position: i64 = row.try_get("position").map_err(&unreadable)?;
            let decision = StoredDecision::from_row(&row).map_err(&unreadable).and_then(|row| (job, row).try_into());
            Ok((position, decision))
        };
        rows::<DB, _>("decisions", work).await?.into_iter().map(read).collect()
    }

    async fn chunk_rows(
        &self,
        job: JobId,
        attempt: u32,
        after: Option<i64>,
        limit: u32,
    ) -> Result<Vec<ChunkRow>, Error> {
        let work = query(CHUNKS_AFTER)
            .bind(job.0)
            .bind(i64::from(attempt))
            .bind(after.unwrap_or(i64::MIN))
            .bind(i64::from(limit))
            .fetch_all(&self.readers.pool);
        let unreadable = failed::<DB>("telemetry");
        let read = |row: DB::Row| {
            let head = ChunkHead::from_row(&row).map_err(&unreadable)?;
            let id = format!("{job}/{attempt}/{}", head.seq);
            let chunk = DB::StoredChunk::from_row(&row).map_err(|error| Error::Inconsistent {
                table: "telemetry",
                id,
                problem: error.to_string(),
            });
            let chunk = chunk.and_then(|row| DB::chunk(job, row));
            Ok(ChunkRow { seq: head.seq, arrivals: head.arrivals, chunk })
        };
        rows::<DB, _>("telemetry", work).await?.into_iter().map(read).collect()
    }

    async fn attempts_of_telemetry(&self, job: JobId) -> Result<Vec<i64>, Error> {
        rows::<DB, _>("telemetry", query_scalar(ATTEMPTS_OF_TELEMETRY).bind(job.0).fetch_all(&self.readers.pool)).await
    }

    async fn orphans(&self) -> Result<Vec<Orphans>, Error> {
        rows::<DB, _>("jobs", query_as(statements::ORPHANS).fetch_all(&self.readers.pool)).await
    }

    async fn missing_indices(&self) -> Result<Vec<String>, Error> {
        let work = query_scalar(self.index_names).fetch_all(&self.readers.pool);
        let there: Vec<String> = rows::<DB, _>("jobs", work).await?;
        Ok(self.wanted_indices.iter().filter(|name| !there.contains(name)).cloned().collect())
    }

    async fn file_damage(&self) -> Result<Vec<String>, Error> {
        let Some(check) = self.file_check else { return Ok(Vec::new()) };
        // The whole file is read, which takes its time.
        let found = query_scalar(check).fetch_all(&self.readers.pool).await;
        let mut found: Vec<String> = found.map_err(failed::<DB>("jobs"))?;
        found.retain(|line| line != "ok");
        Ok(found)
    }
}

#[async_trait]
impl<DB> Store for Moment<DB>
where
    DB: Dialect,
    DB::Arguments: IntoArguments<DB>,
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
    for<'c> &'c Pool<DB>: Executor<'c, Database = DB>,
    for<'q> bool: Encode<'q, DB> + Type<DB>,
    for<'q> i64: Encode<'q, DB> + Decode<'q, DB> + Type<DB>,
    for<'q> Option<i64>: Encode<'q, DB> + Type<DB>,
    for<'q> String: Encode<'q, DB> + Decode<'q, DB> + Type<DB>,
    for<'q> Uuid: Encode<'q, DB> + Decode<'q, DB> + Type<DB>,
    for<'n> &'n str: ColumnIndex<DB::Row>,
    for<'r> ExpiredJob: FromRow<'r, DB::Row>,
    for<'r> StoredJob: FromRow<'r, DB::Row>,
    for<'r> StoredAttempt: FromRow<'r, DB::Row>,
    for<'r> StoredDecision: FromRow<'r, DB::Row>,
    for<'r> StoredState: FromRow<'r, DB::Row>,
    for<'r> DB::StoredChunk: FromRow<'r, DB::Row>,
    for<'r> (Option<i64>,): FromRow<'r, DB::Row>,
{
    async fn commit(&self, _: &[Write]) -> Result<Vec<Outcome>, Error> {
        read_only()
    }

    async fn job(&self, name: &JobName) -> Result<Option<JobRow>, Error> {
        self.readers.job(name).await
    }

    async fn list_jobs(&self, query: &JobQuery) -> Result<Vec<JobRow>, Error> {
        self.readers.list_jobs(query).await
    }

    async fn unended_jobs(&self, after: Option<JobId>, limit: u32) -> Result<Vec<LoadedJob>, Error> {
        self.readers.unended_jobs(after, limit).await
    }

    async fn attempts(&self, job: JobId) -> Result<Vec<AttemptRow>, Error> {
        self.readers.attempts(job).await
    }

    async fn telemetry(&self, job: JobId, attempt: u32, from_seq: u64, limit: u32) -> Result<Vec<Chunk>, Error> {
        self.readers.telemetry(job, attempt, from_seq, limit).await
    }

    async fn telemetry_of_steps(&self, job: JobId, attempt: u32, start: u64, end: u64) -> Result<Vec<Chunk>, Error> {
        self.readers.telemetry_of_steps(job, attempt, start, end).await
    }

    async fn next_telemetry_step(&self, job: JobId, attempt: u32, from: u64) -> Result<Option<u64>, Error> {
        self.readers.next_telemetry_step(job, attempt, from).await
    }

    async fn merge_telemetry(&self, _: JobId, _: u32, _: u64, _: u32) -> Result<u64, Error> {
        read_only()
    }

    async fn expired_jobs(&self, query: &ExpiryQuery) -> Result<Vec<ExpiredJob>, Error> {
        self.readers.expired_jobs(query).await
    }

    async fn remove_telemetry(&self, _: JobId, _: Timestamp, _: u32) -> Result<Removal, Error> {
        read_only()
    }

    async fn decisions(&self, job: JobId, query: &DecisionQuery) -> Result<Vec<DecisionRow>, Error> {
        self.readers.decisions(job, query).await
    }

    async fn state(&self, job: JobId) -> Result<Option<StateRow>, Error> {
        self.readers.state(job).await
    }

    async fn ping(&self) -> Result<(), Error> {
        read_only()
    }

    async fn close(&self) {
        self.readers.pool.close().await;
    }
}
