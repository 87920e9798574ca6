//! Inspection of a database as it is at one moment: all reads see the same commits, whoever writes meanwhile.

use async_trait::async_trait;
use sqlx::{
    ColumnIndex, Decode, Encode, Executor, FromRow, IntoArguments, Pool, Row as _, Transaction, Type, query, query_as,
    query_scalar,
};
use uuid::Uuid;

use super::{
    Chunk, DecisionRow, Error, ExpiredJob, LoadedJob, MayCommit, Outcome, Store, Write,
    dialect::Dialect,
    failure::{Failure, bounded},
    merge::ChunkSize,
    reading::ANSWER_TIMEOUT,
    rows::{attempt::StoredAttempt, chunk::ChunkHead, decision::StoredDecision, job::StoredJob, state::StoredState},
    schema::Schema,
    sql::Sql,
    statements,
    writer::Writer,
};
use lrs_model::name::JobId;

/// A database opened for inspection. Its reads are those of a [`Store`]; it refuses every write.
#[async_trait]
pub trait Inspection: Store {
    /// How far the schema has come.
    fn schema(&self) -> &Schema;

    /// All jobs, ended or not, by rising identity, beginning after `after`.
    async fn all_jobs(&self, after: Option<JobId>, limit: u32) -> Result<Vec<LoadedJob>, Error>;

    /// A page of the decisions of a job, in the order they were recorded: the position of each, and the decision or why
    /// it cannot be understood.
    async fn decision_rows(
        &self,
        job: JobId,
        after: Option<i64>,
        limit: u32,
    ) -> Result<Vec<(i64, Result<DecisionRow, Error>)>, Error>;

    /// A page of the telemetry of an attempt by rising `seq`, beginning after `after`.
    async fn chunk_rows(
        &self,
        job: JobId,
        attempt: u32,
        after: Option<i64>,
        limit: u32,
    ) -> Result<Vec<ChunkRow>, Error>;

    /// The attempts of which telemetry is stored, by rising number.
    async fn attempts_of_telemetry(&self, job: JobId) -> Result<Vec<i64>, Error>;

    /// Rows of a job that no owner can have stored when they seem to have been stored: each is of an older epoch than a
    /// row before it, or of a newer one than the database has. The first `limit` of each table.
    async fn misplaced(&self, job: JobId, limit: u32) -> Result<Vec<Misplaced>, Error>;

    /// How many rows the table `ownership` has.
    async fn owner_count(&self) -> Result<i64, Error>;

    /// Rows that name a job that does not exist, counted by table and job.
    async fn orphans(&self) -> Result<Vec<Orphans>, Error>;

    /// Indices of the schema that are missing or cannot be used.
    async fn missing_indices(&self) -> Result<Vec<String>, Error>;

    /// Damage that the database finds in its own files, in its words. Empty for databases that cannot check their
    /// files.
    async fn file_damage(&self) -> Result<Vec<String>, Error>;
}

/// A row of `telemetry`, readable or not.
#[derive(Debug)]
pub struct ChunkRow {
    /// Its `seq`.
    pub seq: i64,
    /// How many chunks, as they arrived, were merged into it; `None` if they were not counted.
    pub arrivals: Option<i64>,
    /// The chunk, or why the row cannot be understood.
    pub chunk: Result<Chunk, Error>,
}

/// A row that no owner can have stored when it seems to have been stored.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct Misplaced {
    /// The table.
    #[sqlx(rename = "place")]
    pub table: String,
    /// The row, in words.
    #[sqlx(rename = "row_name")]
    pub row: String,
    /// The epoch of the owner that stored it.
    pub epoch: i64,
    /// The lowest epoch that it could have.
    pub lowest: i64,
}

/// Rows of a table that name a job that does not exist.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct Orphans {
    /// The table.
    #[sqlx(rename = "place")]
    pub table: String,
    /// The job that they name.
    pub job_id: Uuid,
    /// How many rows there are.
    #[sqlx(rename = "row_count")]
    pub count: i64,
}

/// What an inspection knows beside its rows. Refuses every write.
pub(super) struct Moment {
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
    select attempt, seq, rank, through_step, first_step, last_step, arrivals, epoch, steps, loss, grad_norm,
        learning_rate, metric_names, metric_indices, metric_steps, metric_values
    from telemetry where job_id = $1 and attempt = $2 and seq > $3
    order by seq limit $4";

const ATTEMPTS_OF_TELEMETRY: &str = "
    -- attempts_of_telemetry
    select distinct attempt from telemetry where job_id = $1 order by attempt";

/// An owner stores rows in order, and an older owner stores nothing any more. A later attempt, chunk or decision cannot
/// be of an older epoch, nor can what belongs to an attempt be older than the attempt.
const MISPLACED: [&str; 3] = [
    "
    -- misplaced_attempts
    select 'attempts' as place, 'attempt ' || attempt as row_name, epoch, coalesce(before, 0) as lowest
    from (
        select attempt, epoch,
            max(epoch) over (order by attempt rows between unbounded preceding and 1 preceding) as before
        from attempts where job_id = $1
    ) as rows_in_order
    where epoch < before or epoch > (select max(epoch) from ownership)
    order by attempt limit $2",
    "
    -- misplaced_decisions
    select 'decisions' as place, 'decision ' || id as row_name, epoch,
        coalesce(case when began > before or before is null then began else before end, 0) as lowest
    from (
        select d.id, d.position, d.epoch, a.epoch as began,
            max(d.epoch) over (order by d.position rows between unbounded preceding and 1 preceding) as before
        from decisions d left join attempts a on a.job_id = d.job_id and a.attempt = d.attempt
        where d.job_id = $1
    ) as rows_in_order
    where epoch < before or epoch < began or epoch > (select max(epoch) from ownership)
    order by position limit $2",
    "
    -- misplaced_telemetry
    select 'telemetry' as place, 'chunk ' || seq || ' of attempt ' || attempt as row_name, epoch,
        coalesce(case when began > before or before is null then began else before end, 0) as lowest
    from (
        select t.attempt, t.seq, t.epoch, a.epoch as began,
            max(t.epoch) over (
                partition by t.attempt order by t.seq rows between unbounded preceding and 1 preceding
            ) as before
        from telemetry t left join attempts a on a.job_id = t.job_id and a.attempt = t.attempt
        where t.job_id = $1
    ) as rows_in_order
    where epoch < before or epoch < began or epoch > (select max(epoch) from ownership)
    order by attempt, seq limit $2",
];

fn failed<DB: Dialect>(table: &'static str) -> impl Fn(sqlx::Error) -> Error {
    move |error| DB::explain_opening(Failure::from(error), WHAT, table)
}

fn read_only() -> Error {
    Error::refused("to be changed", "it was opened to be inspected only")
}

#[async_trait]
impl<DB: Dialect> Writer<DB> for Moment {
    async fn commit(&self, _: &[Write], _: MayCommit<'_>) -> Result<Vec<Outcome>, Error> {
        Err(read_only())
    }

