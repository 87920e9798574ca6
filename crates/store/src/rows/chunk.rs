//! The part of a row of `telemetry` that is the same in all databases.

use std::{ops::Range, sync::LazyLock};

use sqlx::{Encode, Executor, FromRow, IntoArguments, Type};
use uuid::Uuid;

use super::{Source, stored_number};
use crate::{
    Chunk, Error,
    columns::{Columns, stored_step},
    dialect::{Arrived, Dialect},
    failure::Failure,
    statements,
};
use lrs_model::{
    name::JobId,
    telemetry::{Agreement, Sample},
};

const WHAT: &str = "to store telemetry";

/// A row of `telemetry` without its job and its samples.
#[derive(Clone, Copy, FromRow)]
pub(crate) struct ChunkHead {
    pub(crate) attempt: i64,
    pub(crate) seq: i64,
    pub(crate) rank: i64,
    pub(crate) through_step: Option<i64>,
    pub(crate) first_step: Option<i64>,
    pub(crate) last_step: Option<i64>,
    pub(crate) arrivals: Option<i64>,
    pub(crate) epoch: i64,
}

impl TryFrom<&Chunk> for ChunkHead {
    type Error = Error;

    fn try_from(chunk: &Chunk) -> Result<Self, Error> {
        Ok(Self {
            attempt: chunk.attempt.into(),
            seq: stored_number(WHAT, chunk.seq)?,
            rank: chunk.rank.into(),
            through_step: chunk.through_step.map(stored_step).transpose().map_err(refused)?,
            first_step: chunk.samples.first().map(|sample| stored_step(sample.step)).transpose().map_err(refused)?,
            last_step: chunk.samples.last().map(|sample| stored_step(sample.step)).transpose().map_err(refused)?,
            arrivals: None,
            epoch: 0,
        })
    }
}

impl TryFrom<&Chunk> for Columns {
    type Error = Error;

    fn try_from(chunk: &Chunk) -> Result<Self, Error> {
        Self::of(&chunk.samples).map_err(refused)
    }
}

const COLUMNS: usize = 17;
/// Rows go in so many at a time: few statements to prepare, few answers to wait for.
const WIDTHS: [usize; 3] = [64, 8, 1];
static INSERTS: LazyLock<[(usize, String); 3]> = LazyLock::new(|| WIDTHS.map(|rows| (rows, insert_of_width(rows))));

