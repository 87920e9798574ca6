//! What readers see of a running attempt, without locks: its rates, and how far they are final.
//!
//! The owner (a shard) publishes the rates and the end of the final steps; readers raise the mark of the steps given
//! out. When a person decides, the owner *first* lowers the end and *then* reads the mark; a reader *first* raises the
//! mark and *then* checks the end. The operations are sequentially consistent, so one of the two sees the other: no
//! step at or past a decision's effective step is given out as final before the decision is known.

use std::{
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicI64, AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use super::{
    api::Error,
    meters,
    pace::{self, Follower, Pace, Seen},
    tenure::{Changed, Tenure},
    timeline::Timeline,
};
use arc_swap::{ArcSwap, ArcSwapOption};
use lrs_control as control;
use lrs_model::{job::Timestamp, telemetry::Sample};
use lrs_runtime::clock::Clock;

/// The published side of an attempt.
#[derive(Debug)]
pub struct Cell {
    /// The attempt.
    pub attempt: u32,
    /// Its first step.
    pub resume_step: u64,
    /// How many ranks report.
    pub ranks: u32,
    /// Steps below this may have been given out by a process before this one.
    unknown_end: u64,
    timeline: ArcSwap<Timeline>,
    /// Steps below this are final.
    final_end: AtomicU64,
    /// Steps below this may have been given out as final.
    given_end: AtomicU64,
    /// Steps below this are durably reserved.
    reserved_end: AtomicU64,
    /// Steps below this are complete.
    complete_end: AtomicU64,
    latest: ArcSwap<Option<Sample>>,
    statuses: ArcSwap<Vec<control::Status>>,
    /// When the trainer was last heard of, in microseconds; 0 is never. For people.
    heard: AtomicI64,
    /// The same in microseconds that have passed, by which it becomes stale.
    heard_passed: AtomicU64,
    follower: Mutex<Follower>,
    /// How long a step takes, in nanoseconds; `u64::MAX` is unknown.
    step_nanos: AtomicU64,
    /// How many steps after the one about to be trained may be given out, as far as the trainer's pace says.
    steps_ahead: AtomicU64,
    /// From this step on all of people's orders are in force.
    ordered_end: AtomicU64,
    missing: ArcSwapOption<Missing>,
    /// When a step became complete last, or the attempt began: how much time had passed, in microseconds.
    completed_passed: AtomicU64,
    /// Samples repeated, conflicting, late.
    counts: [AtomicU64; 3],
    over: OnceLock<Error>,
    changed: Arc<Changed>,
    tenure: Arc<Tenure>,
    /// When what the attempt began with had been read from the store.
    read: i64,
}

/// Where an attempt begins in this process.
#[derive(Clone, Copy, Debug)]
pub struct Beginning {
    /// Its first step.
    pub resume_step: u64,
    /// How many ranks report.
    pub ranks: u32,
    /// Steps below this may have been given out by a process before this one.
    pub unknown_end: u64,
}

/// Ranks that have not reported a step that others have.
#[derive(Debug)]
pub struct Missing {
    /// The first of them.
    pub ranks: Vec<u32>,
    /// How many there are.
    pub count: u32,
}

/// How far an attempt's steps are final, and how far they are reserved.
#[derive(Clone, Copy, Debug)]
pub struct Ends {
    /// Steps below this are final.
    pub final_end: u64,
    /// Steps below this are durably reserved.
    pub reserved_end: u64,
}

/// Waits for the changes that follow its creation.
#[derive(Debug)]
pub struct Changes {
    changed: Arc<Changed>,
    tenure: Arc<Tenure>,
    seen: u64,
}

impl Changes {
    fn of(changed: &Arc<Changed>, tenure: &Arc<Tenure>) -> Self {
        let (changed, tenure) = (changed.clone(), tenure.clone());
        let seen = changed.times() + tenure.regained.times();
        Self { changed, tenure, seen }
    }

    /// Waits until something has changed since the last call, or since the creation. Cancel safe.
    pub async fn next(&mut self) {
        loop {
            // From here on no change is missed.
            let (told, regained) = (self.changed.next(), self.tenure.regained.next());
            let times = self.changed.times() + self.tenure.regained.times();
            if times != self.seen {
                self.seen = times;
                return;
            }
            tokio::select! {
                biased;
                () = told => {}
                () = regained => {}
            }
        }
    }
}

impl Cell {
    /// A cell that gives out nothing yet.
    #[must_use]
    pub fn new(
        attempt: u32,
        Beginning { resume_step, ranks, unknown_end }: Beginning,
        timeline: Timeline,
        tenure: Arc<Tenure>,
    ) -> Self {
        Self {
            attempt,
            resume_step,
            ranks,
            unknown_end,
            timeline: ArcSwap::from_pointee(timeline),
            final_end: AtomicU64::new(0),
            given_end: AtomicU64::new(resume_step),
            reserved_end: AtomicU64::new(0),
            complete_end: AtomicU64::new(resume_step),
            latest: ArcSwap::from_pointee(None),
            statuses: ArcSwap::default(),
            heard: AtomicI64::new(0),
            heard_passed: AtomicU64::new(0),
            follower: Mutex::default(),
            step_nanos: AtomicU64::new(u64::MAX),
            steps_ahead: AtomicU64::new(1),
            ordered_end: AtomicU64::new(0),
            missing: ArcSwapOption::empty(),
            completed_passed: AtomicU64::new(0),
            counts: [const { AtomicU64::new(0) }; 3],
            over: OnceLock::new(),
            changed: Arc::default(),
            read: tenure.note_reading(),
            tenure,
        }
    }

    /// Whether anything may be called final now: this process owns the database, as far as it has proven.
    pub fn is_owned(&self) -> bool {
        self.tenure.holds(self.read)
    }

    /// Gives out the steps below `end` as far as they are final, and returns the end of those that are. Nothing is
    /// final while the ownership of the database is not proven.
    ///
    /// For steps below the answer, [`Cell::timeline`] read *afterwards* gives directives that never change.
    pub fn give_out(&self, end: u64) -> u64 {
        if !self.is_owned() {
            return 0;
        }
        loop {
            let given = self.final_end.load(SeqCst).min(end);
            self.given_end.fetch_max(given, SeqCst);
            if self.final_end.load(SeqCst) >= given {
                return given;
            }
            // The owner lowered the end in between. The mark stays, and the owner's decision takes effect beyond it.
        }
    }

    /// The rates.
    pub fn timeline(&self) -> arc_swap::Guard<Arc<Timeline>> {
        self.timeline.load()
    }

    /// The rates, to keep.
    #[must_use]
    pub fn timeline_full(&self) -> Arc<Timeline> {
        self.timeline.load_full()
    }

    /// Where the trainer is as far as is known: steps below this have been given out or reported.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.given_end().max(self.complete_end())
    }

    /// Whether a call that names no attempt may make `step` final. It may near the trainer only, so that a curious look
    /// far ahead does not put off people's decisions. While no trainer has named the attempt the caller may be it.
    #[must_use]
    pub fn is_near(&self, step: u64, commit_ahead: u64) -> bool {
        let near = self.step_time().map_or(commit_ahead, |_| self.ahead(commit_ahead));
        step < self.position().saturating_add(near).max(self.unknown_end)
    }

    /// How many steps after the one about to be trained may be given out as final: fewer where steps are slow.
    #[must_use]
    pub fn ahead(&self, commit_ahead: u64) -> u64 {
        self.steps_ahead.load(SeqCst).min(commit_ahead.max(1))
    }

    /// How many steps to reserve beyond those that are wanted.
    #[must_use]
    pub fn reserve(&self, block: u64) -> u64 {
        pace::reserve(self.step_time(), block)
    }

    fn step_time(&self) -> Option<Duration> {
        Some(self.step_nanos.load(SeqCst)).filter(|nanos| *nanos != u64::MAX).map(Duration::from_nanos)
    }

    /// Where the trainer was last, and how long its steps take; `None` before it was seen at two steps.
    #[must_use]
    pub fn pace(&self) -> Option<Pace> {
        self.follower.lock().unwrap_or_else(PoisonError::into_inner).pace()
    }

    /// The first step at which all of people's orders are in force, if the trainer is not known to have come there.
    #[must_use]
    pub fn order_step(&self) -> Option<u64> {
        let reached = self.pace().map_or(0, |pace| pace.step).max(self.complete_end());
        Some(self.ordered_end.load(SeqCst)).filter(|step| *step > reached)
    }

    /// For the owner: from `step` on all of people's orders are in force.
    pub fn publish_order(&self, step: u64) {
        self.ordered_end.fetch_max(step, SeqCst);
    }

    /// Steps below this may have been given out as final.
    #[must_use]
    pub fn given_end(&self) -> u64 {
        self.given_end.load(SeqCst)
    }

    /// Steps below this are complete.
    #[must_use]
    pub fn complete_end(&self) -> u64 {
        self.complete_end.load(SeqCst)
    }

    /// Steps below this are durably reserved.
    #[must_use]
    pub fn reserved_end(&self) -> u64 {
        self.reserved_end.load(SeqCst)
    }

    /// The latest complete record.
    #[must_use]
    pub fn latest(&self) -> Option<Sample> {
        Option::clone(&self.latest.load())
    }

    /// The status of each controller, in the order of the spec.
    #[must_use]
    pub fn statuses(&self) -> Arc<Vec<control::Status>> {
        self.statuses.load_full()
    }

    /// When the trainer last called or reported.
    #[must_use]
    pub fn heard(&self) -> Option<Timestamp> {
        Some(Timestamp(self.heard.load(SeqCst))).filter(|time| time.0 != 0)
    }

    /// Notes that the trainer asked for `step`.
    pub fn hear_call(&self, clock: &dyn Clock, step: u64) {
        self.hear(clock);
        self.follow(clock, step, Follower::called);
    }

    /// Notes that the trainer reported, the steps below `complete_end` as complete.
    pub fn hear_report(&self, clock: &dyn Clock, complete_end: u64) {
        self.hear(clock);
        self.follow(clock, complete_end, Follower::reported);
    }

    fn follow(&self, clock: &dyn Clock, step: u64, saw: fn(&mut Follower, Seen)) {
        // Whoever holds it is noting another rank's call of about now.
        let Ok(mut follower) = self.follower.try_lock() else { return };
        saw(&mut follower, Seen { step, passed: clock.monotonic(), time: clock.now() });
        let Some(pace) = follower.pace() else { return };
        let nanos = u64::try_from(pace.step_time.as_nanos()).unwrap_or(u64::MAX);
        self.step_nanos.store(nanos.min(u64::MAX - 1), SeqCst);
        self.steps_ahead.store(pace.ahead(), SeqCst);
    }

    /// Notes that the trainer called or reported.
    pub fn hear(&self, clock: &dyn Clock) {
        self.heard.store(clock.now().0, SeqCst);
        self.heard_passed.store(whole_micros(clock.monotonic()), SeqCst);
    }

    /// Notes when the process before heard of the trainer.
    pub fn was_heard(&self, time: Timestamp) {
        self.heard.store(time.0, SeqCst);
    }

    /// How much time had passed when the trainer last called or reported; 0 if it has not in this process.
    #[must_use]
    pub fn heard_passed(&self) -> Duration {
        Duration::from_micros(self.heard_passed.load(SeqCst))
    }

    /// Counts samples that were refused: repeated, conflicting, late.
    pub fn count(&self, repeated: u64, conflicting: u64, late: u64) {
        meters::refused([repeated, conflicting, late]);
        for (count, more) in self.counts.iter().zip([repeated, conflicting, late]) {
            if more > 0 {
                count.fetch_add(more, SeqCst);
            }
        }
    }

    /// Samples refused so far: repeated, conflicting, late.
    #[must_use]
    pub fn counts(&self) -> [u64; 3] {
        std::array::from_fn(|i| self.counts[i].load(SeqCst))
    }

    /// Changes: more steps are final or complete, the attempt is over, or the ownership is proven again.
    #[must_use]
    pub fn changes(&self) -> Changes {
        Changes::of(&self.changed, &self.tenure)
    }

    /// Whether the attempt goes on.
    ///
    /// # Errors
    /// When the attempt is over, the job has ended or the server is shutting down.
    pub fn check_open(&self) -> Result<(), Error> {
        self.over.get().map_or(Ok(()), |error| Err(error.clone()))
    }

    /// For the owner: how far steps are final and reserved from now on.
    pub fn publish_ends(&self, Ends { final_end, reserved_end }: Ends) {
        self.reserved_end.store(reserved_end, SeqCst);
        if self.final_end.swap(final_end, SeqCst) < final_end {
            self.changed.tell();
        }
    }

    /// For the owner: another timeline, with the same rates for every step that is final.
    pub fn publish_timeline(&self, timeline: &Timeline) {
        self.timeline.store(Arc::new(timeline.clone()));
    }

    /// For the owner: how far the telemetry has come.
    pub fn publish_progress(&self, complete_end: u64, latest: Option<&Sample>) {
        if let Some(latest) = latest {
            self.latest.store(Arc::new(Some(latest.clone())));
        }
        if self.complete_end.swap(complete_end, SeqCst) < complete_end {
            self.changed.tell();
        }
    }

    /// For the owner: the ranks that others wait for.
    pub fn publish_missing(&self, missing: Option<Missing>) {
        if missing.is_some() || self.missing.load().is_some() {
            self.missing.store(missing.map(Arc::new));
        }
    }

    /// Notes that a step has just become complete, or that the attempt begins.
    pub fn note_complete(&self, clock: &dyn Clock) {
        self.completed_passed.store(whole_micros(clock.monotonic()), SeqCst);
    }

    /// Whether others have waited for a rank for longer than ranks may differ, when `passed` has passed.
    #[must_use]
    pub fn is_rank_missing(&self, passed: Duration) -> bool {
        if self.missing.load().is_none() {
            return false;
        }
        let waited = passed.saturating_sub(Duration::from_micros(self.completed_passed.load(SeqCst)));
        waited >= PATIENCE.max(self.step_time().unwrap_or_default().saturating_mul(3))
    }

    /// The ranks without which no further step is complete, in words, when `passed` has passed; empty if no rank is
    /// missing.
    #[must_use]
    pub fn missing_in_words(&self, passed: Duration) -> String {
        let Some(missing) = self.missing.load_full().filter(|_| self.is_rank_missing(passed)) else {
            return String::new();
        };
        let Missing { ranks, count } = &*missing;
        let named: Vec<String> = ranks.iter().map(ToString::to_string).collect();
        let more = if (*count as usize) > ranks.len() { " and others" } else { "" };
        let (word, have) = if *count == 1 { ("rank", "has") } else { ("ranks", "have") };
        let (all, step) = (self.ranks, self.complete_end());
        format!(
            "{word} {}{more} of {all} {have} not reported step {step}, so no step from {step} on is complete; if fewer \
             ranks train now, start an attempt that says so (reporting_ranks)",
            named.join(", ")
        )
    }

    /// For the owner: the status of each controller.
    pub fn publish_statuses(&self, statuses: Vec<control::Status>) {
        if **self.statuses.load() != statuses {
            self.statuses.store(Arc::new(statuses));
        }
    }

    /// For the owner: gives out no further step until [`Cell::publish_ends`]. Returns the end of the steps that may
    /// have been given out.
    pub fn freeze(&self) -> u64 {
        // Steps below the mark were given out already and stay final. A reader that is raising the mark now sees the
        // end stored here.
        self.final_end.store(self.given_end().min(self.final_end.load(SeqCst)), SeqCst);
        self.given_end()
    }

    /// For the owner: the attempt is over, because of `why`.
    pub fn close(&self, why: Error) {
        let _ = self.over.set(why);
        self.final_end.store(0, SeqCst);
        self.changed.tell();
    }
}

