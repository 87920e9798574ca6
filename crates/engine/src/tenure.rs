//! How long this process may call something final: as long as it has proven lately that it owns the database.
//!
//! Another process may take the database over at any moment. A proof is a commit, or a look at the ownership, that
//! succeeded; it counts from the moment *before* it was begun, on the monotonic clock, and for the length of the lease.
//! A database that nobody can take over needs no lease. What was read from the database is only to be trusted once a
//! proof that was begun after the reading has succeeded: until then another owner may have written what was read.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use tokio::sync::{Notify, futures::Notified, watch};

use lrs_runtime::clock::Clock;

/// A moment of the monotonic clock, in nanoseconds.
type Moment = i64;

/// The ownership is over.
const OVER: Moment = Moment::MIN;
/// Nothing has been proven yet.
const NEVER: Moment = Moment::MIN + 1;
/// Nobody can take the database over, so that nothing needs to be proven.
const FOR_EVER: Moment = Moment::MAX;

/// A proof that is under way.
#[derive(Clone, Copy, Debug)]
pub struct Proof {
    begun: Moment,
    number: u64,
}

/// What was asked at some moment, see [`Tenure::proven_since`].
#[derive(Clone, Copy, Debug)]
pub struct Question(u64);

/// The ownership, as far as it is proven.
pub struct Tenure {
    clock: Arc<dyn Clock>,
    lease: i64,
    /// When the newest proof was begun.
    proven: AtomicI64,
    /// When the newest reading was done that must be followed by a proof.
    read: AtomicI64,
    over: watch::Sender<Option<String>>,
    /// How many proofs were begun.
    begun: AtomicU64,
    /// The number of the newest proof that has succeeded.
    succeeded: AtomicU64,
    proofs: Changed,
    wanted: Notify,
    /// Changes when something may be called final again.
    pub(super) regained: Changed,
}

/// How often something changed, and who waits for the next change. Unlike a `watch` channel it wakes those who wait in
/// the order in which they came, so that a simulation of the same seed is the same run.
#[derive(Debug, Default)]
pub(super) struct Changed {
    times: AtomicU64,
    waiting: Notify,
}

impl Changed {
    /// Wakes those who wait.
    pub(super) fn tell(&self) {
        self.times.fetch_add(1, SeqCst);
        self.waiting.notify_waiters();
    }

    /// How often there was a change.
    pub(super) fn times(&self) -> u64 {
        self.times.load(SeqCst)
    }

    /// Completes at the next change after this call.
    pub(super) fn next(&self) -> Notified<'_> {
        self.waiting.notified()
    }
}

impl std::fmt::Debug for Tenure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tenure").field("proven", &self.proven).field("read", &self.read).finish_non_exhaustive()
    }
}

impl Tenure {
    /// An ownership that is not proven yet; or that needs no proofs, if nobody can take the database over.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, lease: Duration, is_exclusive: bool) -> Self {
        Self {
            clock,
            lease: nanos(lease),
            proven: AtomicI64::new(if is_exclusive { FOR_EVER } else { NEVER }),
            read: AtomicI64::new(NEVER),
            over: watch::Sender::new(None),
            begun: AtomicU64::new(0),
            succeeded: AtomicU64::new(if is_exclusive { u64::MAX } else { 0 }),
            proofs: Changed::default(),
            wanted: Notify::new(),
            regained: Changed::default(),
        }
    }

    fn now(&self) -> Moment {
        nanos(self.clock.monotonic())
    }

    /// Begins a proof; [`Tenure::prove`] is told if it succeeds.
    #[must_use]
    pub fn begin(&self) -> Proof {
        Proof { begun: self.now(), number: self.begun.fetch_add(1, SeqCst) + 1 }
    }

    /// What is answered from now on is to be vouched for.
    #[must_use]
    pub fn ask(&self) -> Question {
        Question(self.begun.load(SeqCst))
    }

    /// Waits for a proof that was begun after something was asked, and asks for one: whoever has the database now, this
    /// process had it when it was asked. Returns false if the ownership is over. Cancel safe.
    pub async fn proven_since(&self, asked: Question) -> bool {
        loop {
            let told = self.proofs.next();
            // What was true then stays so, and a change that was committed was made.
            if self.succeeded.load(SeqCst) > asked.0 {
                return true;
            }
            if self.proven.load(SeqCst) == OVER {
                return false;
            }
            self.wanted.notify_one();
            told.await;
        }
    }

    /// Completes when somebody waits for a proof.
    pub async fn wanted(&self) {
        self.wanted.notified().await;
    }

    /// The moment now, when something has been read from the database. Asks for the proof that makes it trusted, so that
    /// whoever asks for a job that was not in memory waits for that and not for the next look at the ownership.
    #[must_use]
    pub fn note_reading(&self) -> Moment {
        let now = self.now();
        self.read.fetch_max(now, SeqCst);
        if !self.holds(now) {
            self.wanted.notify_one();
        }
        now
    }

    /// Whether what was read at `read` may be called final now.
    #[must_use]
    pub fn holds(&self, read: Moment) -> bool {
        let proven = self.proven.load(SeqCst);
        proven == FOR_EVER || (proven >= read && self.now().saturating_sub(proven) < self.lease)
    }

    /// Notes a proof that has succeeded.
    pub fn prove(&self, Proof { begun, number }: Proof) {
        self.succeeded.fetch_max(number, SeqCst);
        self.proofs.tell();
        let newer = |known: Moment| (known != OVER && known < begun).then_some(begun);
        let Ok(known) = self.proven.fetch_update(SeqCst, SeqCst, newer) else { return };
        let had_lapsed = self.now().saturating_sub(known) >= self.lease;
        if known == NEVER || had_lapsed || known < self.read.load(SeqCst) {
            self.regained.tell();
        }
    }

    /// Ends it for good: from here on nothing is final.
    pub fn end(&self, why: &str) {
        self.proven.store(OVER, SeqCst);
        self.over.send_if_modified(|known| {
            let is_first = known.is_none();
            known.get_or_insert_with(|| why.to_owned());
            is_first
        });
        self.regained.tell();
        self.proofs.tell();
    }

    /// Why it is over, if it is.
    #[must_use]
    pub fn over(&self) -> Option<String> {
        self.over.borrow().clone()
    }

    /// Completes when it is over, with the reason.
    pub async fn ended(&self) -> String {
        let mut over = self.over.subscribe();
        let ended = over.wait_for(Option::is_some).await.map(|why| why.clone().unwrap_or_default());
        match ended {
            Ok(why) => why,
            // The sender is in `self`.
            Err(_) => std::future::pending().await,
        }
    }
}