    async fn begin(&self) -> Result<Transaction<'static, DB>, Failure> {
        Err(read_only().into())
    }

    async fn ping(&self) -> Result<(), Error> {
        Err(read_only())
    }

    fn epoch(&self) -> i64 {
        0
    }

    fn is_exclusive(&self) -> bool {
        false
    }

    async fn close(&self) {}
}

async fn rows<DB: Dialect, T>(
    table: &'static str,
    work: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, Error> {
    bounded(ANSWER_TIMEOUT, async { Ok(work.await?) })
        .await
        .map_err(|failure| DB::explain_opening(failure, WHAT, table))
}

#[async_trait]
impl<DB> Inspection for Sql<DB, Moment>
where
    DB: Dialect,
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
    for<'r> Orphans: FromRow<'r, DB::Row>,
    for<'r> Misplaced: FromRow<'r, DB::Row>,
    for<'r> StoredJob: FromRow<'r, DB::Row>,
    for<'r> StoredAttempt: FromRow<'r, DB::Row>,
    for<'r> StoredDecision: FromRow<'r, DB::Row>,
    for<'r> StoredState: FromRow<'r, DB::Row>,
    for<'r> ChunkHead: FromRow<'r, DB::Row>,
    for<'r> DB::StoredChunk: FromRow<'r, DB::Row>,
    for<'r> (Option<i64>,): FromRow<'r, DB::Row>,
    for<'r> (String, i64, i64): FromRow<'r, DB::Row>,
    for<'r> (i64,): FromRow<'r, DB::Row>,
    for<'r> (String,): FromRow<'r, DB::Row>,
    for<'r> (Uuid,): FromRow<'r, DB::Row>,
    for<'r> ChunkSize: FromRow<'r, DB::Row>,
{
    fn schema(&self) -> &Schema {
        &self.writer.schema
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
            let chunk = DB::StoredChunk::from_row(&row).map_err(|error| Error::inconsistent("telemetry", id, error));
            let chunk = chunk.and_then(|row| DB::chunk(job, row));
            Ok(ChunkRow { seq: head.seq, arrivals: head.arrivals, chunk })
        };
        rows::<DB, _>("telemetry", work).await?.into_iter().map(read).collect()
    }

    async fn attempts_of_telemetry(&self, job: JobId) -> Result<Vec<i64>, Error> {
        rows::<DB, _>("telemetry", query_scalar(ATTEMPTS_OF_TELEMETRY).bind(job.0).fetch_all(&self.readers.pool)).await
    }

    async fn misplaced(&self, job: JobId, limit: u32) -> Result<Vec<Misplaced>, Error> {
        let mut misplaced = Vec::new();
        for statement in MISPLACED {
            let work = query_as(statement).bind(job.0).bind(i64::from(limit)).fetch_all(&self.readers.pool);
            misplaced.extend(rows::<DB, Vec<Misplaced>>("telemetry", work).await?);
        }
        Ok(misplaced)
    }

    async fn owner_count(&self) -> Result<i64, Error> {
        const OWNER_COUNT: &str = "
            -- owner_count
            select count(*) from ownership";
        rows::<DB, _>("ownership", query_scalar(OWNER_COUNT).fetch_one(&self.readers.pool)).await
    }

    async fn orphans(&self) -> Result<Vec<Orphans>, Error> {
        rows::<DB, _>("jobs", query_as(statements::ORPHANS).fetch_all(&self.readers.pool)).await
    }

    async fn missing_indices(&self) -> Result<Vec<String>, Error> {
        let work = query_scalar(self.writer.index_names).fetch_all(&self.readers.pool);
        let there: Vec<String> = rows::<DB, _>("jobs", work).await?;
        Ok(self.writer.wanted_indices.iter().filter(|name| !there.contains(name)).cloned().collect())
    }

    async fn file_damage(&self) -> Result<Vec<String>, Error> {
        let Some(check) = self.writer.file_check else { return Ok(Vec::new()) };
        // Not bounded in time: the whole file is read.
        let found = query_scalar(check).fetch_all(&self.readers.pool).await;
        let mut found: Vec<String> = found.map_err(failed::<DB>("jobs"))?;
        found.retain(|line| line != "ok");
        Ok(found)
    }
}
