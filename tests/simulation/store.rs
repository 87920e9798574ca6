//! The store under the engine: slow, failing, hanging, and gone when its process dies.

use std::{
    ops::Range,
    sync::{Arc, atomic::Ordering::SeqCst},
    time::Duration,
};

use async_trait::async_trait;
use lrs_model::{
    change::Change,
    filter::JobQuery,
    job::{AttemptRow, IdleBefore, JobRow, State, Timestamp},
    name::{JobId, JobName},
};
use lrs_runtime::error::chain;
use lrs_store::{
    ChangeQuery, ChangeRow, Chunk, DecisionQuery, DecisionRow, Error, ExpiredJob, ExpiryQuery, JobCount, JobRecord,
    ListedJob, Outcome, Removal, StateRow, Store, Write,
};
use tokio::time::Instant;

use crate::{
    ownership::Claim,
    planted::Plant,
    process::Process,
    promises::{Stored, Violation},
    world::{World, lock},
};

/// The longest hang of a call: the real stores give up after 35 seconds.
const HANG_MS: u64 = 35_000;
/// The most rows in a page of telemetry, so small that reads need several pages.
const PAGE: usize = 5;

/// One process's access to the durable data.
pub struct SimStore {
    pub world: Arc<World>,
    pub process: Arc<Process>,
    epoch: i64,
}

fn unavailable(why: &str) -> Error {
    Error::unavailable(why)
}

impl SimStore {
    /// Takes the data over for a process.
    ///
    /// # Errors
    /// If another process has it.
    pub fn open(world: &Arc<World>, process: &Arc<Process>) -> Result<Self, Error> {
        let claim = Claim::acquire(&mut world.durable().ownership, process.id)?;
        let epoch = claim.epoch();
        *lock(&process.claim) = Some(claim);
        Ok(Self { world: world.clone(), process: process.clone(), epoch })
    }

    /// Reaches the database: not while the process stands still, and not while it is cut off.
    async fn reach(&self) -> Result<(), Error> {
        self.process.thawed().await;
        if self.process.cut_off.load(SeqCst) {
            tokio::time::sleep(Duration::from_millis(20)).await;
            return Err(unavailable("no route to the database"));
        }
        Ok(())
    }

    /// Proves the ownership. A process that has died does so no more.
    async fn prove(&self) -> Result<(), Error> {
        self.point(0.0, "at a proof").await;
        prove(&self.world, &self.process)
    }

    /// A point at which the process may die. A dead process waits here for ever, so nothing that it does reaches the
    /// durable data.
    async fn point(&self, probability: f64, at: &str) {
        if self.process.is_alive() && self.world.chance(probability) {
            self.world.log(|| format!("crash {at}"));
            self.process.die(&self.world);
        }
        if !self.process.is_alive() {
            std::future::pending::<()>().await;
        }
    }

    async fn hang(&self) -> Result<(), Error> {
        if self.world.chance(self.world.profile.hangs) {
            let time = Duration::from_millis(self.world.below(HANG_MS));
            self.world.log(|| format!("store hangs for {time:?}"));
            tokio::time::sleep(time).await;
            if self.world.chance(0.5) {
                return Err(unavailable("no answer"));
            }
        }
        Ok(())
    }

    async fn read(&self) -> Result<(), Error> {
        self.world.pause().await;
        self.hang().await?;
        self.reach().await?;
        self.point(0.0, "at a read").await;
        if self.world.chance(self.world.profile.read_fails) {
            return Err(unavailable("a read failed"));
        }
        Ok(())
    }

    fn check_bounds(&self, batch: &[Write]) {
        let reports = batch.iter().filter(|write| matches!(write, Write::AppendTelemetry(..))).count();
        let limit = self.world.settings.batch_items;
        if reports > limit {
            let what = format!("{reports} reports in one transaction, at most {limit} are allowed");
            self.world.fail(Violation { promise: 7, what });
        }
    }
}

