//! A row of `changes`.

use sqlx::FromRow;
use uuid::Uuid;

use super::{Source, stored_number};
use crate::{ChangeRow, Error};
use lrs_model::{
    change::{Change, ChangeKind, Origin},
    job::Timestamp,
    name::JobId,
};

/// A row of `changes`. A row to be stored has no position yet.
#[derive(FromRow)]
pub(crate) struct StoredChange {
    pub(crate) position: i64,
    pub(crate) id: Uuid,
    pub(crate) job_id: Uuid,
    pub(crate) job_name: String,
    pub(crate) kind: String,
    pub(crate) detail: String,
    pub(crate) author: String,
    pub(crate) origin: String,
    pub(crate) reason: String,
    pub(crate) step: Option<i64>,
    pub(crate) decision: Option<String>,
    pub(crate) request_id: Option<String>,
    pub(crate) fingerprint: i64,
    pub(crate) create_time: i64,
}

impl TryFrom<&Change> for StoredChange {
    type Error = Error;

    fn try_from(change: &Change) -> Result<Self, Error> {
        let change = change.clone();
        let step = change.step.map(|step| stored_number("to record a change", step)).transpose()?;
        Ok(Self {
            position: 0,
            id: change.id,
            job_id: change.job.0,
            job_name: change.job_name.to_string(),
            kind: change.kind.as_str().to_owned(),
            detail: change.detail,
            author: change.author,
            origin: change.origin.as_str().to_owned(),
            reason: change.reason,
            step,
            decision: change.decision,
            request_id: change.request_id,
            fingerprint: change.fingerprint,
            create_time: change.create_time.0,
        })
    }
}

impl TryFrom<StoredChange> for ChangeRow {
    type Error = Error;

    fn try_from(row: StoredChange) -> Result<Self, Error> {
        let source = Source::new("changes", row.id);
        let unknown = |column: &str, value: &str| source.inconsistent(format_args!("{column} {value:?} is unknown"));
        let change = Change {
            id: row.id,
            job: JobId(row.job_id),
            job_name: row.job_name.parse().map_err(|problem| source.inconsistent(problem))?,
            kind: ChangeKind::parse(&row.kind).ok_or_else(|| unknown("kind", &row.kind))?,
            detail: row.detail,
            author: row.author,
            origin: Origin::parse(&row.origin).ok_or_else(|| unknown("origin", &row.origin))?,
            reason: row.reason,
            step: source.optional_number("step", row.step)?,
            decision: row.decision,
            request_id: row.request_id,
            fingerprint: row.fingerprint,
            create_time: Timestamp(row.create_time),
        };
        Ok(Self { position: source.number("position", row.position)?, change })
    }
}
