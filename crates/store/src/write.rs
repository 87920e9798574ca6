//! Changes to be written, and their results.

use super::{Chunk, StateRow};
use lrs_model::{
    change::Change,
    decision::Decision,
    job::{AttemptRow, JobRow, Timestamp},
    name::JobId,
};

/// How many changes of what changes no rate are kept of a job.
pub const MAX_UPDATES: u32 = 1000;

/// A change to be written. Every change is idempotent: after an unknown outcome, write the same change again.
#[derive(Clone, Debug, PartialEq)]
pub enum Write {
    /// A new job; see [`Outcome::NameTaken`].
    CreateJob(Box<JobRow>),
    /// The job's row from now on; its `id`, `name`, `initial_spec` and `create_time` never change. Does nothing if the
    /// job does not exist.
    UpdateJob(Box<JobRow>),
    /// Deletes the job and everything that belongs to it.
    DeleteJob(JobId),
    /// A new job that begins with a copy of another job's history: the attempts up to `source_attempt`, their
    /// telemetry, and the decisions of those attempts and of attempt 0.
    ///
    /// The copied tokens are marked as the other job's, so that the new job's trainers may use the same tokens.
    /// Decisions that take effect at or after the step of `row.forked_from` are not copied: from there on the new job
    /// decides for itself. See [`Outcome::SourceGone`].
    ForkJob {
        /// The new job.
        row: Box<JobRow>,
        /// The job to copy from.
        source: JobId,
        /// The newest attempt to copy.
        source_attempt: u32,
    },
    /// A new attempt.
    StartAttempt(JobId, AttemptRow),
    /// Sets [`AttemptRow::reserved_end`].
    Reserve {
        /// The job.
        job: JobId,
        /// Its attempt.
        attempt: u32,
        /// The new end.
        reserved_end: u64,
    },
    /// Telemetry as it arrived.
    AppendTelemetry(JobId, Chunk),
    /// A decision, with the `request_id` that a person gave. Does nothing if a decision with that identity is stored
    /// already.
    RecordDecision(JobId, Box<Decision>, Option<String>),
    /// A change, for the record, if the job `of` exists when it is written. Does nothing if a change with that identity
    /// is stored already. Of changes that change no rate the newest are kept, [`MAX_UPDATES`] of a job.
    RecordChange {
        /// The change.
        change: Box<Change>,
        /// The job that must exist: the one that was changed, or for a fork the new one.
        of: JobId,
    },
    /// Replaces the job's snapshot.
    SaveState(JobId, StateRow),
    /// The job was active at this time: its trainer called or reported. Creating and updating a job say so themselves.
    /// Does nothing if it was active later.
    MarkActive(JobId, Timestamp),
}

impl Write {
    /// The jobs that must exist, or must not be deleted by others before the write is committed.
    pub(super) fn jobs(&self) -> impl Iterator<Item = JobId> {
        let (job, source) = match self {
            Self::CreateJob(row) | Self::UpdateJob(row) => (row.id, None),
            Self::ForkJob { row, source, .. } => (row.id, Some(*source)),
            Self::RecordChange { change, of } => (change.job, Some(*of)),
            Self::DeleteJob(job)
            | Self::StartAttempt(job, _)
            | Self::Reserve { job, .. }
            | Self::AppendTelemetry(job, _)
            | Self::RecordDecision(job, ..)
            | Self::SaveState(job, _)
            | Self::MarkActive(job, _) => (*job, None),
        };
        [Some(job), source].into_iter().flatten()
    }
}

/// The result of a [`Write`].
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// The change is stored, now or by an earlier write.
    Done,
    /// The name belongs to this other job; nothing was written for the new job.
    NameTaken(Box<JobRow>),
    /// The job to copy from does not exist; nothing was written for the new job.
    SourceGone,
}