/// Proves that a process owns the data, and that all that it has committed is there.
fn prove(world: &World, process: &Process) -> Result<(), Error> {
    let mut claim = lock(&process.claim);
    let Some(claim) = &mut *claim else { return Err(unavailable("the store is not open")) };
    claim.prove(&mut world.durable().ownership, world.plant)
}

/// Commits a batch of a process, with the change of a planted bug if there is one. With `is_proven`, the transaction
/// has proven the ownership in this moment.
pub fn land(world: &World, process: &Process, batch: &[Write], is_proven: bool) -> Result<Vec<Outcome>, Error> {
    if !is_proven && world.plant != Some(Plant::CommitUnproven) {
        prove(world, process)?;
    }
    let outcomes = match world.plant {
        // A process that ends forgets it too, which is not the bug that is meant.
        Some(Plant::ForgetMark) if !process.is_leaving() => {
            let mut batch = batch.to_vec();
            Plant::forget_marks(&mut batch, &world.durable());
            apply(world, process, &batch)
        }
        Some(plant) => apply(world, process, &plant.changed(batch)),
        None => apply(world, process, batch),
    }?;
    if let Some(claim) = &mut *lock(&process.claim) {
        claim.advance(&mut world.durable().ownership);
    }
    Ok(outcomes)
}

/// Commits the batch, and lets the checker look at every job in it.
fn apply(world: &World, process: &Process, batch: &[Write]) -> Result<Vec<Outcome>, Error> {
    let mut durable = world.durable();
    let owner = durable.ownership.process;
    if owner != process.id {
        let what = format!("process {} has committed, though it was replaced by process {owner}", process.id);
        world.fail(Violation { promise: 1, what });
    }
    if world.plant == Some(Plant::LoseLastCommit) {
        world.unflushed.note(&durable);
    }
    world.note_tail(&durable, batch);
    let outcomes = durable.commit(batch).inspect_err(|error| {
        // An owner knows all that is there, so it never writes what contradicts it.
        if matches!(error, Error::Differs { .. }) {
            let what = format!("process {} contradicts what is stored: {}", process.id, chain(error));
            world.fail(Violation { promise: 1, what });
        }
    })?;
    world.check_orders(batch);
    let touched: Vec<JobId> = durable.jobs().map(|stored| stored.row.id).filter(|id| touches(batch, *id)).collect();
    for id in touched {
        let Some(stored) = durable.job(id) else { continue };
        world.log(|| format!("committed {} of {}", shown(batch, id), stored.row.name));
        world.check(world.history().committed(&stored.row.name, stored));
    }
    Ok(outcomes)
}

fn job_of(write: &Write) -> JobId {
    match write {
        Write::CreateJob(row) | Write::UpdateJob(row) | Write::ForkJob { row, .. } => row.id,
        Write::DeleteJob(job)
        | Write::StartAttempt(job, _)
        | Write::Reserve { job, .. }
        | Write::AppendTelemetry(job, _)
        | Write::RecordDecision(job, ..)
        | Write::RecordChange { of: job, .. }
        | Write::SaveState(job, _)
        | Write::MarkActive(job, _) => *job,
    }
}

fn touches(batch: &[Write], id: JobId) -> bool {
    batch.iter().any(|write| job_of(write) == id)
}

