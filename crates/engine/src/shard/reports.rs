//! Telemetry: taken at once, durable soon; and the reserved block that it moves along.

use tracing::info;

use super::{Accepted, Attempt, Context, Owned, Shard};
use crate::{
    api::{Error, Event},
    commit::Permit,
    meters,
};
use lrs_model::{
    decision::{Author, Decision},
    name::JobId,
    telemetry::Report,
    violation::Violations,
};
use lrs_store::{Chunk, Write};

impl Shard {
    /// Takes a report. Its decisions are known at once; the answer says where to wait until the report is durable.
    pub(super) fn report(
        &mut self,
        id: JobId,
        attempt: u32,
        rank: u32,
        report: Report,
        permit: Permit,
    ) -> Result<Accepted, Error> {
        if self.closing {
            return Err(self.context.why_closed());
        }
        let context = &self.context;
        let owned = self.jobs.get_mut(&id).ok_or_else(|| Error::JobNotFound(id.to_string()))?;
        owned.entry.check_sound()?;
        if let Some(why) = &owned.refusing {
            return Err(why.clone());
        }
        let newest = owned.entry.attempt();
        let name = &owned.entry.name;
        let running = owned.attempt.as_mut().ok_or_else(|| Error::NoAttempt(name.clone()))?;
        if attempt != newest {
            return Err(Error::StaleAttempt { job: name.clone(), attempt, newest });
        }
        check(running, rank, &report)?;

        let limit = context.settings.max_open_steps;
        let heart = &mut running.heart;
        let taken = heart
            .take(rank, report, limit)
            .map_err(|_| Error::Overloaded { what: "the window of steps not closed by through_step", limit })?;

        let mut writes = Vec::new();
        if !taken.accepted.is_empty() || taken.through_rose {
            meters::taken(taken.accepted.len());
            running.records_since_snapshot += taken.accepted.len() as u64;
            running.chunks_since_merge += 1;
            let seq = running.next_seq;
            running.next_seq += 1;
            let (through_step, samples) = (taken.through_step, taken.accepted);
            writes.push(Write::AppendTelemetry(id, Chunk { attempt, rank, seq, through_step, samples }));
        }
        if taken.steered {
            running.cell.publish_timeline(running.heart.timeline());
        }
        writes.extend(owned.decided(context, taken.decisions));
        let Some(running) = owned.attempt.as_mut() else { return Err(Error::NoAttempt(owned.entry.name.clone())) };
        if running.records_since_snapshot >= context.settings.snapshot_after_records && !owned.changing {
            writes.extend(running.save_state(id));
        }
        if running.heart.complete_end() > running.cell.complete_end() {
            running.cell.note_complete(&*context.clock);
        }
        running.publish();
        running.publish_missing(&*context.clock);
        running.cell.hear_report(&*context.clock, running.heart.complete_end());
        running.cell.count(taken.repeated, taken.conflicting, 0);
        if let Some(record) = running.heart.latest() {
            owned.entry.tell(|| Event::Record(Box::new(record.clone())));
        }
        let wanted = running.heart.complete_end();
        let decision = writes.iter().rev().find_map(|write| match write {
            Write::RecordDecision(_, decision, _) => Some(Decision::clone(decision)),
            _ => None,
        });
        let committed = context.pipeline.submit(id, writes, Some(permit), Some(owned.entry.clone()), None);
        // After the submission, so that whoever begins to look now finds the records in the store.
        owned.entry.add_to_trail(attempt, &taken.completed, decision);
        if running.chunks_since_merge >= context.settings.merge_after_chunks {
            // If the merger is busy the next report asks again.
            if context.merges.try_send((id, attempt, running.next_seq)).is_ok() {
                running.chunks_since_merge = 0;
            }
        }
        self.renew(id, attempt, wanted);
        Ok(Accepted {
            committed,
            through_step: taken.through_step,
            repeated: taken.repeated,
            conflicting: taken.conflicting,
            conflict_step: taken.conflict_step,
            closed: taken.closed,
        })
    }

    /// Reserves a further block when steps below `wanted` leave less than half of one.
    pub(super) fn renew(&mut self, id: JobId, attempt: u32, wanted: u64) {
        if self.closing {
            return;
        }
        let Some(running) = self.jobs.get_mut(&id).and_then(|owned| owned.attempt.as_mut()) else { return };
        let block = running.cell.reserve(self.context.settings.reserve_steps);
        let reserved_end = wanted.saturating_add(block);
        if running.heart.attempt() != attempt || wanted.saturating_add(block / 2) <= running.reserving {
            return;
        }
        running.reserving = reserved_end;
        let write = Write::Reserve { job: id, attempt, reserved_end };
        let committed = self.context.pipeline.submit(id, vec![write], None, None, None);
        self.after_commit(committed, move |shard, result| {
            let running = shard.jobs.get_mut(&id).and_then(|owned| owned.attempt.as_mut());
            let Some(running) = running.filter(|running| running.heart.attempt() == attempt) else { return };
            match result {
                Ok(()) if !shard.closing => {
                    running.reserved_end = running.reserved_end.max(reserved_end);
                    running.publish();
                }
                // Asked for again when it is wanted again.
                _ => running.reserving = running.reserved_end,
            }
        });
    }
}

impl Owned {
    /// Tells of what controllers decided, and returns it for storing. The timeline with it has been published.
    pub(super) fn decided(&mut self, context: &Context, decisions: Vec<Decision>) -> Vec<Write> {
        let now = context.clock.now();
        let record = decisions.into_iter().map(|decision| {
            let decision = Decision { create_time: now, ..decision };
            if let Author::Controller(controller) = &decision.author {
                meters::decided(&decision);
                let (name, step, reason) = (&self.entry.name, decision.effective_step, &decision.reason);
                info!(job.name = %name, controller, step, "{name}: from step {step} on: {reason}");
            }
            self.entry.tell(|| Event::Decision(Box::new(decision.clone())));
            Write::RecordDecision(self.entry.id, Box::new(decision), None)
        });
        record.collect()
    }
}

fn check(running: &Attempt, rank: u32, report: &Report) -> Result<(), Error> {
    let mut violations = Violations::new();
    let ranks = running.heart.ranks();
    if rank >= ranks {
        violations.refuse("rank", rank, format_args!("below the attempt's reporting_ranks, {ranks}"));
    }
    let first = running.cell.resume_step;
    if let Some(sample) = report.samples.first().filter(|sample| sample.step < first) {
        violations.refuse("step", sample.step, format_args!("at least the attempt's resume_step, {first}"));
    }
    violations.into_result(()).map_err(Error::Invalid)
}
