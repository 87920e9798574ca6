//! A row of `job_state`.

use sqlx::FromRow;

use super::Source;
use crate::{Error, StateRow};
use lrs_model::name::JobId;

/// A row of `job_state`, without its job.
#[derive(FromRow)]
pub(crate) struct StoredState {
    attempt: i64,
    next_seq: i64,
    state: String,
}

impl TryFrom<(JobId, StoredState)> for StateRow {
    type Error = Error;

    fn try_from((job, row): (JobId, StoredState)) -> Result<Self, Error> {
        let source = Source::new("job_state", job);
        Ok(Self {
            attempt: source.number("attempt", row.attempt)?,
            next_seq: source.number("next_seq", row.next_seq)?,
            state: row.state,
        })
    }
}
