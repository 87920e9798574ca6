//! A batch of writes, applied within a transaction.

use std::collections::HashSet;

use sqlx::{Encode, Executor, FromRow, IntoArguments, Type, query, query_as, query_scalar};
use uuid::Uuid;

use super::{
    ChangeRow, DecisionRow, Error, Outcome, StateRow, Write,
    arrival::{self, Arrived},
    dialect::Dialect,
    failure::Failure,
    rows::{
        attempt::StoredAttempt,
        capped,
        change::StoredChange,
        decision::StoredDecision,
        job::{Searchable, StoredJob},
        stored_number,
    },
    statements,
    write::MAX_UPDATES,
};
use lrs_model::{
    change::{Change, ChangeKind},
    decision::{Decision, DecisionId},
    job::{AttemptRow, JobRow, Timestamp},
    name::JobId,
};
use lrs_runtime::heavy::in_place;

/// A batch being applied.
pub(super) struct Batch<'t, DB: Dialect> {
    connection: &'t mut DB::Connection,
    /// The jobs that exist. A write to another job does nothing: it repeats a write from before the job was deleted.
    jobs: HashSet<JobId>,
    /// The epoch of the owner.
    epoch: i64,
}

impl<'t, DB> Batch<'t, DB>
where
    DB: Dialect,
    DB::Arguments: IntoArguments<DB>,
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
    for<'q> &'q str: Encode<'q, DB> + Type<DB>,
    for<'q> String: Encode<'q, DB> + Type<DB>,
    for<'q> Option<String>: Encode<'q, DB> + Type<DB>,
    for<'q> i64: Encode<'q, DB> + Type<DB>,
    for<'q> Option<i64>: Encode<'q, DB> + Type<DB>,
    for<'q> Uuid: Encode<'q, DB> + Type<DB>,
    for<'r> StoredJob: FromRow<'r, DB::Row>,
    for<'r> StoredAttempt: FromRow<'r, DB::Row>,
    for<'r> StoredDecision: FromRow<'r, DB::Row>,
    for<'r> StoredChange: FromRow<'r, DB::Row>,
    for<'r> DB::StoredChunk: FromRow<'r, DB::Row>,
    for<'r> (i64,): FromRow<'r, DB::Row>,
{
    /// Applies the batch of the owner with this epoch in order, in the transaction that `connection` is in.
    ///
    /// A row that is there already is an earlier try of the same write, or the write is refused: then nothing that the
    /// caller remembers of the job can be trusted.
    pub(super) async fn apply(
        connection: &'t mut DB::Connection,
        epoch: i64,
        writes: &[Write],
    ) -> Result<Vec<Outcome>, Failure> {
        let named: HashSet<Uuid> = writes.iter().flat_map(Write::jobs).map(|id| id.0).collect();
        let named: Vec<Uuid> = named.into_iter().collect();
        let jobs = DB::lock_jobs(connection, &named).await?.into_iter().map(JobId).collect();
        let mut batch = Self { connection, jobs, epoch };

        let mut outcomes = Vec::with_capacity(writes.len());
        let is_telemetry = |write: &Write| matches!(write, Write::AppendTelemetry(..));
        for run in writes.chunk_by(|a, b| is_telemetry(a) && is_telemetry(b)) {
            batch.append_telemetry(run).await?;
            for write in run {
                outcomes.push(batch.apply_one(write).await?);
            }
        }
        Ok(outcomes)
    }

    async fn append_telemetry(&mut self, run: &[Write]) -> Result<(), Failure> {
        let mut chunks = Vec::with_capacity(run.len());
        for write in run {
            if let Write::AppendTelemetry(job, chunk) = write
                && self.jobs.contains(job)
            {
                chunks.push(Arrived { job: *job, chunk, arrivals: Some(1), epoch: self.epoch });
            }
        }
        arrival::insert::<DB>(self.connection, &chunks).await
    }

    /// Applies any write but telemetry, which `append_telemetry` has inserted.
    async fn apply_one(&mut self, write: &Write) -> Result<Outcome, Failure> {
        match write {
            Write::CreateJob(row) => return self.create_job(row).await,
            Write::ForkJob { row, source, source_attempt } => {
                let is_repeat = self.jobs.contains(&row.id);
                if !is_repeat && !self.jobs.contains(source) {
                    return Ok(Outcome::SourceGone);
                }
                let outcome = self.create_job(row).await?;
                if outcome == Outcome::Done && !is_repeat {
                    self.copy_history(row, *source, *source_attempt).await?;
                }
                return Ok(outcome);
            }
            Write::UpdateJob(row) => self.update_job(row).await?,
            Write::DeleteJob(job) => self.delete_job(*job).await?,
            Write::Reserve { job, attempt, reserved_end } => self.reserve(*job, *attempt, *reserved_end).await?,
            Write::StartAttempt(job, attempt) if self.jobs.contains(job) => self.insert_attempt(*job, attempt).await?,
            Write::RecordDecision(job, decision, request_id) if self.jobs.contains(job) => {
                self.insert_decision(*job, decision, request_id.as_deref()).await?;
            }
            Write::MarkActive(job, time) => self.mark_active(*job, *time).await?,
            Write::RecordChange { change, of } if self.jobs.contains(of) => self.insert_change(change).await?,
            Write::SaveState(job, state) if self.jobs.contains(job) => self.save_state(*job, state).await?,
            Write::AppendTelemetry(..)
            | Write::StartAttempt(..)
            | Write::RecordDecision(..)
            | Write::RecordChange { .. }
            | Write::SaveState(..) => {}
        }
        Ok(Outcome::Done)
    }

    async fn create_job(&mut self, job: &JobRow) -> Result<Outcome, Failure> {
        let row = in_place(|| StoredJob::try_from(job))?;
        let searchable = Searchable::try_from(job)?;
        let result = query(DB::INSERT_JOB)
            .bind(row.id)
            .bind(row.name)
            .bind(job.name.namespace().to_owned())
            .bind(row.initial_spec)
            .bind(row.spec)
            .bind(searchable.display_name)
            .bind(searchable.experiment)
            .bind(searchable.arm)
            .bind(searchable.labels)
            .bind(row.state)
            .bind(row.state_reason)
            .bind(row.version)
            .bind(row.request_id)
            .bind(row.forked_from)
            .bind(row.create_time)
            .bind(row.update_time)
            .bind(row.end_time)
            .bind(row.state_author)
            .execute(&mut *self.connection)
            .await?;
        if DB::rows_affected(&result) == 1 || self.is_stored(job).await? {
            self.jobs.insert(job.id);
            return Ok(Outcome::Done);
        }
        let name = job.name.as_str().to_owned();
        let other: StoredJob = query_as(statements::JOB_BY_NAME).bind(name).fetch_one(&mut *self.connection).await?;
        Ok(Outcome::NameTaken(Box::new(other.try_into()?)))
    }

    /// Whether the job is there already, and no other one.
    async fn is_stored(&mut self, job: &JobRow) -> Result<bool, Failure> {
        let stored: Option<StoredJob> =
            query_as(statements::JOB_BY_ID).bind(job.id.0).fetch_optional(&mut *self.connection).await?;
        let Some(stored) = stored else { return Ok(false) };
        let wanted = in_place(|| StoredJob::try_from(job))?;
        // The other columns may have changed since.
        let fixed = |row: &StoredJob| (row.name.clone(), row.initial_spec.clone(), row.create_time);
        if fixed(&stored) == fixed(&wanted) {
            return Ok(true);
        }
        let problem = format!("it is {}, registered at {}", stored.name, Timestamp(stored.create_time));
        Err(Error::differs("jobs", job.id.to_string(), problem).into())
    }

    async fn update_job(&mut self, job: &JobRow) -> Result<(), Failure> {
        let row = in_place(|| StoredJob::try_from(job))?;
        let searchable = Searchable::try_from(job)?;
        query(DB::UPDATE_JOB)
            .bind(row.id)
            .bind(row.spec)
            .bind(searchable.display_name)
            .bind(searchable.experiment)
            .bind(searchable.arm)
            .bind(searchable.labels)
            .bind(row.state)
            .bind(row.state_reason)
            .bind(row.version)
            .bind(row.request_id)
            .bind(row.forked_from)
            .bind(row.update_time)
            .bind(row.end_time)
            .bind(row.state_author)
            .execute(&mut *self.connection)
            .await?;
        Ok(())
    }

    async fn delete_job(&mut self, job: JobId) -> Result<(), Failure> {
        for statement in [statements::DELETE_TELEMETRY_OF_JOB, statements::DELETE_JOB] {
            query(statement).bind(job.0).execute(&mut *self.connection).await?;
        }
        self.jobs.remove(&job);
        Ok(())
    }

    async fn copy_history(&mut self, job: &JobRow, source: JobId, source_attempt: u32) -> Result<(), Failure> {
        let attempt = i64::from(source_attempt);
        for statement in [statements::COPY_ATTEMPTS, statements::COPY_TELEMETRY] {
            query(statement).bind(job.id.0).bind(source.0).bind(attempt).execute(&mut *self.connection).await?;
        }
        query(statements::COPY_DECISIONS)
            .bind(job.id.0)
            .bind(source.0)
            .bind(attempt)
            .bind(job.forked_from.as_ref().map_or(i64::MAX, |point| capped(point.step)))
            .execute(&mut *self.connection)
            .await?;
        // After the copy: a removal that began meanwhile has marked the source before it took anything away.
        let lacking: i64 =
            query_scalar(statements::LACKS_TELEMETRY).bind(source.0).fetch_one(&mut *self.connection).await?;
        if lacking > 0 {
            let problem = format!("the telemetry of job {source}, which it would share, has been removed");
            return Err(Error::refused("to fork a job", problem).into());
        }
        Ok(())
    }

    async fn insert_attempt(&mut self, job: JobId, attempt: &AttemptRow) -> Result<(), Failure> {
        let row = StoredAttempt::try_from(attempt)?;
        let result = query(statements::INSERT_ATTEMPT)
            .bind(job.0)
            .bind(row.attempt)
            .bind(row.token)
            .bind(row.resume_step)
            .bind(row.parent_attempt)
            .bind(row.reserved_end)
            .bind(row.reporting_ranks)
            .bind(row.create_time)
            .bind(self.epoch)
            .execute(&mut *self.connection)
            .await?;
        if DB::rows_affected(&result) == 1 {
            return Ok(());
        }
        let stored: StoredAttempt = query_as(statements::ATTEMPT)
            .bind(job.0)
            .bind(i64::from(attempt.attempt))
            .fetch_one(&mut *self.connection)
            .await?;
        let stored = stored.into_row(job)?;
        // The block may have grown since.
        if (AttemptRow { reserved_end: attempt.reserved_end, ..stored.clone() }) == *attempt {
            return Ok(());
        }
        let AttemptRow { token, resume_step, .. } = stored;
        let problem = format!(
            "it has the token {token:?} and begins at step {resume_step}, not the token {:?} and step {}",
            attempt.token, attempt.resume_step
        );
        Err(Error::differs("attempts", format!("{job}/{}", attempt.attempt), problem).into())
    }

    async fn reserve(&mut self, job: JobId, attempt: u32, reserved_end: u64) -> Result<(), Failure> {
        let result = query(statements::RESERVE)
            .bind(job.0)
            .bind(i64::from(attempt))
            .bind(stored_number("to reserve steps", reserved_end)?)
            .execute(&mut *self.connection)
            .await?;
        if DB::rows_affected(&result) == 0 && self.jobs.contains(&job) {
            let id = format!("{job}/{attempt}");
            return Err(Error::inconsistent("attempts", id, "steps are to be reserved, and it is not there").into());
        }
        Ok(())
    }

    async fn insert_decision(
        &mut self,
        job: JobId,
        decision: &Decision,
        request_id: Option<&str>,
    ) -> Result<(), Failure> {
        let row = StoredDecision::try_from((decision, request_id))?;
        let result = query(DB::INSERT_DECISION)
            .bind(job.0)
            .bind(row.id)
            .bind(row.attempt)
            .bind(row.step)
            .bind(row.effective_step)
            .bind(row.author_kind)
            .bind(row.author)
            .bind(row.reason)
            .bind(row.evidence)
            .bind(row.effect)
            .bind(row.request_id)
            .bind(row.create_time)
            .bind(self.epoch)
            .execute(&mut *self.connection)
            .await?;
        if DB::rows_affected(&result) == 1 {
            return Ok(());
        }
        let stored: StoredDecision = query_as(statements::DECISION)
            .bind(job.0)
            .bind(decision.id.to_string())
            .fetch_one(&mut *self.connection)
            .await?;
        check_same(job, (job, stored).try_into()?, decision, request_id)
    }

    async fn mark_active(&mut self, job: JobId, time: Timestamp) -> Result<(), Failure> {
        query(statements::MARK_ACTIVE).bind(job.0).bind(time.0).execute(&mut *self.connection).await?;
        Ok(())
    }

    async fn insert_change(&mut self, change: &Change) -> Result<(), Failure> {
        let row = StoredChange::try_from(change)?;
        let result = query(statements::INSERT_CHANGE)
            .bind(row.id)
            .bind(row.job_id)
            .bind(row.job_name)
            .bind(row.kind)
            .bind(row.detail)
            .bind(row.author)
            .bind(row.origin)
            .bind(row.reason)
            .bind(row.step)
            .bind(row.decision)
            .bind(row.request_id)
            .bind(row.fingerprint)
            .bind(row.create_time)
            .execute(&mut *self.connection)
            .await?;
        if DB::rows_affected(&result) == 0 {
            let stored: Option<StoredChange> =
                query_as(statements::CHANGE).bind(change.id).fetch_optional(&mut *self.connection).await?;
            let stored = stored.map(ChangeRow::try_from).transpose()?;
            if stored.is_none_or(|stored| stored.change != *change) {
                let problem = "its identifier, or its request_id, is another change's";
                return Err(Error::differs("changes", change.id.to_string(), problem).into());
            }
        }
        if change.kind == ChangeKind::Updated {
            query(statements::FORGET_UPDATES)
                .bind(row.job_id)
                .bind(i64::from(MAX_UPDATES))
                .execute(&mut *self.connection)
                .await?;
        }
        Ok(())
    }

    async fn save_state(&mut self, job: JobId, state: &StateRow) -> Result<(), Failure> {
        query(statements::SAVE_STATE)
            .bind(job.0)
            .bind(i64::from(state.attempt))
            .bind(stored_number("to store a snapshot", state.next_seq)?)
            .bind(state.state.clone())
            .execute(&mut *self.connection)
            .await?;
        Ok(())
    }
}

/// Whether a decision is stored as it is here. One of a controller that was lost is made again, with the same effect,
/// when the job is recovered: at another time, and perhaps by a release that words its reason otherwise.
fn check_same(job: JobId, stored: DecisionRow, wanted: &Decision, request_id: Option<&str>) -> Result<(), Failure> {
    let DecisionRow { decision: mut found, request_id: found_request, .. } = stored;
    if let DecisionId::Controller { .. } = found.id {
        found.create_time = wanted.create_time;
        found.reason.clone_from(&wanted.reason);
        found.evidence.clone_from(&wanted.evidence);
    }
    // As they are stored, so that a NaN is equal to a NaN.
    let shown = |decision, request| Ok::<_, Error>(StoredDecision::try_from((decision, request))?.contents());
    let (found, wanted_contents) = (shown(&found, found_request.as_deref())?, shown(wanted, request_id)?);
    if found == wanted_contents {
        return Ok(());
    }
    let problem = format!("it is {found}, not {wanted_contents}");
    Err(Error::differs("decisions", format!("{job}/{}", wanted.id), problem).into())
}