/// For so long, and for three steps, ranks may wait for another one before it is called missing.
const PATIENCE: Duration = Duration::from_secs(5);

/// Whole microseconds.
pub fn whole_micros(passed: Duration) -> u64 {
    u64::try_from(passed.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::{thread, time::Duration};

    use super::*;
    use lrs_model::spec::{Group, Spec};
    use lrs_runtime::clock::ManualClock;

    fn cell() -> Cell {
        owned_by(Tenure::new(Arc::new(ManualClock::default()), Duration::ZERO, true))
    }

    fn owned_by(tenure: Tenure) -> Cell {
        let group = Group {
            name: "default".to_owned(),
            base_lr: 1.0,
            base_momentum: None,
            base_weight_decay: None,
            schedule: None,
        };
        let spec = Spec { groups: vec![group], ..Spec::default() };
        let timeline = Timeline::try_new(&spec, []).unwrap();
        Cell::new(1, Beginning { resume_step: 0, ranks: 1, unknown_end: 0 }, timeline, Arc::new(tenure))
    }

    fn ends(final_end: u64, reserved_end: u64) -> Ends {
        Ends { final_end, reserved_end }
    }

    #[test]
    fn no_more_is_given_out_than_is_final() {
        let cell = cell();
        assert_eq!(cell.give_out(10), 0);
        cell.publish_ends(ends(6, 1024));
        assert_eq!(cell.give_out(10), 6);
        assert_eq!(cell.give_out(3), 3);
        assert_eq!(cell.given_end(), 6);
    }

    #[test]
    fn what_was_given_out_stays_final_while_a_decision_is_on_its_way() {
        let cell = cell();
        cell.publish_ends(ends(100, 1024));
        cell.give_out(40);
        assert_eq!(cell.freeze(), 40);
        assert_eq!(cell.give_out(40), 40);
        assert_eq!(cell.give_out(41), 40);
    }

    #[test]
    fn a_closed_cell_gives_out_nothing_and_says_why() {
        let cell = cell();
        cell.publish_ends(ends(100, 1024));
        cell.close(Error::ShuttingDown);
        assert_eq!(cell.give_out(1), 0);
        assert!(matches!(cell.check_open(), Err(Error::ShuttingDown)));
    }

    #[tokio::test]
    async fn without_proof_of_the_ownership_nothing_is_final_and_a_proof_wakes_those_who_wait() {
        let clock = Arc::new(ManualClock::default());
        let lease = Duration::from_secs(10);
        let cell = owned_by(Tenure::new(clock.clone(), lease, false));
        cell.publish_ends(ends(100, 1024));
        assert_eq!((cell.give_out(10), cell.given_end()), (0, 0), "no proof yet");
        let mut changes = cell.changes();
        let waiting = async {
            changes.next().await;
            cell.give_out(10)
        };
        let proving = async { cell.tenure.prove(cell.tenure.begin()) };
        assert_eq!(tokio::join!(waiting, proving).0, 10);
        clock.advance(lease);
        assert_eq!(cell.give_out(10), 0, "what was final before is not called so again");
    }

    /// The law that overrides rest on: whatever a reader was given as final lies below the step that the owner chooses
    /// then.
    #[test]
    fn no_reader_is_given_a_step_that_a_decision_then_changes() {
        const ROUNDS: usize = 2_000;
        let cell = cell();
        let round = AtomicU64::new(0);
        let read_round = || usize::try_from(round.load(SeqCst)).unwrap();
        let mut chosen = Vec::new();
        thread::scope(|scope| {
            let readers: Vec<_> = (0..2)
                .map(|_| {
                    scope.spawn(|| {
                        let mut gifts = Vec::new();
                        while read_round() < ROUNDS {
                            let end = cell.give_out(cell.given_end() + 3);
                            // Read after the gift: it was made before the steps of the next round were opened.
                            gifts.push((read_round(), end));
                        }
                        gifts
                    })
                })
                .collect();
            for _ in 0..ROUNDS {
                cell.publish_ends(ends(u64::MAX, u64::MAX));
                let effective_step = cell.freeze();
                cell.publish_ends(ends(effective_step, u64::MAX));
                // On its way to the store; then everyone may see it.
                chosen.push(effective_step);
                round.fetch_add(1, SeqCst);
            }
            for reader in readers {
                for (round, end) in reader.join().unwrap() {
                    let effective_step = chosen.get(round).copied().unwrap_or(u64::MAX);
                    assert!(end <= effective_step, "given up to {end}, then decided from {effective_step} on");
                }
            }
        });
    }
}