fn nanos(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;
    use lrs_model::job::Timestamp;
    use lrs_runtime::clock::ManualClock;

    use super::*;

    const LEASE: Duration = Duration::from_secs(10);

    fn tenure() -> (Arc<ManualClock>, Tenure) {
        let clock = Arc::new(ManualClock::at(Timestamp(1)));
        (clock.clone(), Tenure::new(clock, LEASE, false))
    }

    #[test]
    fn a_proof_holds_for_the_lease_from_before_it_was_begun() {
        let (clock, tenure) = tenure();
        let read = tenure.note_reading();
        assert!(!tenure.holds(read), "nothing is proven yet");
        let begun = tenure.begin();
        clock.advance(Duration::from_secs(4));
        tenure.prove(begun);
        assert!(tenure.holds(read));
        clock.advance(Duration::from_millis(5999));
        assert!(tenure.holds(read));
        clock.advance(Duration::from_millis(1));
        assert!(!tenure.holds(read), "the answer was four seconds late");
        tenure.prove(begun);
        assert!(!tenure.holds(read), "an old proof proves nothing now");
        tenure.prove(tenure.begin());
        assert!(tenure.holds(read));
    }

    #[test]
    fn what_was_read_after_the_proof_was_begun_waits_for_the_next_one() {
        let (clock, tenure) = tenure();
        let (early, begun) = (tenure.note_reading(), tenure.begin());
        clock.advance(Duration::from_millis(1));
        let read = tenure.note_reading();
        assert!(tenure.wanted().now_or_never().is_some(), "it asks for a proof");
        tenure.prove(begun);
        assert!(tenure.holds(early) && !tenure.holds(read));
        let seen = tenure.regained.times();
        tenure.prove(tenure.begin());
        assert!(tenure.holds(read) && tenure.regained.times() > seen, "those who wait are woken");
        let seen = tenure.regained.times();
        clock.advance(Duration::from_secs(1));
        tenure.prove(tenure.begin());
        assert_eq!(tenure.regained.times(), seen, "nobody is woken for nothing");
    }

    #[test]
    fn a_jump_of_the_wall_clock_changes_nothing() {
        let (clock, tenure) = tenure();
        tenure.prove(tenure.begin());
        for time in [Timestamp(i64::MAX / 2), Timestamp(0)] {
            clock.set(time);
            assert!(tenure.holds(0));
        }
    }

    #[tokio::test]
    async fn an_answer_is_vouched_for_by_a_proof_that_was_begun_after_it_was_asked_for() {
        let (_, tenure) = tenure();
        let early = tenure.begin();
        let asked = tenure.ask();
        let late = tenure.begin();
        let waiting = tenure.proven_since(asked);
        tokio::pin!(waiting);
        tenure.prove(early);
        assert!((&mut waiting).now_or_never().is_none());
        assert!(tenure.wanted().now_or_never().is_some(), "it asks for a proof");
        tenure.prove(late);
        assert!(waiting.await);
        assert!(tenure.proven_since(asked).await, "at once");
        let waiting = tenure.proven_since(tenure.ask());
        tenure.end("another came");
        assert!(!waiting.await);
        assert!(tenure.proven_since(asked).await, "it was the owner then");
    }

    #[tokio::test]
    async fn an_ownership_that_is_over_stays_over() {
        let (_, tenure) = tenure();
        tenure.prove(tenure.begin());
        tenure.end("another came");
        tenure.prove(tenure.begin());
        tenure.end("a second reason");
        assert!(!tenure.holds(0));
        assert_eq!(tenure.ended().await, "another came");
    }

    #[test]
    fn a_database_that_nobody_can_take_over_needs_no_proof_but_can_be_lost() {
        let clock = Arc::new(ManualClock::at(Timestamp(1)));
        let tenure = Tenure::new(clock.clone(), LEASE, true);
        clock.advance(LEASE * 2);
        assert!(tenure.holds(tenure.note_reading()));
        assert!(tenure.wanted().now_or_never().is_none(), "nothing is to be proven");
        assert!(tenure.proven_since(tenure.ask()).now_or_never() == Some(true));
        tenure.end("the file was replaced");
        assert!(!tenure.holds(0));
    }
}
