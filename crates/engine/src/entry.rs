//! What everyone sees of a job in memory: its row, its attempt's cell, its events.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use arc_swap::{ArcSwap, ArcSwapOption};
use tokio::sync::broadcast;
use tracing::error;

use super::{
    api::{Error, Event, JobView, Progress},
    cell::{Cell, whole_micros},
    job::Brief,
    moment::Moment,
    room::Room,
    trail::Trail,
    uses::Uses,
};
use lrs_model::{
    decision::Decision,
    job::{Idle, JobRow, Timestamp},
    name::{JobId, JobName},
};
use lrs_runtime::clock::Clock;

/// A job's public side. Its shard writes it, everyone reads it.
#[derive(Debug)]
pub struct Entry {
    /// The job's identity.
    pub id: JobId,
    /// The job's name.
    pub name: JobName,
    /// Where its reports wait for the database.
    pub room: Room,
    /// Who uses it.
    pub uses: Uses,
    /// When the job was last active, as far as that is stored or on its way to the store; microseconds.
    marked: AtomicI64,
    row: ArcSwap<JobRow>,
    attempt: AtomicU32,
    cell: ArcSwapOption<Cell>,
    damaged: OnceLock<String>,
    events: ArcSwapOption<broadcast::Sender<Event>>,
    /// There while someone looks at all jobs.
    trail: ArcSwapOption<Trail>,
    /// How often something was decided, since the process started.
    decided: AtomicU64,
    /// How much time had passed when somebody last changed the job, in microseconds; 0 if not in this process.
    touched: AtomicU64,
}

/// Changes with whatever is shown of a job.
#[derive(Clone, Debug, PartialEq)]
pub struct Pulse {
    id: JobId,
    version: u64,
    attempt: u32,
    idle: Idle,
    is_removed: bool,
    complete_end: u64,
    given_end: u64,
    is_rank_missing: bool,
    decided: u64,
}

impl Pulse {
    /// Of a job that is not in memory.
    #[must_use]
    pub fn of_stored(row: &JobRow, idle: Idle) -> Self {
        Self {
            id: row.id,
            version: row.version,
            attempt: 0,
            idle,
            is_removed: row.telemetry_removed_time.is_some(),
            complete_end: 0,
            given_end: 0,
            is_rank_missing: false,
            decided: 0,
        }
    }

    /// How long the job has been idle.
    #[must_use]
    pub fn idle(&self) -> Idle {
        self.idle
    }

    /// How many steps the job's complete telemetry is behind the steps given out.
    #[must_use]
    pub fn lag_steps(&self) -> u64 {
        self.given_end.saturating_sub(self.complete_end)
    }

