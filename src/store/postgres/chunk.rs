//! Rows of `telemetry`, with arrays as columns.

use std::sync::LazyLock;

use sqlx::{FromRow, PgConnection};

use crate::{
    model::name::JobId,
    store::{
        Chunk, Error,
        columns::{Columns, Figures},
        dialect::Arrived,
        failure::Failure,
        rows::chunk::ChunkHead,
    },
};

/// A row of `telemetry`, without its job.
#[derive(FromRow)]
pub(in crate::store) struct StoredChunk {
    #[sqlx(flatten)]
    pub(super) head: ChunkHead,
    steps: Vec<i64>,
    loss: Figures,
    grad_norm: Figures,
    learning_rate: Figures,
    metric_names: Vec<String>,
    metric_indices: Vec<i32>,
    metric_steps: Vec<i64>,
    metric_values: Vec<f64>,
}

impl TryFrom<(JobId, StoredChunk)> for Chunk {
    type Error = Error;

    fn try_from((job, row): (JobId, StoredChunk)) -> Result<Self, Error> {
        let columns = Columns {
            steps: row.steps,
            loss: row.loss,
            grad_norm: row.grad_norm,
            learning_rate: row.learning_rate,
            metric_names: row.metric_names,
            metric_indices: row.metric_indices,
            metric_steps: row.metric_steps,
            metric_values: row.metric_values,
        };
        row.head.with_columns(job, Ok(columns))
    }
}

const COLUMNS: usize = 16;
/// Rows go in so many at a time: few statements to prepare, few answers to wait for.
const WIDTHS: [usize; 3] = [64, 8, 1];
static INSERTS: LazyLock<[String; 3]> = LazyLock::new(|| WIDTHS.map(insert_of_width));

fn insert_of_width(rows: usize) -> String {
    let row = |row: usize| {
        let parameters: Vec<_> = (1..=COLUMNS).map(|column| format!("${}", row * COLUMNS + column)).collect();
        format!("({})", parameters.join(", "))
    };
    let rows: Vec<_> = (0..rows).map(row).collect();
    format!(
        "
    -- insert_chunks
    insert into telemetry (job_id, attempt, seq, rank, through_step, first_step, last_step, arrivals, steps, loss,
        grad_norm, learning_rate, metric_names, metric_indices, metric_steps, metric_values)
    values {}
    on conflict (job_id, attempt, seq) do nothing",
        rows.join(", ")
    )
}

/// Inserts the chunks that are not there yet.
pub(super) async fn insert(connection: &mut PgConnection, chunks: &[Arrived<'_>]) -> Result<(), Failure> {
    let mut rest = chunks;
    for (width, statement) in WIDTHS.into_iter().zip(&*INSERTS) {
        while let Some((rows, after)) = rest.split_at_checked(width) {
            rest = after;
            let mut insert = sqlx::query(statement.as_str());
            for Arrived { job, chunk, arrivals } in rows {
                let head = ChunkHead::try_from(*chunk)?;
                let columns = Columns::try_from(*chunk)?;
                insert = insert
                    .bind(job.0)
                    .bind(head.attempt)
                    .bind(head.seq)
                    .bind(head.rank)
                    .bind(head.through_step)
                    .bind(head.first_step)
                    .bind(head.last_step)
                    .bind(*arrivals)
                    .bind(columns.steps)
                    .bind(columns.loss)
                    .bind(columns.grad_norm)
                    .bind(columns.learning_rate)
                    .bind(columns.metric_names)
                    .bind(columns.metric_indices)
                    .bind(columns.metric_steps)
                    .bind(columns.metric_values);
            }
            insert.execute(&mut *connection).await?;
        }
    }
    Ok(())
}
