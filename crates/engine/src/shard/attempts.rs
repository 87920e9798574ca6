//! The beginning of an attempt: first it is durable, then the job's value becomes what it was at the step resumed from.

use std::sync::Arc;

use futures::FutureExt as _;
use tracing::info;

use super::{Continuation, Owned, Reply, Shard};
use crate::{
    api::{AttemptInfo, Error},
    job::Job,
    lineage::Standing,
    pace,
    recover::{self, Running},
    ticket::Ticket,
    timeline::Timeline,
};
use lrs_model::{
    job::{AttemptRow, State},
    name::JobId,
    violation::Violations,
};
use lrs_runtime::{backoff::Backoff, error::chain, heavy::in_place};
use lrs_store as store;
use lrs_store::Write;

/// The most attempts of a job.
const MAX_ATTEMPTS: usize = 10_000;

impl Shard {
    pub(super) fn start_attempt(
        &mut self,
        id: JobId,
        token: String,
        resume_step: u64,
        ranks: Option<u32>,
        ticket: Ticket,
        reply: Reply<AttemptInfo>,
    ) {
        let block = pace::reserve(None, self.context.settings.reserve_steps);
        let now = self.context.clock.now();
        let Some(owned) = self.jobs.get_mut(&id) else { return };
        if let Some(known) = owned.attempts.iter().find(|row| row.token == token) {
            let _ = reply.send(owned.known_attempt(known, resume_step, ranks));
            return;
        }
        let checked = owned.check_resume_step(resume_step).and_then(|()| owned.check_attempts());
        if let Err(error) = checked {
            let _ = reply.send(Err(error));
            return;
        }

        let parent_attempt = owned.attempts.last().map_or(0, |row| row.attempt);
        let row = AttemptRow {
            attempt: parent_attempt + 1,
            token,
            resume_step,
            parent_attempt,
            reserved_end: resume_step.saturating_add(block),
            reporting_ranks: ranks,
            create_time: now,
        };
        let job_row = owned.next_row(now, |row| {
            if row.state == State::Pending {
                row.state = State::Running;
            }
        });
        // From here on no report changes the old attempt's history, so that it is the same whenever it is read.
        let job = owned.entry.name.clone();
        owned.refusing = Some(Error::StaleAttempt { job, attempt: parent_attempt, newest: row.attempt });
        owned.changing = true;
        let writes = vec![Write::StartAttempt(id, row.clone()), Write::UpdateJob(Box::new(job_row.clone()))];
        let committed = self.context.pipeline.submit(id, writes, None, None, Some(ticket));
        self.after_commit(committed, move |shard, result| {
            let Some(owned) = shard.jobs.get_mut(&id) else { return };
            if let Err(error) = result {
                owned.refusing = None;
                let _ = reply.send(Err(error));
                return shard.changed(id);
            }
            let (name, attempt, step) = (&owned.entry.name, row.attempt, row.resume_step);
            info!(job.name = %name, attempt, step, "Attempt {attempt} of {name} begins at step {step}");
            owned.attempts.push(row.clone());
            owned.entry.set_row(job_row);
            let standing = Standing::new(&owned.attempts, row.attempt);
            let people = owned.people.iter().map(|(decision, _)| decision);
            // The same orders were laid out for the attempt before.
            match in_place(|| Timeline::of_attempt(&owned.entry.row().initial_spec, people, &standing)) {
                Ok(timeline) => owned.timeline = timeline,
                Err(violations) => owned.entry.damage(violations.to_string()),
            }
            shard.rebuild(id, row, reply);
        });
    }

