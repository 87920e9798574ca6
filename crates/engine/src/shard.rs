//! The task that owns jobs: the only writer of their values. Many jobs a shard, one shard a job.
//!
//! A command changes the job's value at once, and what must survive goes to the commit pipeline. If the answer has to
//! wait for that, the shard goes on with other commands and comes back to it. The changes of one job (attempts, orders,
//! its end) are made one after another; telemetry goes on meanwhile.

mod attempts;
pub mod changes;
mod ending;
mod leaving;
mod reports;

use std::{
    collections::{HashMap, VecDeque},
    panic::AssertUnwindSafe,
    sync::Arc,
    time::Duration,
};

use futures::{FutureExt as _, StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use tokio::sync::{mpsc, oneshot};
use tracing::Span;

use super::{
    api::{AttemptInfo, Change, Error, Event, JobView, Order, Settings},
    cell::{Beginning, Cell, Ends, Missing},
    commit::{Committed, Joint, Pipeline, outcome},
    directory::Directory,
    entry::Entry,
    job::Job,
    lineage::Standing,
    moment::Moment,
    recover::{Loaded, Running},
    tenure::Tenure,
    ticket::Ticket,
    timeline::Timeline,
};
use lrs_model::{
    decision::Decision,
    job::{AttemptRow, JobRow, State, Timestamp},
    name::JobId,
    telemetry::{Report, Sample},
};
use lrs_runtime::clock::{Clock, Steady};
use lrs_store::{StateRow, Store, Write};

/// Where an answer goes. It is dropped if the caller has gone.
pub type Reply<T> = oneshot::Sender<Result<T, Error>>;

/// What a shard is asked.
pub enum Command {
    /// Own this job from now on. The sender is told when the job's entry is complete.
    Adopt(Arc<Entry>, Box<Loaded>, oneshot::Sender<()>),
    /// Take a rank's report.
    Report {
        /// The job.
        id: JobId,
        /// The attempt reported for.
        attempt: u32,
        /// The reporting rank.
        rank: u32,
        /// What it reports.
        report: Report,
        /// Its place in the pipeline.
        permit: super::commit::Permit,
        /// Told when it is in the pipeline.
        reply: Reply<Accepted>,
    },
    /// Begin an attempt.
    Start {
        /// The job.
        id: JobId,
        /// The attempt's token.
        token: String,
        /// Its first step.
        resume_step: u64,
        /// How many ranks report, if the trainer says so.
        ranks: Option<u32>,
        /// The caller's.
        ticket: Ticket,
        /// Told when it is durable.
        reply: Reply<AttemptInfo>,
    },
    /// A person's order.
    Change {
        /// The job.
        id: JobId,
        /// What.
        change: Change,
        /// By whom and why.
        order: Order,
        /// The caller's.
        ticket: Ticket,
        /// Where the writes go, if they are to be committed together with those of other jobs.
        joint: Option<Joint>,
        /// Told when it is durable.
        reply: Reply<(JobView, Option<Decision>)>,
    },
    /// End the job.
    Complete {
        /// The job.
        id: JobId,
        /// How.
        outcome: State,
        /// By whom and why.
        order: Order,
        /// The caller's.
        ticket: Ticket,
        /// Told when it is durable.
        reply: Reply<JobView>,
    },
    /// Remove the job.
    Delete {
        /// The job.
        id: JobId,
        /// Must match, if given.
        etag: Option<String>,
        /// Even if it has not ended.
        force: bool,
        /// By whom and why.
        order: Order,
        /// The caller's.
        ticket: Ticket,
        /// Told when it is durable.
        reply: Reply<()>,
    },
    /// Reserve steps up to `end`: readers come near the end of the reserved block, or past it.
    Renew {
        /// The job.
        id: JobId,
        /// The attempt.
        attempt: u32,
        /// The end wanted.
        end: u64,
    },
    /// Store what is known of this job and let it leave memory, if nobody uses it and nothing is under way. The sender
    /// is dropped when that is over.
    Leave(Arc<Entry>, oneshot::Sender<()>),
    /// Do this on behalf of a call: what it leads to is logged in the span of the call.
    For(Span, Box<Self>),
    /// Give out nothing more, hand over what is left to write.
    Shutdown(oneshot::Sender<()>),
}

/// A report that is in the pipeline.
#[derive(Debug)]
pub struct Accepted {
    /// Told when it is durable.
    pub committed: Committed,
    /// The rank's `through_step`.
    pub through_step: Option<u64>,
    /// Samples that said nothing new.
    pub repeated: u64,
    /// Samples that contradicted what was known.
    pub conflicting: u64,
    /// The lowest step of those.
    pub conflict_step: Option<u64>,
    /// Samples of closed steps, to be compared with what is stored.
    pub closed: Vec<Sample>,
}

/// What every shard works with.
#[derive(Clone)]
pub struct Context {
    /// The bounds.
    pub settings: Arc<Settings>,
    /// Where jobs survive.
    pub store: Arc<dyn Store>,
    /// The way there.
    pub pipeline: Pipeline,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Whether this process owns the database.
    pub tenure: Arc<Tenure>,
    /// The time, whoever sets the clock.
    pub steady: Steady,
    /// Where readers find jobs that are in memory.
    pub directory: Arc<Directory>,
    /// Attempts with many small chunks, to be merged: job, attempt, chunks below this `seq`.
    pub merges: mpsc::Sender<(JobId, u32, u64)>,
}

/// A shard.
pub struct Shard {
    context: Context,
    jobs: HashMap<JobId, Owned>,
    /// What to do when a commit or a read is done.
    later: FuturesUnordered<BoxFuture<'static, Continuation>>,
    closing: bool,
}

type Continuation = Box<dyn FnOnce(&mut Shard) + Send>;

/// A job and everything its owner knows of it.
struct Owned {
    entry: Arc<Entry>,
    attempts: Vec<AttemptRow>,
    people: Vec<(Decision, Option<String>)>,
    timeline: Timeline,
    attempt: Option<Attempt>,
    /// A change is on its way to the store; the next ones wait.
    changing: bool,
    waiting: VecDeque<Command>,
    /// Why reports are refused, while an attempt begins or the job ends.
    refusing: Option<Error>,
}

/// The newest attempt.
struct Attempt {
    heart: Job,
    cell: Arc<Cell>,
    next_seq: u64,
    /// Steps below this may have been given out by a process before this one.
    unknown_end: u64,
    reserved_end: u64,
    /// A longer block is on its way to the store.
    reserving: u64,
    records_since_snapshot: u64,
    chunks_since_merge: u64,
    /// How much time had passed when it was last looked which ranks others wait for.
    looked_at: Duration,
}

/// Changes that may wait for the one before.
const MAX_WAITING: usize = 64;
/// Commands taken at once.
const MAX_COMMANDS: usize = 256;

impl Shard {
    /// A shard without jobs.
    #[must_use]
    pub fn new(context: Context) -> Self {
        Self { context, jobs: HashMap::new(), later: FuturesUnordered::new(), closing: false }
    }

    /// Serves commands until every sender is gone and nothing is under way.
    ///
    /// A panic would leave values half changed, so it ends the process; the next one begins from the store.
    pub async fn run(self, commands: mpsc::Receiver<Command>) {
        if AssertUnwindSafe(self.serve_all(commands)).catch_unwind().await.is_err() {
            tracing::error!("A shard panicked, so the process ends: this is a bug in lrs");
            std::process::abort();
        }
    }

    async fn serve_all(mut self, mut commands: mpsc::Receiver<Command>) {
        let mut batch = Vec::with_capacity(MAX_COMMANDS);
        let mut open = true;
        loop {
            tokio::select! {
                // In a fixed order, so that a simulation of the same seed is the same run. What was waited for comes
                // first: there is a bounded number of it.
                biased;
                Some(continuation) = self.later.next() => continuation(&mut self),
                taken = commands.recv_many(&mut batch, MAX_COMMANDS), if open => {
                    open = taken > 0;
                    for command in batch.drain(..) {
                        self.serve(command);
                    }
                }
                else => return,
            }
        }
    }

    fn serve(&mut self, command: Command) {
        match command {
            // The reply is dropped: nothing is served any more.
            Command::Adopt(..) if self.closing => {}
            Command::Adopt(entry, loaded, done) => {
                self.adopt(entry, *loaded);
                let _ = done.send(());
            }
            Command::Leave(entry, done) => self.leave(entry, done),
            Command::Report { id, attempt, rank, report, permit, reply } => {
                let accepted = self.report(id, attempt, rank, report, permit);
                let _ = reply.send(accepted);
            }
            Command::Renew { id, attempt, end } => self.renew(id, attempt, end),
            Command::For(span, command) => span.in_scope(|| self.serve(*command)),
            Command::Shutdown(done) => self.shut_down(done),
            Command::Start { id, .. }
            | Command::Change { id, .. }
            | Command::Complete { id, .. }
            | Command::Delete { id, .. } => {
                self.serve_change(id, command);
            }
        }
    }

    /// One change of a job after another.
    fn serve_change(&mut self, id: JobId, command: Command) {
        if self.closing {
            return command.refuse(self.context.why_closed());
        }
        if command.is_withdrawn() {
            return;
        }
        let Some(owned) = self.jobs.get_mut(&id) else {
            return command.refuse(Error::JobNotFound(id.to_string()));
        };
        if let Err(damage) = owned.entry.check_sound() {
            return command.refuse(damage);
        }
        if owned.changing {
            // The callers of some may have gone meanwhile.
            owned.waiting.retain(|command| !command.is_withdrawn());
            if owned.waiting.len() >= MAX_WAITING {
                return command
                    .refuse(Error::Overloaded { what: "the queue of changes of this job", limit: MAX_WAITING });
            }
            owned.waiting.push_back(Command::For(Span::current(), Box::new(command)));
            return;
        }
        match command {
            Command::Start { token, resume_step, ranks, ticket, reply, .. } => {
                self.start_attempt(id, token, resume_step, ranks, ticket, reply);
            }
            Command::Change { change, order, ticket, joint, reply, .. } => {
                self.change(id, change, order, ticket, joint, reply);
            }
            Command::Complete { outcome, order, ticket, reply, .. } => {
                self.complete(id, outcome, order, ticket, reply);
            }
            Command::Delete { etag, force, order, ticket, reply, .. } => {
                self.delete(id, etag.as_deref(), force, &order, ticket, reply);
            }
            _ => {}
        }
    }

    /// The change under way is over: on with those that waited.
    fn changed(&mut self, id: JobId) {
        if let Some(owned) = self.jobs.get_mut(&id) {
            owned.changing = false;
        }
        while let Some(owned) = self.jobs.get_mut(&id).filter(|owned| !owned.changing) {
            let Some(command) = owned.waiting.pop_front() else { return };
            self.serve(command);
        }
    }

    /// Drops a job that is gone and tells everyone who waits for it `why`.
    fn forget(&mut self, id: JobId, why: &Error) {
        if let Some(owned) = self.jobs.remove(&id) {
            self.context.directory.remove(&owned.entry);
            self.context.directory.count_change_outside();
            owned.entry.tell_no_more();
            if let Some(cell) = owned.entry.cell_full() {
                cell.close(why.clone());
            }
            for command in owned.waiting {
                command.refuse(why.clone());
            }
        }
    }

    /// Calls `then` when `committed` has an answer.
    fn after_commit(&mut self, committed: Committed, then: impl FnOnce(&mut Self, Result<(), Error>) + Send + 'static) {
        let span = Span::current();
        self.later.push(Box::pin(async move {
            let result = outcome(committed).await.map(drop);
            Box::new(move |shard: &mut Self| span.in_scope(|| then(shard, result))) as Continuation
        }));
    }

    fn adopt(&mut self, entry: Arc<Entry>, loaded: Loaded) {
        let Loaded { row, attempts, people, timeline, mut running, active_time } = loaded;
        let unrecorded = running.as_mut().map(|running| std::mem::take(&mut running.unrecorded)).unwrap_or_default();
        let mut owned = Owned {
            entry,
            attempts,
            people,
            timeline,
            attempt: None,
            changing: false,
            waiting: VecDeque::new(),
            refusing: None,
        };
        let id = row.id;
        if let Some(running) = running
            && let Some(newest) = owned.attempts.last().cloned()
        {
            // What the process before gave out lies below the end of the block; more is not known.
            owned.begin(&self.context, &newest, running, newest.reserved_end);
            owned.entry.cell().iter().for_each(|cell| cell.was_heard(active_time));
        }
        let writes = owned.decided(&self.context, unrecorded);
        self.context.pipeline.submit_own(writes, &owned.entry);
        self.jobs.insert(id, owned);
    }

    fn shut_down(&mut self, done: oneshot::Sender<()>) {
        self.closing = true;
        let why = self.context.why_closed();
        // In order, so that the same happens in every run.
        let mut jobs: Vec<(&JobId, &mut Owned)> = self.jobs.iter_mut().collect();
        jobs.sort_unstable_by_key(|(id, _)| **id);
        for (id, owned) in jobs {
            let Some(attempt) = &mut owned.attempt else { continue };
            attempt.cell.close(why.clone());
            let writes = owned.last_writes(*id);
            owned.entry.tell_no_more();
            self.context.pipeline.submit_own(writes, &owned.entry);
        }
        let _ = done.send(());
    }
}

impl Command {
    /// Whether its caller has got an error, or gone.
    fn is_withdrawn(&self) -> bool {
        match self {
            Self::Start { ticket, .. }
            | Self::Change { ticket, .. }
            | Self::Complete { ticket, .. }
            | Self::Delete { ticket, .. } => ticket.is_withdrawn(),
            Self::For(_, command) => command.is_withdrawn(),
            Self::Adopt(..) | Self::Report { .. } | Self::Renew { .. } | Self::Leave(..) | Self::Shutdown(_) => false,
        }
    }

    fn refuse(self, why: Error) {
        // Whoever asked may have gone.
        match self {
            Self::Report { reply, .. } => drop(reply.send(Err(why))),
            Self::Start { reply, .. } => drop(reply.send(Err(why))),
            Self::Change { reply, .. } => drop(reply.send(Err(why))),
            Self::Complete { reply, .. } => drop(reply.send(Err(why))),
            Self::Delete { reply, .. } => drop(reply.send(Err(why))),
            Self::For(_, command) => command.refuse(why),
            Self::Adopt(..) | Self::Renew { .. } | Self::Leave(..) | Self::Shutdown(_) => {}
        }
    }
}

impl Owned {
    /// Runs the newest attempt from now on.
    fn begin(&mut self, context: &Context, row: &AttemptRow, running: Running, unknown_end: u64) {
        let Running { heart, next_seq, unsaved, .. } = running;
        let beginning = Beginning { resume_step: row.resume_step, ranks: heart.ranks(), unknown_end };
        let cell = Cell::new(row.attempt, beginning, heart.timeline().clone(), context.tenure.clone());
        let cell = Arc::new(cell);
        let standing = Standing::new(&self.attempts, row.attempt);
        let ordered = self.people.iter().filter_map(|(decision, _)| standing.effective_step(decision)).max();
        cell.publish_order(ordered.unwrap_or(0));
        cell.note_complete(&*context.clock);
        let attempt = Attempt {
            heart,
            cell: cell.clone(),
            next_seq,
            unknown_end,
            reserved_end: row.reserved_end,
            reserving: row.reserved_end,
            records_since_snapshot: unsaved,
            chunks_since_merge: 0,
            looked_at: Duration::ZERO,
        };
        attempt.publish();
        self.attempt = Some(attempt);
        self.entry.set_attempt(row.attempt, cell);
    }

    /// Shows readers how far the rates are known and final.
    fn publish(&self) {
        if let Some(attempt) = &self.attempt {
            attempt.publish();
        }
    }

    fn view(&self, context: &Context) -> JobView {
        self.entry.view(context.moment())
    }

    fn tell_job(&self, context: &Context) {
        self.entry.tell(|| Event::Job(Box::new(self.view(context))));
    }

    /// The row with another state or spec.
    fn next_row(&self, now: Timestamp, edit: impl FnOnce(&mut JobRow)) -> JobRow {
        let mut row = JobRow::clone(&self.entry.row());
        row.version += 1;
        row.update_time = now;
        edit(&mut row);
        row
    }
}

impl Attempt {
    /// Shows readers how far the rates are known and final.
    fn publish(&self) {
        self.cell.publish_progress(self.heart.complete_end(), self.heart.latest());
        self.cell.publish_statuses(self.heart.statuses());
        let reserved_end = self.reserved_end;
        self.cell.publish_ends(Ends { final_end: self.heart.determined_end().min(reserved_end), reserved_end });
    }

    /// Shows readers which ranks others wait for; looks at most once a second, since there may be many ranks.
    fn publish_missing(&mut self, clock: &dyn Clock) {
        const LISTED: usize = 4;
        let passed = clock.monotonic();
        if passed.saturating_sub(self.looked_at) < Duration::from_secs(1) && !self.looked_at.is_zero() {
            return;
        }
        self.looked_at = passed;
        let (ranks, count) = self.heart.missing_ranks(LISTED);
        self.cell.publish_missing((count > 0).then_some(Missing { ranks, count }));
    }

    fn save_state(&mut self, id: JobId) -> Option<Write> {
        let snapshot = self.heart.saved()?;
        self.records_since_snapshot = 0;
        let state = serde_json::to_string(&snapshot).ok()?;
        Some(Write::SaveState(id, StateRow { attempt: self.heart.attempt(), next_seq: self.next_seq, state }))
    }
}

impl Context {
    /// Why no more is taken: the process ends, or another one owns the database now.
    #[must_use]
    pub fn why_closed(&self) -> Error {
        if self.tenure.over().is_some() { Error::Deposed } else { Error::ShuttingDown }
    }

    /// This moment, for saying how long jobs have been idle.
    #[must_use]
    pub fn moment(&self) -> Moment {
        let Settings { stale_after, abandon_after, .. } = *self.settings;
        Moment::now(&*self.clock, &self.steady, stale_after, abandon_after)
    }
}
