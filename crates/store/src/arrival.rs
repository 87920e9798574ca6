//! Telemetry on its way into the table.

use std::sync::LazyLock;

use sqlx::{Encode, Executor, FromRow, IntoArguments, Type};
use uuid::Uuid;

use super::{Chunk, Error, columns::Columns, dialect::Dialect, failure::Failure, rows::chunk::ChunkHead, statements};
use lrs_model::{
    name::JobId,
    telemetry::{Agreement, Sample},
};

/// A chunk to be stored.
#[derive(Clone, Copy)]
pub(super) struct Arrived<'a> {
    /// The job it belongs to.
    pub(super) job: JobId,
    /// The chunk.
    pub(super) chunk: &'a Chunk,
    /// How many chunks, as they arrived, were merged into it; `None` if they were not counted.
    pub(super) arrivals: Option<i64>,
    /// The epoch of the owner that stores it, or the newest one among the chunks merged into it.
    pub(super) epoch: i64,
}

const COLUMNS: usize = 17;
/// Rows go in so many at a time: few statements to prepare, few answers to wait for.
const WIDTHS: [usize; 3] = [64, 8, 1];
static INSERTS: LazyLock<[(usize, String); 3]> = LazyLock::new(|| WIDTHS.map(|rows| (rows, insert_of_width(rows))));

/// Inserts the chunks that are not there yet.
///
/// # Errors
/// [`Error::Differs`] if a chunk is there with other contents.
pub(super) async fn insert<DB>(connection: &mut DB::Connection, chunks: &[Arrived<'_>]) -> Result<(), Failure>
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