fn shown(batch: &[Write], id: JobId) -> String {
    let of = batch.iter().filter(|write| job_of(write) == id).map(|write| match write {
        Write::CreateJob(_) => "create".to_owned(),
        Write::UpdateJob(row) => format!("update to {}", row.state),
        Write::DeleteJob(_) => "delete".to_owned(),
        Write::ForkJob { source_attempt, .. } => format!("fork of attempt {source_attempt}"),
        Write::StartAttempt(_, row) => format!("attempt {} from {}", row.attempt, row.resume_step),
        Write::Reserve { attempt, reserved_end, .. } => format!("reserve {attempt}: {reserved_end}"),
        Write::AppendTelemetry(_, chunk) => {
            let steps: Vec<u64> = chunk.samples.iter().map(|sample| sample.step).collect();
            format!(
                "chunk {}/{} of rank {} through {:?}: {steps:?}",
                chunk.attempt, chunk.seq, chunk.rank, chunk.through_step
            )
        }
        Write::RecordDecision(_, decision, _) => {
            format!("decision {} from {} on", decision.id, decision.effective_step)
        }
        Write::RecordChange { change, .. } => format!("record {}", change.kind.as_str()),
        Write::SaveState(_, state) => format!("state below {}", state.next_seq),
        Write::MarkActive(..) => "activity".to_owned(),
    });
    of.collect::<Vec<_>>().join(", ")
}

#[async_trait]
impl Store for SimStore {
    async fn commit_if(
        &self,
        batch: &[Write],
        may_commit: &(dyn Fn() -> bool + Send + Sync),
    ) -> Result<Vec<Outcome>, Error> {
        let (world, profile) = (&self.world, &self.world.profile);
        self.check_bounds(batch);
        let begun = Instant::now();
        self.point(profile.crash_at_commit, "before a commit").await;
        world.pause().await;
        self.hang().await?;
        self.reach().await?;
        // A batch that has landed already is not refused when it comes again.
        if world.chance(profile.refuses) && !self.process.is_known(batch) {
            world.log(|| "a commit is refused".to_owned());
            return Err(Error::refused("to commit", "the simulation says so"));
        }
        if world.chance(profile.commit_fails) {
            return Err(unavailable("a commit failed"));
        }
        if world.plant == Some(Plant::AcknowledgeEarly) && self.process.is_alive() {
            return Ok(Plant::acknowledge_early(self, batch));
        }
        if world.plant != Some(Plant::CommitUnproven) {
            self.prove().await?;
        }
        if !may_commit() && world.plant != Some(Plant::IgnoreWithdrawal) {
            world.log(|| "a commit is withdrawn".to_owned());
            return Err(Error::Withdrawn);
        }
        // The batch is on its way until it lands: if the process dies or its session is cut now, it may or may not
        // land.
        self.process.send(batch);
        world.pause().await;
        self.process.thawed().await;
        self.point(profile.crash_at_commit, "during a commit").await;
        if !self.process.arrive() {
            return Err(Error::outcome_unknown("the session was cut"));
        }
        let outcomes = land(world, &self.process, batch, false)?;
        self.point(profile.crash_at_commit, "after a commit").await;
        world.pause().await;
        if world.chance(profile.commit_fails) {
            world.log(|| "a commit landed and is said to have failed".to_owned());
            self.process.know(batch);
            return Err(Error::outcome_unknown("the connection was lost"));
        }
        self.point(0.0, "before an answer").await;
        self.process.thawed().await;
        self.process.prove(begun);
        Ok(outcomes)
    }

    async fn job(&self, name: &JobName) -> Result<Option<JobRow>, Error> {
        self.read().await?;
        Ok(self.world.durable().by_name(name).map(|stored| stored.row.clone()))
    }

    async fn list_jobs(&self, query: &JobQuery) -> Result<Vec<ListedJob>, Error> {
        self.read().await?;
        let durable = self.world.durable();
        let listed = |stored: &Stored| ListedJob {
            row: stored.row.clone(),
            attempt: stored.attempts.last().map_or(0, |row| row.attempt),
            active_time: stored.row.update_time,
        };
        Ok(durable.jobs().map(listed).take(query.limit as usize).collect())
    }

