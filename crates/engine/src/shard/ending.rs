//! The end of a job.

use super::{Reply, Shard};
use crate::{
    api::{Error, Event, JobView, Order},
    record,
    ticket::Ticket,
};
use lrs_model::{
    change::{Change as Record, ChangeKind},
    job::State,
    name::JobId,
};
use lrs_store::Write;

impl Shard {
    pub(super) fn complete(&mut self, id: JobId, outcome: State, order: Order, ticket: Ticket, reply: Reply<JobView>) {
        let now = self.context.clock.now();
        // Retention counts from here, so it is rather too late than too early if somebody has set the clock.
        let end = self.context.steady.at_most(&*self.context.clock);
        let Some(owned) = self.jobs.get_mut(&id) else { return };
        let mut record = record::change(&owned.entry.row(), record::of_end(outcome), &order, now);
        record.step = owned.entry.cell_full().map(|cell| cell.complete_end());
        let row = owned.next_row(now, |row| {
            row.state = outcome;
            row.state_author = order.author;
            row.state_reason = order.reason;
            row.end_time = Some(end);
        });
        let ended = Error::JobEnded { job: owned.entry.name.clone(), state: outcome };
        owned.changing = true;
        owned.refusing = Some(ended.clone());
        let writes = vec![Write::UpdateJob(Box::new(row.clone())), record::write(&record)];
        let committed = self.context.pipeline.submit(id, writes, None, None, Some(ticket));
        self.after_commit(committed, move |shard, result| {
            let Some(owned) = shard.jobs.get_mut(&id) else { return };
            if let Err(error) = result {
                owned.refusing = None;
                let _ = reply.send(Err(error));
                return shard.changed(id);
            }
            owned.entry.set_row(row);
            let view = owned.view(&shard.context);
            record::tell(&record);
            owned.entry.tell(|| Event::Job(Box::new(view.clone())));
            owned.entry.tell(|| Event::Change(Box::new(record)));
            shard.forget(id, &ended);
            let _ = reply.send(Ok(view));
        });
    }

    pub(super) fn delete(
        &mut self,
        id: JobId,
        etag: Option<&str>,
        force: bool,
        order: &Order,
        ticket: Ticket,
        reply: Reply<()>,
    ) {
        let now = self.context.clock.now();
        let Some(owned) = self.jobs.get_mut(&id) else { return };
        let (name, row) = (owned.entry.name.clone(), owned.entry.row());
        let found = lrs_model::etag::of(row.version);
        let refusal = match etag {
            Some(expected) if expected != found => {
                Some(Error::EtagMismatch { job: name.clone(), expected: expected.to_owned(), found })
            }
            _ if !force => Some(Error::JobNotEnded { job: name.clone(), state: row.state }),
            _ => None,
        };
        if let Some(refusal) = refusal {
            let _ = reply.send(Err(refusal));
            return;
        }
        let gone = Error::JobNotFound(name.to_string());
        owned.changing = true;
        owned.refusing = Some(gone.clone());
        let record = Record { detail: row.state.to_string(), ..record::change(&row, ChangeKind::Deleted, order, now) };
        let writes = vec![record::write(&record), Write::DeleteJob(id)];
        let committed = self.context.pipeline.submit(id, writes, None, None, Some(ticket));
        self.after_commit(committed, move |shard, result| {
            let Some(owned) = shard.jobs.get_mut(&id) else { return };
            if let Err(error) = result {
                owned.refusing = None;
                let _ = reply.send(Err(error));
                return shard.changed(id);
            }
            record::tell(&record);
            owned.entry.tell(|| Event::Change(Box::new(record)));
            shard.forget(id, &gone);
            let _ = reply.send(Ok(()));
        });
    }
}
