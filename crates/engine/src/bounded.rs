//! A store as callers read it: each answer comes within a time, or the database counts as away.

use std::{
    ops::Range,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;

use lrs_model::{
    change::Change,
    filter::JobQuery,
    job::{AttemptRow, IdleBefore, JobRow, State, Timestamp},
    name::{JobId, JobName},
};
use lrs_runtime::backoff::Backoff;
use lrs_store::{
    ChangeQuery, ChangeRow, Chunk, DecisionQuery, DecisionRow, Error, ExpiredJob, ExpiryQuery, JobCount, JobRecord,
    ListedJob, MayCommit, Outcome, Removal, StateRow, Store, Write,
};

/// A store and how long to wait for it.
pub struct Bounded {
    store: Arc<dyn Store>,
    timeout: Duration,
}

impl Bounded {
    /// `store`, whose answers come within `timeout`.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, timeout: Duration) -> Self {
        Self { store, timeout }
    }

    /// The answer, which is asked for again while somebody holds a lock that is in the way.
    async fn within<T, A: Future<Output = Result<T, Error>>>(&self, ask: impl Fn() -> A) -> Result<T, Error> {
        let busy = Mutex::new(None);
        let note = || busy.lock().unwrap_or_else(PoisonError::into_inner);
        let answer = async {
            let mut waits = Backoff::DATABASE.regular();
            loop {
                match ask().await {
                    Err(why @ Error::Busy(_)) => *note() = Some(why),
                    answer => return answer,
                }
                waits.sleep().await;
            }
        };
        let answer = tokio::time::timeout(self.timeout, answer).await;
        let late = || Error::unavailable(format!("no answer within {:?}", self.timeout));
        answer.unwrap_or_else(|_| Err(note().take().unwrap_or_else(late)))
    }
}

#[async_trait]
impl Store for Bounded {
    async fn commit_if(&self, batch: &[Write], may_commit: MayCommit<'_>) -> Result<Vec<Outcome>, Error> {
        // Commits go through the pipeline, which knows what becomes of those that take long.
        self.store.commit_if(batch, may_commit).await
    }

    async fn job(&self, name: &JobName) -> Result<Option<JobRow>, Error> {
        self.within(|| self.store.job(name)).await
    }

    async fn list_jobs(&self, query: &JobQuery) -> Result<Vec<ListedJob>, Error> {
        self.within(|| self.store.list_jobs(query)).await
    }

    async fn job_records(&self, names: &[JobName]) -> Result<Vec<JobRecord>, Error> {
        self.within(|| self.store.job_records(names)).await
    }

    async fn count_jobs(&self, before: IdleBefore) -> Result<Vec<JobCount>, Error> {
        self.within(|| self.store.count_jobs(before)).await
    }

    async fn count_ended_jobs(&self) -> Result<Vec<(State, u64)>, Error> {
        self.within(|| self.store.count_ended_jobs()).await
    }

    async fn changes(&self, query: &ChangeQuery) -> Result<Vec<ChangeRow>, Error> {
        self.within(|| self.store.changes(query)).await
    }

    async fn change_by_request(&self, job_name: &JobName, request_id: &str) -> Result<Option<Change>, Error> {
        self.within(|| self.store.change_by_request(job_name, request_id)).await
    }

    async fn remove_changes(&self, deleted_before: Timestamp, limit: u32) -> Result<u64, Error> {
        self.within(|| self.store.remove_changes(deleted_before, limit)).await
    }

    async fn attempts(&self, job: JobId) -> Result<Vec<AttemptRow>, Error> {
        self.within(|| self.store.attempts(job)).await
    }

    async fn telemetry(&self, job: JobId, attempt: u32, from_seq: u64, limit: u32) -> Result<Vec<Chunk>, Error> {
        self.within(|| self.store.telemetry(job, attempt, from_seq, limit)).await
    }

    async fn telemetry_of_steps(
        &self,
        job: JobId,
        attempt: u32,
        steps: Range<u64>,
        from_seq: u64,
        limit: u32,
    ) -> Result<Vec<Chunk>, Error> {
        self.within(|| self.store.telemetry_of_steps(job, attempt, steps.clone(), from_seq, limit)).await
    }

    async fn next_telemetry_step(&self, job: JobId, attempt: u32, from: u64) -> Result<Option<u64>, Error> {
        self.within(|| self.store.next_telemetry_step(job, attempt, from)).await
    }

    async fn merge_telemetry(&self, job: JobId, attempt: u32, below_seq: u64, target: u32) -> Result<u64, Error> {
        self.within(|| self.store.merge_telemetry(job, attempt, below_seq, target)).await
    }

    async fn expired_jobs(&self, query: &ExpiryQuery) -> Result<Vec<ExpiredJob>, Error> {
        self.within(|| self.store.expired_jobs(query)).await
    }

    async fn remove_telemetry(&self, job: JobId, now: Timestamp, limit: u32) -> Result<Removal, Error> {
        self.within(|| self.store.remove_telemetry(job, now, limit)).await
    }

    async fn decisions(&self, job: JobId, query: &DecisionQuery) -> Result<Vec<DecisionRow>, Error> {
        self.within(|| self.store.decisions(job, query)).await
    }

    async fn state(&self, job: JobId) -> Result<Option<StateRow>, Error> {
        self.within(|| self.store.state(job)).await
    }

    async fn ping(&self) -> Result<(), Error> {
        self.within(|| self.store.ping()).await
    }

    fn epoch(&self) -> i64 {
        self.store.epoch()
    }

    fn is_exclusive(&self) -> bool {
        self.store.is_exclusive()
    }

    async fn close(&self) {
        self.store.close().await;
    }
}
