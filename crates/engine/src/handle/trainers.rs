//! What trainers ask: an attempt, the directive of a step, a way to report.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::Engine;
use crate::{
    api::{AttemptInfo, DirectiveAnswer, Error, RateCall},
    cell::Cell,
    directory::Found,
    entry::Entry,
    reporter::Reporter,
    shard::Command,
};
use lrs_model::{name::JobName, violation::Violations};
use lrs_runtime::error::Cause;

/// How long a call that does not wait for a final rate waits for its job to be read.
const READING: Duration = Duration::from_secs(1);

impl Engine {
    /// Begins an attempt, or finds the one with this token. `ranks` of it report; `None`: as many as the spec says.
    ///
    /// # Errors
    /// If there is no such job, it has ended, or the token was used with another `resume_step` or number of ranks.
    pub async fn start_attempt(
        &self,
        name: &JobName,
        token: String,
        resume_step: u64,
        ranks: Option<u32>,
    ) -> Result<AttemptInfo, Error> {
        let entry = self.live(name.as_str()).await?;
        let (id, asked) = (entry.id, self.0.context.tenure.ask());
        let command = |ticket, reply| Command::Start { id, token, resume_step, ranks, ticket, reply };
        match self.ask(&entry, command).await {
            // It is durable, and the number of an attempt never changes.
            Ok(info) => Ok(info),
            refused => self.vouched(asked, refused).await,
        }
    }

    /// The directive of a step, and of the steps after it that are wanted. Waits for the step to become final, but no
    /// longer than the call allows; a job that is not in memory is read within that time too, or within a second if the
    /// call does not wait. Cancel safe.
    ///
    /// # Errors
    /// If the job cannot be read in time, there is no such job or attempt, the attempt is not the newest, or the job has ended.
    pub async fn directive(&self, name: &str, asked: RateCall) -> Result<DirectiveAnswer, Error> {
        let RateCall { attempt, step, plan_steps, mut wait } = asked;
        let entry = match self.0.context.directory.find(name) {
            Found::Held(entry) => entry,
            Found::Leaving(_) | Found::Missing => {
                let begun = Instant::now();
                let entry = tokio::time::timeout(if wait.is_zero() { READING } else { wait }, self.entry(name));
                let why = "the job is still being read, try again".to_owned();
                let entry = entry.await.map_err(|_| Error::StoreUnavailable(Cause::new(why)))??;
                wait = wait.saturating_sub(begun.elapsed());
                entry
            }
        };
        entry.check_sound()?;
        let cell = self.attempt_cell(&entry, attempt).await?;
        let cell = &*cell;
        let commit_ahead = entry.row().spec.commit_ahead;
        if attempt != 0 {
            cell.hear_call(&*self.0.context.clock, step);
        } else if !cell.is_near(step, commit_ahead) {
            return self.answer(&entry, cell, asked, 0).await;
        }
        let end = step.saturating_add(1).saturating_add(cell.ahead(commit_ahead).min(plan_steps as u64));
        let given = cell.give_out(end);
        self.renew(&entry, cell, end);
        if given > step || wait.is_zero() {
            cell.check_open()?;
            return self.answer(&entry, cell, asked, given).await;
        }
        let given = tokio::time::timeout(wait, wait_final(cell, step, end)).await;
        cell.check_open()?;
        self.answer(&entry, cell, asked, given.unwrap_or(0)).await
    }

    /// The answer to a call whose steps below `given_end` are final. To be called after they were given out.
    async fn answer(
        &self,
        entry: &Entry,
        cell: &Cell,
        RateCall { step, plan_steps, .. }: RateCall,
        given_end: u64,
    ) -> Result<DirectiveAnswer, Error> {
        let first = step.saturating_add(1);
        let plan_end = first.saturating_add(plan_steps as u64);
        let mut plan = self.directives(entry.id, cell, step..plan_end).await?;
        // A plan is in columns, so it ends where the groups change.
        let same = plan.iter().take_while(|each| each.has_groups_of(&plan[0])).count();
        plan.truncate(same);
        // Last of all: the process may have stood still since the steps were given out.
        let given_end = if cell.is_owned() { given_end } else { 0 };
        Ok(DirectiveAnswer {
            attempt: cell.attempt,
            directive: plan.remove(0),
            is_final: given_end > step,
            final_steps: usize::try_from(given_end.saturating_sub(first)).unwrap_or(usize::MAX).min(plan.len()),
            plan,
        })
    }

    /// The cell of an attempt; `attempt` 0 is the newest.
    async fn attempt_cell(&self, entry: &Entry, attempt: u64) -> Result<Arc<Cell>, Error> {
        let found = match entry.cell_full() {
            Some(cell) => check_attempt(entry, &cell, attempt).map(|()| cell),
            None => Err(Error::NoAttempt(entry.name.clone())),
        };
        match found {
            Ok(cell) => Ok(cell),
            // Another owner may have begun it.
            refused => self.vouched(self.0.context.tenure.ask(), refused).await,
        }
    }

    /// Asks for a longer block when readers come near its end.
    fn renew(&self, entry: &Entry, cell: &Cell, end: u64) {
        let block = cell.reserve(self.0.context.settings.reserve_steps);
        if end.saturating_add(block / 2) > cell.reserved_end() {
            // If the shard is that busy, the next call asks again.
            let _ = self.0.shard(entry.id).try_send(Command::Renew { id: entry.id, attempt: cell.attempt, end });
        }
    }

    /// A reporter for one rank of the newest attempt; `attempt` 0 is that one too.
    ///
    /// # Errors
    /// If there is no such job or attempt, the attempt is not the newest, or the job has ended.
    pub async fn reporter(&self, name: &JobName, attempt: u64, rank: u32) -> Result<Reporter, Error> {
        let entry = self.live(name.as_str()).await?;
        let cell = self.attempt_cell(&entry, attempt).await?;
        let ranks = cell.ranks;
        if rank >= ranks {
            let mut violations = Violations::new();
            violations.refuse("rank", rank, format_args!("below the attempt's reporting_ranks, {ranks}"));
            return Err(Error::Invalid(violations));
        }
        Ok(Reporter::new(self.0.context.clone(), self.0.shard(entry.id).clone(), entry, cell, rank))
    }
}

fn check_attempt(entry: &Entry, cell: &Cell, attempt: u64) -> Result<(), Error> {
    let newest = cell.attempt;
    match u32::try_from(attempt) {
        Ok(attempt) if attempt == 0 || attempt == newest => Ok(()),
        Ok(attempt) if attempt < newest => Err(Error::StaleAttempt { job: entry.name.clone(), attempt, newest }),
        _ => Err(Error::UnknownAttempt { job: entry.name.clone(), attempt, newest }),
    }
}

/// Waits until `step` is final; the end of what was given out then.
async fn wait_final(cell: &Cell, step: u64, end: u64) -> u64 {
    let mut changes = cell.changes();
    loop {
        let given = cell.give_out(end);
        if given > step || cell.check_open().is_err() {
            return given;
        }
        changes.next().await;
    }
}
