//! A row of `jobs`.

use sqlx::FromRow;
use uuid::Uuid;

use super::{Source, stored_json, stored_number};
use crate::Error;
use lrs_model::{
    job::{JobRow, State, Timestamp},
    name::JobId,
    spec::Arm,
};
use lrs_runtime::error::chain;

const WHAT: &str = "to store a job";

/// A row of `jobs`.
#[derive(FromRow)]
pub(crate) struct StoredJob {
    pub(crate) id: Uuid,
    pub(crate) name: String,
    pub(crate) initial_spec: String,
    pub(crate) spec: String,
    pub(crate) state: String,
    pub(crate) state_reason: String,
    pub(crate) state_author: String,
    pub(crate) version: i64,
    pub(crate) request_id: Option<String>,
    pub(crate) forked_from: Option<String>,
    pub(crate) create_time: i64,
    pub(crate) update_time: i64,
    pub(crate) end_time: Option<i64>,
    pub(crate) telemetry_removed_time: Option<i64>,
}

impl TryFrom<&JobRow> for StoredJob {
    type Error = Error;

    fn try_from(job: &JobRow) -> Result<Self, Error> {
        Ok(Self {
            id: job.id.0,
            name: job.name.as_str().to_owned(),
            initial_spec: stored_json(WHAT, &job.initial_spec)?,
            spec: stored_json(WHAT, &job.spec)?,
            state: job.state.as_str().to_owned(),
            state_reason: job.state_reason.clone(),
            state_author: job.state_author.clone(),
            version: stored_number(WHAT, job.version)?,
            request_id: job.request_id.clone(),
            forked_from: job.forked_from.as_ref().map(|point| stored_json(WHAT, point)).transpose()?,
            create_time: job.create_time.0,
            update_time: job.update_time.0,
            end_time: job.end_time.map(|time| time.0),
            telemetry_removed_time: job.telemetry_removed_time.map(|time| time.0),
        })
    }
}

impl StoredJob {
    /// The job, or what stands for one whose row is damaged: so that a listing shows the others, and what is wrong.
    ///
    /// # Errors
    /// If not even the name can be understood.
    pub(crate) fn readable(self) -> Result<JobRow, Error> {
        let (id, name, create_time, update_time) =
            (JobId(self.id), self.name.clone(), self.create_time, self.update_time);
        JobRow::try_from(self).or_else(|damage| match name.parse() {
            Ok(name) => Ok(JobRow {
                state_reason: chain(&damage),
                create_time: Timestamp(create_time),
                update_time: Timestamp(update_time),
                ..JobRow::unreadable(id, name)
            }),
            Err(_) => Err(damage),
        })
    }
}

impl TryFrom<StoredJob> for JobRow {
    type Error = Error;

    fn try_from(row: StoredJob) -> Result<Self, Error> {
        let source = Source::new("jobs", row.id);
        Ok(Self {
            id: JobId(row.id),
            name: row.name.parse().map_err(|error| source.inconsistent(format_args!("name: {error}")))?,
            initial_spec: source.json("initial_spec", &row.initial_spec)?,
            spec: source.json("spec", &row.spec)?,
            state: State::parse(&row.state)
                .ok_or_else(|| source.inconsistent(format_args!("state {:?} is unknown", row.state)))?,
            state_reason: row.state_reason,
            state_author: row.state_author,
            version: source.number("version", row.version)?,
            request_id: row.request_id,
            forked_from: row.forked_from.map(|point| source.json("forked_from", &point)).transpose()?,
            create_time: Timestamp(row.create_time),
            update_time: Timestamp(row.update_time),
            end_time: row.end_time.map(Timestamp),
            telemetry_removed_time: row.telemetry_removed_time.map(Timestamp),
        })
    }
}

/// What a listing filters by: columns of `jobs` that repeat parts of `spec`.
pub(crate) struct Searchable<'a> {
    pub(crate) display_name: &'a str,
    pub(crate) experiment: &'a str,
    pub(crate) arm: &'static str,
    pub(crate) labels: String,
}

impl<'a> TryFrom<&'a JobRow> for Searchable<'a> {
    type Error = Error;

    fn try_from(job: &'a JobRow) -> Result<Self, Error> {
        Ok(Self {
            display_name: &job.spec.display_name,
            experiment: &job.spec.experiment,
            arm: stored_arm(job.spec.arm),
            labels: stored_json(WHAT, &job.spec.labels)?,
        })
    }
}

/// An arm as it is stored for filters; empty for none.
pub(crate) fn stored_arm(arm: Option<Arm>) -> &'static str {
    match arm {
        Some(Arm::Scheduled) => "scheduled",
        Some(Arm::Baseline) => "baseline",
        None => "",
    }
}