    /// Whether both pulses are of the same job, rather than of two jobs that had the same name.
    #[must_use]
    pub fn is_same_job(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Entry {
    /// The entry of a job whose newest attempt is `attempt`, and which was last active at `active_time`.
    #[must_use]
    pub fn new(row: JobRow, attempt: u32, active_time: Timestamp) -> Self {
        Self {
            id: row.id,
            name: row.name.clone(),
            room: Room::default(),
            uses: Uses::default(),
            marked: AtomicI64::new(active_time.0),
            row: ArcSwap::from_pointee(row),
            attempt: AtomicU32::new(attempt),
            cell: ArcSwapOption::empty(),
            damaged: OnceLock::new(),
            events: ArcSwapOption::empty(),
            trail: ArcSwapOption::empty(),
            decided: AtomicU64::new(0),
            touched: AtomicU64::new(0),
        }
    }

    /// The row as it is now.
    #[must_use]
    pub fn row(&self) -> Arc<JobRow> {
        self.row.load_full()
    }

    /// The newest attempt; 0 before the first.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.attempt.load(SeqCst)
    }

    /// The cell of the newest attempt, if the attempt runs in this process.
    pub fn cell(&self) -> arc_swap::Guard<Option<Arc<Cell>>> {
        self.cell.load()
    }

    /// The cell of the newest attempt, to keep.
    #[must_use]
    pub fn cell_full(&self) -> Option<Arc<Cell>> {
        self.cell.load_full()
    }

    /// For the shard: another row.
    pub fn set_row(&self, row: JobRow) {
        self.row.store(Arc::new(row));
    }

    /// For the shard: another attempt.
    pub fn set_attempt(&self, attempt: u32, cell: Arc<Cell>) {
        self.attempt.store(attempt, SeqCst);
        self.cell.store(Some(cell));
    }

    /// Takes the job out of service, because of `problem` with what is stored of it.
    pub fn damage(&self, problem: String) {
        error!(job.name = %self.name, problem, "{} is out of service: {problem}", self.name);
        let _ = self.damaged.set(problem);
        if let (Some(cell), Err(why)) = (self.cell_full(), self.check_sound()) {
            cell.close(why);
        }
        self.tell_no_more();
    }

    /// # Errors
    /// If the job is out of service.
    pub fn check_sound(&self) -> Result<(), Error> {
        self.damaged
            .get()
            .map_or(Ok(()), |problem| Err(Error::JobDamaged { job: self.name.to_string(), problem: problem.clone() }))
    }

    /// When the job was last active: its trainer called or reported, or somebody changed it.
    #[must_use]
    pub fn active_time(&self) -> Timestamp {
        let heard = self.cell().as_ref().and_then(|cell| cell.heard());
        heard.unwrap_or_default().max(self.row.load().update_time).max(Timestamp(self.marked.load(SeqCst)))
    }

    /// The time of the last activity, if it is later by more than `microseconds` than the time that is stored. It
    /// counts as stored from now on.
    #[must_use]
    pub fn mark_active(&self, microseconds: i64) -> Option<Timestamp> {
        let heard = self.cell().as_ref().and_then(|cell| cell.heard())?;
        let marked = self.marked.load(SeqCst);
        let is_later = heard.0.saturating_sub(marked) > microseconds;
        is_later.then(|| {
            self.marked.store(heard.0, SeqCst);
            heard
        })
    }

    /// Notes that somebody changed the job.
    pub fn touch(&self, clock: &dyn Clock) {
        self.touched.store(whole_micros(clock.monotonic()), SeqCst);
        self.marked.fetch_max(clock.now().0, SeqCst);
    }

    /// How long the job has been idle. What happened in this process is judged by the time that has passed since.
    fn idle(&self, moment: Moment) -> Idle {
        let heard = self.cell().as_ref().map(|cell| cell.heard_passed()).unwrap_or_default();
        let active = heard.max(Duration::from_micros(self.touched.load(SeqCst)));
        if active.is_zero() { moment.before().idle(self.active_time()) } else { moment.idle_after(active) }
    }

    /// The job as it is now.
    #[must_use]
    pub fn view(&self, moment: Moment) -> JobView {
        let row = self.row();
        let progress = self.cell().as_ref().map(|cell| {
            let given_end = cell.given_end();
            let complete_end = cell.complete_end();
            let named = (0..).map(|place| lrs_control::name(&row.spec, place));
            let [repeated_samples, conflicting_samples, late_samples] = cell.counts();
            Progress {
                complete_end,
                watermark_step: complete_end.checked_sub(1).filter(|_| complete_end > cell.resume_step),
                final_step: given_end.checked_sub(1).filter(|_| given_end > cell.resume_step),
                latest: cell.latest(),
                rates: cell.timeline().directive_at(cell.position()).rates,
                report_time: cell.heard(),
                repeated_samples,
                conflicting_samples,
                late_samples,
                controllers: named.zip(cell.statuses().iter().cloned()).collect(),
                pace: cell.pace(),
                order_step: cell.order_step(),
                missing_ranks: cell.missing_in_words(moment.passed()),
            }
        });
        JobView::new(row, self.attempt(), progress, self.active_time(), self.idle(moment))
    }

    /// The job's pulse. As long as it is the same, [`Entry::view`] shows the same.
    #[must_use]
    pub fn pulse(&self, moment: Moment) -> Pulse {
        let row = self.row.load();
        let cell = self.cell.load();
        let cell = cell.as_ref();
        Pulse {
            id: self.id,
            version: row.version,
            attempt: self.attempt(),
            idle: self.idle(moment),
            is_removed: false,
            complete_end: cell.map_or(0, |cell| cell.complete_end()),
            given_end: cell.map_or(0, |cell| cell.given_end()),
            is_rank_missing: cell.is_some_and(|cell| cell.is_rank_missing(moment.passed())),
            decided: self.decided.load(SeqCst),
        }
    }

    /// The last steps, if someone looks.
    pub fn trail(&self) -> arc_swap::Guard<Option<Arc<Trail>>> {
        self.trail.load()
    }

    /// For whoever looks at all jobs: keeps the last steps in `trail` from now on, or nowhere.
    pub fn set_trail(&self, trail: Option<Arc<Trail>>) {
        self.trail.store(trail);
    }

    /// For the shard: adds records of an attempt, and the last decision on them, that are on their way to the store.
    pub fn add_to_trail(&self, attempt: u32, records: &[Brief], decision: Option<Decision>) {
        if decision.is_some() {
            self.decided.fetch_add(1, SeqCst);
        }
        if let Some(trail) = &*self.trail.load() {
            trail.add(attempt, records, decision);
        }
    }

    /// For the shard: drops the trail, which does not know of something that was decided or recorded.
    pub fn break_trail(&self) {
        self.decided.fetch_add(1, SeqCst);
        self.trail.store(None);
    }

    /// Events from now on.
    #[must_use]
    pub fn subscribe(&self, lag: usize) -> broadcast::Receiver<Event> {
        let events = self.events.rcu(|events| match events {
            Some(events) => events.clone(),
            None => Arc::new(broadcast::Sender::new(lag)),
        });
        match events.as_ref().or(self.events.load().as_ref()) {
            Some(events) => events.subscribe(),
            // The job has ended since the caller found it.
            None => broadcast::Sender::new(1).subscribe(),
        }
    }

    /// Tells the watchers, if there are any.
    pub fn tell(&self, event: impl FnOnce() -> Event) {
        if let Some(events) = &*self.events.load()
            && events.receiver_count() > 0
        {
            let _ = events.send(event());
        }
    }

    /// Lets the watchers go: nothing more will happen.
    pub fn tell_no_more(&self) {
        self.events.store(None);
    }
}