/// Inserts the chunks that are not there yet.
///
/// # Errors
/// [`Error::Differs`] if a chunk is there with other contents.
pub(crate) async fn insert<DB>(connection: &mut DB::Connection, chunks: &[Arrived<'_>]) -> Result<(), Failure>
where
    DB: Dialect,
    DB::Arguments: IntoArguments<DB>,
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
    for<'q> i64: Encode<'q, DB> + Type<DB>,
    for<'q> Option<i64>: Encode<'q, DB> + Type<DB>,
    for<'q> Uuid: Encode<'q, DB> + Type<DB>,
    for<'r> DB::StoredChunk: FromRow<'r, DB::Row>,
{
    let mut rest = chunks;
    for (width, statement) in &*INSERTS {
        while let Some((rows, after)) = rest.split_at_checked(*width) {
            rest = after;
            let mut insert = sqlx::query(statement.as_str());
            for Arrived { job, chunk, arrivals, epoch } in rows {
                let head = ChunkHead::try_from(*chunk)?;
                insert = insert
                    .bind(job.0)
                    .bind(head.attempt)
                    .bind(head.seq)
                    .bind(head.rank)
                    .bind(head.through_step)
                    .bind(head.first_step)
                    .bind(head.last_step)
                    .bind(*arrivals)
                    .bind(*epoch);
                insert = DB::bind_columns(insert, Columns::try_from(*chunk)?)?;
            }
            let result = insert.execute(&mut *connection).await?;
            if DB::rows_affected(&result) < *width as u64 {
                for arrived in rows {
                    check_stored::<DB>(connection, arrived).await?;
                }
            }
        }
    }
    Ok(())
}

/// Whether the chunk is stored as it is here.
async fn check_stored<DB>(connection: &mut DB::Connection, arrived: &Arrived<'_>) -> Result<(), Failure>
where
    DB: Dialect,
    DB::Arguments: IntoArguments<DB>,
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
    for<'q> i64: Encode<'q, DB> + Type<DB>,
    for<'q> Uuid: Encode<'q, DB> + Type<DB>,
    for<'r> DB::StoredChunk: FromRow<'r, DB::Row>,
{
    let Arrived { job, chunk, .. } = arrived;
    let head = ChunkHead::try_from(*chunk)?;
    let row: DB::StoredChunk = sqlx::query_as(statements::TELEMETRY)
        .bind(job.0)
        .bind(head.attempt)
        .bind(head.seq)
        .bind(1_i64)
        .fetch_one(connection)
        .await?;
    let stored = DB::chunk(*job, row)?;
    if is_same(&stored, chunk) {
        return Ok(());
    }
    let shown = |chunk: &Chunk| {
        let steps = match (chunk.samples.first(), chunk.samples.last()) {
            (Some(first), Some(last)) => {
                format!("{} samples of steps {} to {}", chunk.samples.len(), first.step, last.step)
            }
            _ => "no samples".to_owned(),
        };
        format!("{steps} of rank {}", chunk.rank)
    };
    let id = format!("{job}/{}/{}", head.attempt, head.seq);
    let problem = format!("it has {}, not {}", shown(&stored), shown(chunk));
    Err(Error::differs("telemetry", id, problem).into())
}

/// Whether both have the same bits.
fn is_same(a: &Chunk, b: &Chunk) -> bool {
    let place = |chunk: &Chunk| (chunk.attempt, chunk.seq, chunk.rank, chunk.through_step, chunk.samples.len());
    let is_repeat = |a: &Sample, b: &Sample| a.step == b.step && a.agreement(b) == Agreement::Repeat;
    place(a) == place(b) && a.samples.iter().zip(&b.samples).all(|(a, b)| is_repeat(a, b) && is_repeat(b, a))
}

fn insert_of_width(rows: usize) -> String {
    let row = |row: usize| {
        let parameters: Vec<_> = (1..=COLUMNS).map(|column| format!("${}", row * COLUMNS + column)).collect();
        format!("({})", parameters.join(", "))
    };
    let rows: Vec<_> = (0..rows).map(row).collect();
    format!(
        "
    -- insert_chunks
    insert into telemetry (job_id, attempt, seq, rank, through_step, first_step, last_step, arrivals, epoch, steps,
        loss, grad_norm, learning_rate, metric_names, metric_indices, metric_steps, metric_values)
    values {}
    on conflict (job_id, attempt, seq) do nothing",
        rows.join(", ")
    )
}

fn refused(problem: String) -> Error {
    Error::refused(WHAT, problem)
}

impl ChunkHead {
    /// The chunk of `job` with this head and these columns, if those could be read.
    pub(crate) fn with_columns(self, job: JobId, columns: Result<Columns, String>) -> Result<Chunk, Error> {
        let source = Source::new("telemetry", format_args!("{job}/{}/{}", self.attempt, self.seq));
        let columns = columns.and_then(|columns| self.check_span(columns));
        Ok(Chunk {
            attempt: source.number("attempt", self.attempt)?,
            rank: source.number("rank", self.rank)?,
            seq: source.number("seq", self.seq)?,
            through_step: source.optional_number("through_step", self.through_step)?,
            samples: columns.and_then(Columns::into_samples).map_err(|problem| source.inconsistent(problem))?,
        })
    }

    /// Searches for steps go by the first and the last.
    fn check_span(&self, columns: Columns) -> Result<Columns, String> {
        let span = (columns.steps.first().copied(), columns.steps.last().copied());
        if span == (self.first_step, self.last_step) {
            return Ok(columns);
        }
        let shown = |step: Option<i64>| step.map_or_else(|| "none".to_owned(), |step| step.to_string());
        Err(format!(
            "first_step {} and last_step {} are not those of steps, {} and {}",
            shown(self.first_step),
            shown(self.last_step),
            shown(span.0),
            shown(span.1),
        ))
    }
}

/// Whether the chunk has a sample of a step in `steps`.
pub(crate) fn has_sample_in(chunk: &Chunk, steps: &Range<u64>) -> bool {
    let first = chunk.samples.partition_point(|sample| sample.step < steps.start);
    chunk.samples.get(first).is_some_and(|sample| steps.contains(&sample.step))
}

/// The answer to a search for the next step of an attempt.
pub(crate) fn next_step(job: JobId, attempt: u32, found: Option<i64>) -> Result<Option<u64>, Error> {
    Source::new("telemetry", format_args!("{job}/{attempt}")).optional_number("first_step", found)
}