    /// Reads the new attempt's history and begins it.
    fn rebuild(&mut self, id: JobId, row: AttemptRow, reply: Reply<AttemptInfo>) {
        let Some(owned) = self.jobs.get(&id) else { return };
        let (store, timeline) = (self.context.store.clone(), owned.timeline.clone());
        let attempts = owned.attempts.clone();
        let read = async move {
            if row.parent_attempt == 0 {
                let heart = Job::new(timeline, row.attempt, row.resume_step).with_ranks(row.reporting_ranks);
                return (row, Ok(Running::new(heart, 0)));
            }
            let mut waits = Backoff::DATABASE.regular();
            loop {
                match recover::running(&*store, id, &timeline, &attempts, None).await {
                    Err(failure) if failure.is_transient() => waits.sleep().await,
                    known => return (row, known),
                }
            }
        };
        self.later.push(Box::pin(read.map(move |(row, running)| {
            Box::new(move |shard: &mut Self| shard.begin_attempt(id, &row, running, reply)) as Continuation
        })));
    }

    fn begin_attempt(
        &mut self,
        id: JobId,
        row: &AttemptRow,
        running: Result<Running, store::Error>,
        reply: Reply<AttemptInfo>,
    ) {
        let context = self.context.clone();
        let Some(owned) = self.jobs.get_mut(&id) else { return };
        match running {
            Err(error) => {
                owned.entry.damage(chain(&error));
                let _ = reply.send(owned.entry.check_sound().and(Err(error.into())));
            }
            Ok(mut running) => {
                if let Some(old) = owned.entry.cell_full() {
                    let job = owned.entry.name.clone();
                    old.close(Error::StaleAttempt { job, attempt: old.attempt, newest: row.attempt });
                }
                let decisions = std::mem::take(&mut running.unrecorded);
                owned.begin(&context, row, running, 0);
                if let Some(cell) = owned.entry.cell_full() {
                    cell.hear(&*context.clock);
                }
                let writes = owned.decided(&context, decisions);
                context.pipeline.submit_own(writes, &owned.entry);
                owned.entry.break_trail();
                owned.refusing = None;
                owned.tell_job(&context);
                let _ = reply.send(Ok(owned.info(row)));
            }
        }
        self.changed(id);
    }
}

impl Owned {
    /// How many ranks report in an attempt.
    fn reporting_ranks(&self, row: &AttemptRow) -> u32 {
        row.reporting_ranks.unwrap_or_else(|| self.timeline.spec_at(0).spec().reporting_ranks)
    }

    fn info(&self, row: &AttemptRow) -> AttemptInfo {
        AttemptInfo {
            row: row.clone(),
            reporting_ranks: self.reporting_ranks(row),
            spec: Arc::clone(self.timeline.last_spec().spec()),
            needs_telemetry: self.timeline.needs_telemetry(),
        }
    }

    fn known_attempt(&self, known: &AttemptRow, resume_step: u64, ranks: Option<u32>) -> Result<AttemptInfo, Error> {
        if let Some(now) = ranks
            && now != self.reporting_ranks(known)
        {
            let mut violations = Violations::new();
            let allowed = format!("{}, as the attempt with this token has", self.reporting_ranks(known));
            violations.refuse("reporting_ranks", now, allowed);
            return Err(Error::Invalid(violations));
        }
        if known.resume_step == resume_step {
            return Ok(self.info(known));
        }
        Err(Error::AttemptTokenReused {
            job: self.entry.name.clone(),
            token: known.token.clone(),
            first: known.resume_step,
            now: resume_step,
        })
    }

    /// The list of attempts stays in memory as long as the job has not ended.
    fn check_attempts(&self) -> Result<(), Error> {
        if self.attempts.len() < MAX_ATTEMPTS {
            return Ok(());
        }
        Err(Error::Overloaded { what: "the list of attempts of this job", limit: MAX_ATTEMPTS })
    }

    /// A fork shares its source's history up to the fork and no further.
    fn check_resume_step(&self, resume_step: u64) -> Result<(), Error> {
        let row = self.entry.row();
        match &row.forked_from {
            Some(fork) if row.state == State::Pending && resume_step > fork.step => {
                let mut violations = Violations::new();
                violations.refuse(
                    "resume_step",
                    resume_step,
                    format_args!("at most {}, where the job was forked", fork.step),
                );
                Err(Error::Invalid(violations))
            }
            _ => Ok(()),
        }
    }
}