    async fn job_records(&self, names: &[JobName]) -> Result<Vec<JobRecord>, Error> {
        self.read().await?;
        let durable = self.world.durable();
        let record = |name: &JobName| {
            let stored = durable.by_name(name)?;
            let state = durable.state(stored.row.id);
            let is_behind = |state: &StateRow| {
                stored.chunks.iter().any(|chunk| chunk.attempt == state.attempt && chunk.seq >= state.next_seq)
            };
            let is_person = |row: &DecisionRow| matches!(row.decision.author, lrs_model::decision::Author::Person(_));
            Some(JobRecord {
                id: stored.row.id,
                name: name.to_string(),
                row: Ok(stored.row.clone()),
                active_time: stored.row.update_time,
                attempts: Ok(stored.attempts.clone()),
                has_person_decisions: stored.decisions.iter().any(is_person),
                is_state_behind: state.as_ref().is_some_and(is_behind),
                state: Ok(state),
            })
        };
        Ok(names.iter().filter_map(record).collect())
    }

    async fn count_jobs(&self, _: IdleBefore) -> Result<Vec<JobCount>, Error> {
        self.read().await?;
        Ok(Vec::new())
    }

    async fn attempts(&self, job: JobId) -> Result<Vec<AttemptRow>, Error> {
        self.read().await?;
        Ok(self.world.durable().job(job).map(|stored| stored.attempts.clone()).unwrap_or_default())
    }

    async fn telemetry(&self, job: JobId, attempt: u32, from_seq: u64, limit: u32) -> Result<Vec<Chunk>, Error> {
        self.read().await?;
        let durable = self.world.durable();
        let chunks = durable.job(job).into_iter().flat_map(|stored| &stored.chunks);
        let wanted = chunks.filter(|chunk| chunk.attempt == attempt && chunk.seq >= from_seq);
        Ok(wanted.take((limit as usize).min(PAGE)).cloned().collect())
    }

    async fn telemetry_of_steps(
        &self,
        job: JobId,
        attempt: u32,
        steps: Range<u64>,
        from_seq: u64,
        limit: u32,
    ) -> Result<Vec<Chunk>, Error> {
        self.read().await?;
        let durable = self.world.durable();
        let chunks = durable.job(job).into_iter().flat_map(|stored| &stored.chunks);
        let chunks = chunks.filter(|chunk| chunk.attempt == attempt && chunk.seq >= from_seq);
        let has = |chunk: &&Chunk| chunk.samples.iter().any(|sample| steps.contains(&sample.step));
        Ok(chunks.filter(has).take(limit as usize).cloned().collect())
    }

    async fn next_telemetry_step(&self, job: JobId, attempt: u32, from: u64) -> Result<Option<u64>, Error> {
        self.read().await?;
        let durable = self.world.durable();
        let chunks = durable.job(job).into_iter().flat_map(|stored| &stored.chunks);
        let ends = chunks.filter(|chunk| chunk.attempt == attempt).filter_map(|chunk| {
            let (first, last) = (chunk.samples.first()?.step, chunk.samples.last()?.step);
            (last >= from).then_some(first.max(from))
        });
        Ok(ends.min())
    }

    async fn merge_telemetry(&self, job: JobId, attempt: u32, below_seq: u64, target: u32) -> Result<u64, Error> {
        let target = usize::try_from(self.world.below(u64::from(target).min(30)) + 2).unwrap();
        let mut gone = 0;
        loop {
            self.read().await?;
            self.prove().await?;
            let more = self.world.durable().merge(job, attempt, below_seq, target);
            if more == 0 {
                return Ok(gone);
            }
            self.world.log(|| format!("merged {more} chunks below {below_seq}"));
            if let Some(stored) = self.world.durable().job(job) {
                self.world.check(self.world.history().committed(&stored.row.name, stored));
            }
            gone += more;
        }
    }

    async fn decisions(&self, job: JobId, query: &DecisionQuery) -> Result<Vec<DecisionRow>, Error> {
        self.read().await?;
        let durable = self.world.durable();
        let decisions = durable.job(job).into_iter().flat_map(|stored| &stored.decisions);
        let wanted = decisions.filter(|row| {
            let is_person = matches!(row.decision.author, lrs_model::decision::Author::Person(_));
            query.attempt.is_none_or(|attempt| attempt == row.decision.attempt)
                && (!query.people_only || is_person)
                && query.after.is_none_or(|after| row.position > after)
        });
        Ok(wanted.take((query.limit as usize).min(PAGE)).cloned().collect())
    }

