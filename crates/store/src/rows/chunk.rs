//! The part of a row of `telemetry` that is the same in all databases.

use std::ops::Range;

use sqlx::FromRow;

use super::{Source, stored_number};
use crate::{
    Chunk, Error,
    columns::{Columns, stored_step},
};
use lrs_model::name::JobId;

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
