//! A batch of writes, applied within a transaction.

use std::collections::HashSet;

use sqlx::{Encode, Executor, FromRow, IntoArguments, Type, query, query_as, query_scalar};
use uuid::Uuid;

use super::{
    Error, Outcome, StateRow, Write,
    dialect::{Arrived, Dialect},
    failure::Failure,
    rows::{
        attempt::StoredAttempt,
        capped, chunk,
        decision::StoredDecision,
        job::{Searchable, StoredJob},
        stored_number,
    },
    statements,
};
use lrs_model::{
    decision::Decision,
    job::{AttemptRow, JobRow},
    name::JobId,
};
use lrs_runtime::heavy::in_place;

/// A batch being applied.
pub(super) struct Batch<'t, DB: Dialect> {
    connection: &'t mut DB::Connection,
    /// The jobs that exist. A write to another job does nothing: it repeats a write from before the job was deleted.
    jobs: HashSet<JobId>,
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
    for<'r> (i64,): FromRow<'r, DB::Row>,
{
    /// Applies the batch in order, in the transaction that `connection` is in.
    pub(super) async fn apply(connection: &'t mut DB::Connection, writes: &[Write]) -> Result<Vec<Outcome>, Failure> {
        let named: HashSet<Uuid> = writes.iter().flat_map(Write::jobs).map(|id| id.0).collect();
        let named: Vec<Uuid> = named.into_iter().collect();
        let jobs = DB::lock_jobs(connection, &named).await?.into_iter().map(JobId).collect();
        let mut batch = Self { connection, jobs };

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
                chunks.push(Arrived { job: *job, chunk, arrivals: Some(1) });
            }
        }
        chunk::insert::<DB>(self.connection, &chunks).await
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
            Write::SaveState(job, state) if self.jobs.contains(job) => self.save_state(*job, state).await?,
            Write::AppendTelemetry(..) | Write::StartAttempt(..) | Write::RecordDecision(..) | Write::SaveState(..) => {
            }
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
        if DB::rows_affected(&result) == 1 || self.exists(job.id).await? {
            self.jobs.insert(job.id);
            return Ok(Outcome::Done);
        }
        let name = job.name.as_str().to_owned();
        let other: StoredJob = query_as(statements::JOB_BY_NAME).bind(name).fetch_one(&mut *self.connection).await?;
        Ok(Outcome::NameTaken(Box::new(other.try_into()?)))
    }

    async fn exists(&mut self, job: JobId) -> Result<bool, Failure> {
        let count: i64 = query_scalar(statements::JOB_EXISTS).bind(job.0).fetch_one(&mut *self.connection).await?;
        Ok(count > 0)
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
        query(statements::INSERT_ATTEMPT)
            .bind(job.0)
            .bind(row.attempt)
            .bind(row.token)
            .bind(row.resume_step)
            .bind(row.parent_attempt)
            .bind(row.reserved_end)
            .bind(row.create_time)
            .execute(&mut *self.connection)
            .await?;
        Ok(())
    }

    async fn reserve(&mut self, job: JobId, attempt: u32, reserved_end: u64) -> Result<(), Failure> {
        query(statements::RESERVE)
            .bind(job.0)
            .bind(i64::from(attempt))
            .bind(stored_number("to reserve steps", reserved_end)?)
            .execute(&mut *self.connection)
            .await?;
        Ok(())
    }

    async fn insert_decision(
        &mut self,
        job: JobId,
        decision: &Decision,
        request_id: Option<&str>,
    ) -> Result<(), Failure> {
        let row = StoredDecision::try_from((decision, request_id))?;
        query(DB::INSERT_DECISION)
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
            .execute(&mut *self.connection)
            .await?;
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
