//! A row of `attempts`.

use sqlx::FromRow;

use super::{Place, stored_number};
use crate::{
    model::{
        job::{AttemptRow, Timestamp},
        name::JobId,
    },
    store::Error,
};

const WHAT: &str = "to store an attempt";

/// A row of `attempts`, without its job.
#[derive(FromRow)]
pub(in crate::store) struct StoredAttempt {
    pub(in crate::store) attempt: i64,
    pub(in crate::store) token: String,
    pub(in crate::store) resume_step: i64,
    pub(in crate::store) parent_attempt: i64,
    pub(in crate::store) reserved_end: i64,
    pub(in crate::store) create_time: i64,
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
            create_time: attempt.create_time.0,
        })
    }
}

impl TryFrom<(JobId, StoredAttempt)> for AttemptRow {
    type Error = Error;

    fn try_from((job, row): (JobId, StoredAttempt)) -> Result<Self, Error> {
        let place = Place::new("attempts", format_args!("{job}/{}", row.attempt));
        Ok(Self {
            attempt: place.number("attempt", row.attempt)?,
            token: row.token,
            resume_step: place.number("resume_step", row.resume_step)?,
            parent_attempt: place.number("parent_attempt", row.parent_attempt)?,
            reserved_end: place.number("reserved_end", row.reserved_end)?,
            create_time: Timestamp(row.create_time),
        })
    }
}
