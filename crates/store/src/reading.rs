//! Reads, which are the same in all SQL databases.

use std::{collections::HashMap, ops::Range, time::Duration};

use sqlx::{
    ColumnIndex, Decode, Encode, Executor, FromRow, IntoArguments, Pool, Row as _, Type, query, query_as, query_scalar,
};
use uuid::Uuid;

use super::{
    ChangeQuery, ChangeRow, Chunk, DecisionQuery, DecisionRow, Error, ExpiredJob, ExpiryQuery, JobCount, JobRecord,
    ListedJob, LoadedJob, StateRow,
    dialect::Dialect,
    failure::{Failure, bounded},
    listing, removal,
    rows::{
        attempt::StoredAttempt,
        capped,
        change::StoredChange,
        chunk::{has_sample_in, next_step},
        decision::StoredDecision,
        job::StoredJob,
        state::StoredState,
    },
    statements,
};
use lrs_model::{
    change::Change,
    filter::JobQuery,
    job::{AttemptRow, Idle, IdleBefore, JobRow, State, Timestamp},
    name::{JobId, JobName},
};

/// How long to wait for an answer. PostgreSQL cancels a statement a little earlier.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_secs(35);

/// Connections that read.
pub(super) struct Readers<DB: Dialect> {
    /// The connections.
    pub(super) pool: Pool<DB>,
}

