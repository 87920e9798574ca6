//! Rows of `telemetry`, with arrays as columns.

use sqlx::{FromRow, Postgres};

use crate::{
    Chunk, Error,
    columns::{Columns, Figures},
    dialect::Insert,
    rows::chunk::ChunkHead,
};
use lrs_model::name::JobId;

/// A row of `telemetry`, without its job.
#[derive(FromRow)]
pub(crate) struct StoredChunk {
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

/// Binds the columns of one row.
pub(super) fn bind(insert: Insert<'_, Postgres>, columns: Columns) -> Insert<'_, Postgres> {
    insert
        .bind(columns.steps)
        .bind(columns.loss)
        .bind(columns.grad_norm)
        .bind(columns.learning_rate)
        .bind(columns.metric_names)
        .bind(columns.metric_indices)
        .bind(columns.metric_steps)
        .bind(columns.metric_values)
}