    async fn state(&self, job: JobId) -> Result<Option<StateRow>, Error> {
        self.read().await?;
        Ok(self.world.durable().state(job))
    }

    async fn expired_jobs(&self, query: &ExpiryQuery) -> Result<Vec<ExpiredJob>, Error> {
        self.read().await?;
        let is_early = self.world.plant == Some(Plant::RemoveEarly);
        let ended_before = if is_early { Timestamp(i64::MAX) } else { query.ended_before };
        let mut expired = self.world.durable().expired(ended_before);
        expired.truncate((query.limit as usize).min(2));
        Ok(expired)
    }

    async fn remove_telemetry(&self, job: JobId, now: Timestamp, limit: u32) -> Result<Removal, Error> {
        let (world, profile) = (&self.world, &self.world.profile);
        world.pause().await;
        self.hang().await?;
        self.reach().await?;
        self.point(profile.crash_at_commit, "before a removal").await;
        if world.chance(profile.removal_fails) {
            return Err(unavailable("a removal failed"));
        }
        let limit = usize::try_from(world.below(u64::from(limit.min(6)))).unwrap() + 1;
        self.prove().await?;
        let removal = {
            let mut durable = world.durable();
            world.keep_tail();
            if let (Some(stored), Some(kept_for)) =
                (durable.job(job).filter(|s| s.row.state.is_ended()), profile.kept_for)
            {
                world.check(world.history().removing(stored, world.clock.latest(), kept_for));
            }
            durable.remove(job, now, limit, world.plant != Some(Plant::RemoveUnmarked))
        };
        // Log the name, because identifiers are random and the log must depend on the seed alone.
        let name = world.durable().job(job).map(|stored| stored.row.name.to_string()).unwrap_or_default();
        world.log(|| format!("{} chunks of {name} are removed", removal.chunks));
        self.point(profile.crash_at_commit, "after a removal").await;
        world.pause().await;
        if world.chance(profile.removal_fails) {
            return Err(unavailable("the connection was lost"));
        }
        Ok(removal)
    }

    async fn changes(&self, query: &ChangeQuery) -> Result<Vec<ChangeRow>, Error> {
        self.read().await?;
        let durable = self.world.durable();
        let wanted = durable.changes().iter().filter(|row| {
            row.change.job_name == query.job_name && query.after.is_none_or(|after| row.position > after)
        });
        Ok(wanted.take(query.limit as usize).cloned().collect())
    }

    async fn change_by_request(&self, job_name: &JobName, request_id: &str) -> Result<Option<Change>, Error> {
        self.read().await?;
        let durable = self.world.durable();
        let asked =
            |row: &&ChangeRow| row.change.job_name == *job_name && row.change.request_id.as_deref() == Some(request_id);
        Ok(durable.changes().iter().rev().find(asked).map(|row| row.change.clone()))
    }

    async fn remove_changes(&self, _: Timestamp, _: u32) -> Result<u64, Error> {
        Ok(0)
    }

    async fn count_ended_jobs(&self) -> Result<Vec<(State, u64)>, Error> {
        self.read().await?;
        let durable = self.world.durable();
        let states = durable.jobs().map(|stored| stored.row.state).filter(|state| state.is_ended());
        let states = states.map(|state| (state, 1)).collect();
        Ok(states)
    }

    async fn ping(&self) -> Result<(), Error> {
        let begun = Instant::now();
        self.read().await?;
        self.prove().await?;
        self.world.pause().await;
        self.process.thawed().await;
        self.process.prove(begun);
        Ok(())
    }

    fn epoch(&self) -> i64 {
        self.epoch
    }

    fn is_exclusive(&self) -> bool {
        false
    }

    async fn close(&self) {}
}
