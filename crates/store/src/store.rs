//! The trait that every store implements.

use std::ops::Range;

use async_trait::async_trait;

use super::{
    ChangeQuery, ChangeRow, Chunk, DecisionQuery, DecisionRow, Error, ExpiredJob, ExpiryQuery, JobCount, JobRecord,
    ListedJob, Outcome, Removal, StateRow, Write,
};
use lrs_model::{
    change::Change,
    filter::JobQuery,
    job::{AttemptRow, IdleBefore, JobRow, State, Timestamp},
    name::{JobId, JobName},
};

/// Asked whether a commit is still wanted.
pub type MayCommit<'a> = &'a (dyn Fn() -> bool + Send + Sync);

/// A database that remembers jobs.
///
/// All reads see what was committed. A method that returns several rows reports a damaged row beside the others where
/// its return type allows that. All methods are cancel safe.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Writes all of `batch` in one transaction, in order, and returns a result for each write. An error means that
    /// nothing was written, except [`Error::OutcomeUnknown`]. The next commit finds out what became of such a one: if it
    /// was not stored, the error is [`Error::Undone`] and nothing is written.
    ///
    /// The transaction proves that this process owns the database and that all its earlier commits are there. After
    /// [`Error::Deposed`] or [`Error::LostTail`] every further write fails with that error.
    async fn commit(&self, batch: &[Write]) -> Result<Vec<Outcome>, Error> {
        self.commit_if(batch, &|| true).await
    }

    /// The same, if `may_commit` says so at the last moment: after the database has taken all writes, and before it is
    /// told to commit. Otherwise nothing is written, and the error is [`Error::Withdrawn`].
    async fn commit_if(&self, batch: &[Write], may_commit: MayCommit<'_>) -> Result<Vec<Outcome>, Error>;

    /// The job with this name.
    async fn job(&self, name: &JobName) -> Result<Option<JobRow>, Error>;

    /// A page of jobs, for people. A row that cannot be understood comes as [`JobRow::unreadable`], with the problem as
    /// the reason of its state.
    async fn list_jobs(&self, query: &JobQuery) -> Result<Vec<ListedJob>, Error>;

    /// Those of these jobs that exist, ended or not, in any order, with what is needed to serve them. The number of
    /// statements does not depend on the number of jobs.
    async fn job_records(&self, names: &[JobName]) -> Result<Vec<JobRecord>, Error>;

    /// How many jobs have not ended, by their state and by how long they have been idle.
    async fn count_jobs(&self, before: IdleBefore) -> Result<Vec<JobCount>, Error>;

    /// How many ended jobs are in each state. A state without jobs may be left out.
    async fn count_ended_jobs(&self) -> Result<Vec<(State, u64)>, Error>;

    /// All attempts of a job, the first attempt first.
    async fn attempts(&self, job: JobId) -> Result<Vec<AttemptRow>, Error>;

    /// A page of the telemetry of an attempt, in the order of arrival: at most `limit` chunks, from `from_seq` on.
    async fn telemetry(&self, job: JobId, attempt: u32, from_seq: u64, limit: u32) -> Result<Vec<Chunk>, Error>;

    /// The chunks of an attempt that have a sample of one of `steps`, in the order of arrival, from `from_seq` on: the
    /// first `limit`, or all if there are fewer. The chunks are whole: they may have samples of other steps too.
    async fn telemetry_of_steps(
        &self,
        job: JobId,
        attempt: u32,
        steps: Range<u64>,
        from_seq: u64,
        limit: u32,
    ) -> Result<Vec<Chunk>, Error>;

    /// The step from which to read on: `from` itself if a chunk spans it, else the first step of the next chunk. `None`
    /// if there is no telemetry at or after `from`.
    async fn next_telemetry_step(&self, job: JobId, attempt: u32, from: u64) -> Result<Option<u64>, Error>;

    /// Merges neighbouring small chunks of one rank into chunks of up to `target` samples. A merged chunk has all
    /// samples of its parts, and the `seq` and `through_step` of the last part. Chunks with `seq >= below_seq` are left
    /// alone. Returns by how many rows the table became shorter.
    async fn merge_telemetry(&self, job: JobId, attempt: u32, below_seq: u64, target: u32) -> Result<u64, Error>;

    /// A page of the jobs whose telemetry is past its retention and not completely removed.
    async fn expired_jobs(&self, query: &ExpiryQuery) -> Result<Vec<ExpiredJob>, Error>;

    /// Removes up to `limit` chunks of a job that has ended, in one transaction, and with the last chunk the job's
    /// snapshot. The first removal sets [`JobRow::telemetry_removed_time`] to `now`. Does nothing if the job has not
    /// ended or does not exist.
    async fn remove_telemetry(&self, job: JobId, now: Timestamp, limit: u32) -> Result<Removal, Error>;

    /// A page of the decisions of a job.
    async fn decisions(&self, job: JobId, query: &DecisionQuery) -> Result<Vec<DecisionRow>, Error>;

    /// A page of changes.
    async fn changes(&self, query: &ChangeQuery) -> Result<Vec<ChangeRow>, Error>;

    /// The newest change that was asked for by this request of a job with this name.
    async fn change_by_request(&self, job_name: &JobName, request_id: &str) -> Result<Option<Change>, Error>;

    /// Removes all changes of at most `limit` of the jobs that were deleted before a time. Returns how many changes.
    async fn remove_changes(&self, deleted_before: Timestamp, limit: u32) -> Result<u64, Error>;

    /// The job's snapshot.
    async fn state(&self, job: JobId) -> Result<Option<StateRow>, Error>;

    /// Checks that the database answers and can be written, and that this process owns it.
    async fn ping(&self) -> Result<(), Error>;

    /// The number of this process's ownership of the database. It rises when the database is opened, and when a lost
    /// connection is replaced.
    fn epoch(&self) -> i64;

    /// Whether no other process can take the database over while this store is open. If one can, a successful
    /// [`commit`](Self::commit) or [`ping`](Self::ping) proves that none had when the call was made, and no more.
    fn is_exclusive(&self) -> bool;

    /// Closes all connections when the work under way has ended.
    async fn close(&self);
}
