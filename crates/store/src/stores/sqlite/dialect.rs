//! How SQLite is written to.

use sqlx::{Sqlite, SqliteConnection, error::DatabaseError, query_scalar, sqlite::SqliteQueryResult};
use uuid::Uuid;

use super::{
    chunk::{self, StoredChunk},
    error,
};
use crate::{
    Chunk, Error,
    columns::Columns,
    dialect::{Dialect, Insert, Nature},
    failure::Failure,
    rows::{chunk::ChunkHead, stored_json},
};
use lrs_model::name::JobId;

/// `$1` is a JSON array of identifiers in hexadecimal.
const EXISTING_JOBS: &str = "
    -- existing_jobs
    select id from jobs where id in (select unhex(value) from json_each($1))";

impl Dialect for Sqlite {
    type StoredChunk = StoredChunk;

    const LABEL: (&'static str, &'static str) =
        ("(select label.value from json_each(jobs.labels) as label where label.key = ", ")");

    const INSERT_JOB: &'static str = "
        -- insert_job
        insert into jobs (id, name, namespace, initial_spec, spec, display_name, experiment, arm, labels, state,
            state_reason, version, request_id, forked_from, create_time, update_time, end_time, state_author,
            active_time)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18,
            $16)
        on conflict do nothing";

    const UPDATE_JOB: &'static str = "
        -- update_job
        update jobs
        set spec = $2, display_name = $3, experiment = $4, arm = $5, labels = $6, state = $7, state_reason = $8,
            version = $9, request_id = $10, forked_from = $11, update_time = $12, end_time = $13,
            state_author = $14,
            active_time = case when active_time > $12 then active_time else $12 end
        where id = $1";

    const INSERT_DECISION: &'static str = "
        -- insert_decision
        insert into decisions (job_id, id, attempt, step, effective_step, author_kind, author, reason, evidence, effect,
            request_id, create_time, epoch)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
        on conflict (job_id, id) do nothing";

    const CHUNK_SIZES: &'static str = "
        -- chunk_sizes
        select rank, seq, length(steps) / 8 as sample_count
        from telemetry where job_id = $1 and attempt = $2 and seq > $3 and seq < $4 order by seq limit $5";

    const LOCK_CHUNKS: &'static str = "
        -- lock_chunks
        select attempt, seq, rank, through_step, first_step, last_step, arrivals, epoch, steps, loss, grad_norm,
            learning_rate, metric_names, metric_indices, metric_steps, metric_values
        from telemetry where job_id = $1 and attempt = $2 and rank = $3 and seq between $4 and $5
        order by seq";

    const LOCK_ENDED_JOB: &'static str = "
        -- lock_ended_job
        select id from jobs where id = $1 and state in ('COMPLETED', 'FAILED', 'CANCELLED')";

    fn nature(error: &dyn DatabaseError) -> Nature {
        error::nature(error)
    }

    fn is_undone(error: &dyn DatabaseError) -> bool {
        error::is_undone(error)
    }

    fn in_words(error: &dyn DatabaseError) -> Option<&'static str> {
        error::in_words(error)
    }

    fn rows_affected(result: &SqliteQueryResult) -> u64 {
        result.rows_affected()
    }

    fn head(row: &StoredChunk) -> &ChunkHead {
        &row.head
    }

    fn chunk(job: JobId, row: StoredChunk) -> Result<Chunk, Error> {
        (job, row).try_into()
    }

    /// The transaction is the only writer, so there is nothing to lock.
    async fn lock_jobs(connection: &mut SqliteConnection, jobs: &[Uuid]) -> Result<Vec<Uuid>, Failure> {
        let named: Vec<String> = jobs.iter().map(|id| id.simple().to_string()).collect();
        let named = stored_json("to find jobs", &named)?;
        Ok(query_scalar(EXISTING_JOBS).bind(named).fetch_all(connection).await?)
    }

    fn bind_columns(insert: Insert<'_, Self>, columns: Columns) -> Result<Insert<'_, Self>, Error> {
        chunk::bind(insert, &columns)
    }
}