/// Runs a read of `table`, bounded in time.
async fn read<DB: Dialect, T>(
    what: &'static str,
    table: &'static str,
    work: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, Error> {
    let work = async { Ok(work.await?) };
    bounded(ANSWER_TIMEOUT, work).await.map_err(|failure| DB::explain(failure, what, table))
}

impl<DB> Readers<DB>
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
    for<'r> StoredJob: FromRow<'r, DB::Row>,
    for<'r> StoredAttempt: FromRow<'r, DB::Row>,
    for<'r> StoredChange: FromRow<'r, DB::Row>,
    for<'r> StoredDecision: FromRow<'r, DB::Row>,
    for<'r> StoredState: FromRow<'r, DB::Row>,
    for<'r> DB::StoredChunk: FromRow<'r, DB::Row>,
    for<'r> (Option<i64>,): FromRow<'r, DB::Row>,
    for<'r> (String, i64, i64): FromRow<'r, DB::Row>,
{
    pub(super) async fn job(&self, name: &JobName) -> Result<Option<JobRow>, Error> {
        let work = query_as(statements::JOB_BY_NAME).bind(name.as_str().to_owned()).fetch_optional(&self.pool);
        let row: Option<StoredJob> = read::<DB, _>("to read a job", "jobs", work).await?;
        row.map(TryInto::try_into).transpose()
    }

    pub(super) async fn list_jobs(&self, query: &JobQuery) -> Result<Vec<ListedJob>, Error> {
        const WHAT: &str = "to list jobs";
        let mut statement = listing::statement::<DB>(query);
        let rows = read::<DB, _>(WHAT, "jobs", statement.build().fetch_all(&self.pool)).await?;
        let unreadable = |error: sqlx::Error| DB::explain(Failure::from(error), WHAT, "jobs");
        let listed = |row: DB::Row| {
            let newest: Option<i64> = row.try_get("newest_attempt").map_err(unreadable)?;
            Ok(ListedJob {
                attempt: newest.and_then(|newest| u32::try_from(newest).ok()).unwrap_or(0),
                active_time: Timestamp(row.try_get("active_time").map_err(unreadable)?),
                row: StoredJob::from_row(&row).map_err(unreadable)?.readable()?,
            })
        };
        rows.into_iter().map(listed).collect()
    }

    pub(super) async fn job_records(&self, names: &[JobName]) -> Result<Vec<JobRecord>, Error> {
        const WHAT: &str = "to read jobs";
        let unreadable = |table| move |error: sqlx::Error| DB::explain(Failure::from(error), WHAT, table);
        let names = names.iter().map(|name| name.as_str().to_owned());
        let mut jobs = listing::among::<DB, _>(statements::JOB_RECORDS, names);
        let rows = read::<DB, _>(WHAT, "jobs", jobs.build().fetch_all(&self.pool)).await?;
        let mut records = Vec::with_capacity(rows.len());
        for row in rows {
            let table = unreadable("jobs");
            records.push(JobRecord {
                id: JobId(row.try_get("id").map_err(table)?),
                name: row.try_get("name").map_err(table)?,
                active_time: Timestamp(row.try_get("active_time").map_err(table)?),
                has_person_decisions: row.try_get("has_people").map_err(table)?,
                row: StoredJob::from_row(&row).map_err(table).and_then(TryInto::try_into),
                attempts: Ok(Vec::new()),
                state: Ok(None),
                is_state_behind: false,
            });
        }
        // Nothing more is read of jobs without attempts: most of those that wait for their trainer.
        let ids = || records.iter().map(|record| record.id.0);
        if records.is_empty() {
            return Ok(records);
        }
        let mut attempts = listing::among::<DB, _>(statements::ATTEMPTS_OF_JOBS, ids());
        attempts.push(" order by job_id, attempt");
        let attempts = read::<DB, _>(WHAT, "attempts", attempts.build().fetch_all(&self.pool)).await?;
        let mut states = Vec::new();
        if !attempts.is_empty() {
            let mut statement = listing::among::<DB, _>(statements::STATES_OF_JOBS, ids());
            states = read::<DB, _>(WHAT, "job_state", statement.build().fetch_all(&self.pool)).await?;
        }
        let mut by_id: HashMap<Uuid, &mut JobRecord> = records.iter_mut().map(|record| (record.id.0, record)).collect();
        for row in attempts {
            let Some(record) = by_id.get_mut(&job_of::<DB>(&row).map_err(unreadable("attempts"))?) else { continue };
            let attempt = StoredAttempt::from_row(&row).map_err(unreadable("attempts"));
            match (&mut record.attempts, attempt.and_then(|row| row.into_row(record.id))) {
                (Ok(known), Ok(attempt)) => known.push(attempt),
                (Ok(_), Err(damage)) => record.attempts = Err(damage),
                (Err(_), _) => {}
            }
        }
        for row in states {
            let Some(record) = by_id.get_mut(&job_of::<DB>(&row).map_err(unreadable("job_state"))?) else { continue };
            record.is_state_behind = row.try_get("is_behind").map_err(unreadable("job_state"))?;
            let state = StoredState::from_row(&row).map_err(unreadable("job_state"));
            record.state = state.and_then(|row| (record.id, row).try_into()).map(Some);
        }
        Ok(records)
    }

    pub(super) async fn count_jobs(&self, before: IdleBefore) -> Result<Vec<JobCount>, Error> {
        let work = query_as(statements::COUNT_JOBS).bind(before.stale.0).bind(before.abandoned.0).fetch_all(&self.pool);
        let rows: Vec<(String, i64, i64)> = read::<DB, _>("to count jobs", "jobs", work).await?;
        let count = |(state, idle, count): (String, i64, i64)| {
            // A state that is not known is of a damaged row, which is found when the job is read.
            let idle = [Idle::Active, Idle::Stale, Idle::Abandoned][usize::try_from(idle.clamp(0, 2)).unwrap_or(0)];
            Some(JobCount { state: State::parse(&state)?, idle, count: u64::try_from(count).unwrap_or(0) })
        };
        Ok(rows.into_iter().filter_map(count).collect())
    }

    /// Jobs by a statement with two parameters: the identity to begin after, and the most jobs to return.
    pub(super) async fn loaded_jobs(
        &self,
        statement: &'static str,
        after: Option<JobId>,
        limit: u32,
    ) -> Result<Vec<LoadedJob>, Error> {
        const WHAT: &str = "to read the jobs";
        // No job has the nil identifier.
        let after = after.map_or(Uuid::nil(), |id| id.0);
        let work = query(statement).bind(after).bind(i64::from(limit)).fetch_all(&self.pool);
        let rows = read::<DB, _>(WHAT, "jobs", work).await?;
        let unreadable = |error: sqlx::Error| DB::explain(Failure::from(error), WHAT, "jobs");
        let load = |row: DB::Row| {
            let id = JobId(row.try_get("id").map_err(unreadable)?);
            let name = row.try_get("name").map_err(unreadable)?;
            let row = StoredJob::from_row(&row).map_err(unreadable).and_then(TryInto::try_into);
            Ok(LoadedJob { id, name, row })
        };
        rows.into_iter().map(load).collect()
    }

    pub(super) async fn attempts(&self, job: JobId) -> Result<Vec<AttemptRow>, Error> {
        let work = query_as(statements::ATTEMPTS).bind(job.0).fetch_all(&self.pool);
        let rows: Vec<StoredAttempt> = read::<DB, _>("to read attempts", "attempts", work).await?;
        rows.into_iter().map(|row| row.into_row(job)).collect()
    }

    pub(super) async fn telemetry(
        &self,
        job: JobId,
        attempt: u32,
        from_seq: u64,
        limit: u32,
    ) -> Result<Vec<Chunk>, Error> {
        let work = query_as(statements::TELEMETRY)
            .bind(job.0)
            .bind(i64::from(attempt))
            .bind(capped(from_seq))
            .bind(i64::from(limit))
            .fetch_all(&self.pool);
        chunks::<DB>(job, work).await
    }

    pub(super) async fn telemetry_of_steps(
        &self,
        job: JobId,
        attempt: u32,
        steps: Range<u64>,
        mut from_seq: u64,
        limit: u32,
    ) -> Result<Vec<Chunk>, Error> {
        let mut found = Vec::new();
        loop {
            let missing = (limit as usize).saturating_sub(found.len());
            let work = query_as(statements::TELEMETRY_OF_STEPS)
                .bind(job.0)
                .bind(i64::from(attempt))
                .bind(capped(steps.start))
                .bind(capped(steps.end))
                .bind(capped(from_seq))
                .bind(capped(missing as u64))
                .fetch_all(&self.pool);
            let page = chunks::<DB>(job, work).await?;
            let is_last = page.len() < missing;
            from_seq = page.last().map_or(from_seq, |chunk| chunk.seq.saturating_add(1));
            found.extend(page.into_iter().filter(|chunk| has_sample_in(chunk, &steps)));
            if is_last || found.len() >= limit as usize {
                return Ok(found);
            }
        }
    }

    pub(super) async fn next_telemetry_step(&self, job: JobId, attempt: u32, from: u64) -> Result<Option<u64>, Error> {
        let work = query_scalar(statements::NEXT_TELEMETRY_STEP)
            .bind(job.0)
            .bind(i64::from(attempt))
            .bind(capped(from))
            .fetch_one(&self.pool);
        let found: Option<i64> = read::<DB, _>("to find telemetry", "telemetry", work).await?;
        next_step(job, attempt, found)
    }

    pub(super) async fn expired_jobs(&self, query: &ExpiryQuery) -> Result<Vec<ExpiredJob>, Error> {
        let mut statement = removal::expired::<DB>(query);
        read::<DB, _>("to find expired telemetry", "jobs", statement.build_query_as().fetch_all(&self.pool)).await
    }

    pub(super) async fn decisions(&self, job: JobId, query: &DecisionQuery) -> Result<Vec<DecisionRow>, Error> {
        let statement = if query.people_only { statements::PERSON_DECISIONS } else { statements::DECISIONS };
        let work = query_as(statement)
            .bind(job.0)
            .bind(query.attempt.map(i64::from))
            .bind(query.after.map_or(-1, capped))
            .bind(i64::from(query.limit))
            .fetch_all(&self.pool);
        let rows: Vec<StoredDecision> = read::<DB, _>("to read decisions", "decisions", work).await?;
        rows.into_iter().map(|row| (job, row).try_into()).collect()
    }

    pub(super) async fn changes(&self, query: &ChangeQuery) -> Result<Vec<ChangeRow>, Error> {
        let work = query_as(statements::CHANGES)
            .bind(query.job_name.as_str().to_owned())
            .bind(query.after.map_or(-1, capped))
            .bind(i64::from(query.limit))
            .fetch_all(&self.pool);
        let rows: Vec<StoredChange> = read::<DB, _>("to read changes", "changes", work).await?;
        rows.into_iter().map(TryInto::try_into).collect()
    }

    pub(super) async fn change_by_request(&self, job: &JobName, request_id: &str) -> Result<Option<Change>, Error> {
        let work = query_as(statements::CHANGE_BY_REQUEST)
            .bind(job.as_str().to_owned())
            .bind(request_id.to_owned())
            .fetch_optional(&self.pool);
        let row: Option<StoredChange> = read::<DB, _>("to read a change", "changes", work).await?;
        row.map(|row| ChangeRow::try_from(row).map(|row| row.change)).transpose()
    }

    pub(super) async fn count_ended_jobs(&self) -> Result<Vec<(State, u64)>, Error> {
        let work = query(statements::COUNT_ENDED_JOBS).fetch_all(&self.pool);
        let rows = read::<DB, _>("to count the jobs", "jobs", work).await?;
        let unreadable = |error: sqlx::Error| DB::explain(Failure::from(error), "to count the jobs", "jobs");
        let mut counts = Vec::with_capacity(rows.len());
        for row in rows {
            let state: String = row.try_get("state").map_err(unreadable)?;
            let count: i64 = row.try_get("job_count").map_err(unreadable)?;
            counts.extend(State::parse(&state).map(|state| (state, count.unsigned_abs())));
        }
        Ok(counts)
    }

    pub(super) async fn state(&self, job: JobId) -> Result<Option<StateRow>, Error> {
        let work = query_as(statements::STATE).bind(job.0).fetch_optional(&self.pool);
        let row: Option<StoredState> = read::<DB, _>("to read a snapshot", "job_state", work).await?;
        row.map(|row| (job, row).try_into()).transpose()
    }
}

fn job_of<DB: Dialect>(row: &DB::Row) -> Result<Uuid, sqlx::Error>
where
    for<'n> &'n str: ColumnIndex<DB::Row>,
    for<'q> Uuid: Decode<'q, DB> + Type<DB>,
{
    row.try_get("job_id")
}

async fn chunks<DB: Dialect>(
    job: JobId,
    work: impl Future<Output = Result<Vec<DB::StoredChunk>, sqlx::Error>>,
) -> Result<Vec<Chunk>, Error> {
    let rows = read::<DB, _>("to read telemetry", "telemetry", work).await?;
    rows.into_iter().map(|row| DB::chunk(job, row)).collect()
}
