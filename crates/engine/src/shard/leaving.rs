//! A job leaves memory, when nobody uses it: first all that is known of it is durable.
//!
//! It is to the job as a restart of the process in good order. How far steps were given out is stored, so that a
//! person's decision takes effect right after them when the job is back.

use std::sync::Arc;

use tokio::sync::oneshot;
use tracing::{debug, warn};

use super::{Owned, Shard};
use crate::{api::Error, entry::Entry};
use lrs_model::name::JobId;
use lrs_runtime::error::chain;
use lrs_store::Write;

/// Chunks of telemetry that are worth merging when their job leaves memory.
const WORTH_MERGING: u64 = 32;

impl Shard {
    /// Lets a job leave memory if it is idle. Drops `done` when that is over.
    pub(super) fn leave(&mut self, entry: Arc<Entry>, done: oneshot::Sender<()>) {
        if self.closing {
            return;
        }
        let id = entry.id;
        let Some(owned) = self.jobs.get_mut(&id).filter(|owned| Arc::ptr_eq(&owned.entry, &entry)) else {
            // A damaged job that was never in service.
            if entry.uses.try_leave() {
                self.context.directory.remove(&entry);
            }
            return;
        };
        let is_sound = entry.check_sound().is_ok();
        if owned.is_under_way() || !entry.uses.try_leave() {
            return;
        }
        // Of a damaged job only what is stored counts: it is read again when somebody asks for it.
        let writes = if is_sound { owned.last_writes(id) } else { Vec::new() };
        if let Some(attempt) = owned.attempt.as_ref().filter(|attempt| attempt.chunks_since_merge >= WORTH_MERGING) {
            // If the merger is busy, the chunks stay as they are.
            let _ = self.context.merges.try_send((id, attempt.heart.attempt(), attempt.next_seq));
        }
        // After everything that is on its way for this job.
        let committed = self.context.pipeline.submit(id, writes, None, None, None);
        self.after_commit(committed, move |shard, result| {
            match result {
                // The process ends, and has written this once more.
                Err(Error::ShuttingDown) => return,
                // What is stored holds, as after a crash.
                Err(error) => warn!(job.name = %entry.name, "{} was not saved: {}", entry.name, chain(&error)),
                Ok(()) => debug!(job.name = %entry.name, "{} has left memory", entry.name),
            }
            shard.jobs.remove(&id);
            shard.context.directory.remove(&entry);
            drop(done);
        });
    }
}

impl Owned {
    /// Whether something of this job is on its way, so that what is stored of it is about to change.
    fn is_under_way(&self) -> bool {
        let is_reserving = self.attempt.as_ref().is_some_and(|attempt| attempt.reserving > attempt.reserved_end);
        self.changing || !self.waiting.is_empty() || is_reserving
    }

    /// What is left to be stored of a job of which no more is given out from now on.
    pub(super) fn last_writes(&mut self, id: JobId) -> Vec<Write> {
        let mut writes = Vec::new();
        let Some(attempt) = &mut self.attempt else { return writes };
        // Whoever serves the job next need not count the rest of the block as given out.
        let given_end = attempt.cell.given_end().max(attempt.unknown_end.min(attempt.reserved_end));
        if given_end < attempt.reserved_end && attempt.reserving <= attempt.reserved_end {
            let number = attempt.heart.attempt();
            writes.push(Write::Reserve { job: id, attempt: number, reserved_end: given_end });
        }
        if attempt.records_since_snapshot > 0 && !self.changing {
            writes.extend(attempt.save_state(id));
        }
        writes.extend(self.entry.mark_active(0).map(|time| Write::MarkActive(id, time)));
        writes
    }
}
