//! A row of `attempts`.

use sqlx::FromRow;

use super::{Source, stored_number};
use crate::Error;
use lrs_model::{
    job::{AttemptRow, Timestamp},
    name::JobId,
};

const WHAT: &str = "to store an attempt";

/// A row of `attempts`, without its job.
#[derive(FromRow)]
pub(crate) struct StoredAttempt {
    pub(crate) attempt: i64,
    pub(crate) token: String,
    pub(crate) resume_step: i64,
    pub(crate) parent_attempt: i64,
    pub(crate) reserved_end: i64,
    pub(crate) reporting_ranks: Option<i64>,
    pub(crate) create_time: i64,
}

impl TryFrom<&AttemptRow> for StoredAttempt {
    type Error = Error;

    fn try_from(attempt: &AttemptRow) -> Result<Self, Error> {
        Ok(Self {
            attempt: attempt.attempt.into(),
            token: attempt.token.clone(),
            resume_step: stored_number(WHAT, attempt.resume_step)?,
            parent_attempt: attempt.parent_attempt.into(),
            reserved_end: stored_number(WHAT, attempt.reserved_end)?,
            reporting_ranks: attempt.reporting_ranks.map(Into::into),
            create_time: attempt.create_time.0,
        })
    }
}

impl StoredAttempt {
    /// The row as a value, for an attempt of `job`.
    pub(crate) fn into_row(self, job: JobId) -> Result<AttemptRow, Error> {
        let source = Source::new("attempts", format_args!("{job}/{}", self.attempt));
        Ok(AttemptRow {
            attempt: source.number("attempt", self.attempt)?,
            token: self.token,
            resume_step: source.number("resume_step", self.resume_step)?,
            parent_attempt: source.number("parent_attempt", self.parent_attempt)?,
            reserved_end: source.number("reserved_end", self.reserved_end)?,
            reporting_ranks: self.reporting_ranks.map(|ranks| source.number("reporting_ranks", ranks)).transpose()?,
            create_time: Timestamp(self.create_time),
        })
    }
}
