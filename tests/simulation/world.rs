//! Everything that the parts of a run share: the seed's random numbers, the durable data, the checker, the log, and the
//! end.

use std::{
    collections::HashSet,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use lrs_engine::Settings;
use lrs_model::{
    decision::{Author, Decision},
    job::Timestamp,
    name::JobName,
};
use lrs_runtime::clock::Clock;
use lrs_store::{DecisionRow, Write};
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use tokio::{sync::watch, time::Instant};

use crate::{
    durable::Durable,
    planted::{Plant, Unflushed},
    process::Process,
    promises::{Checked, History, Stored, Violation},
};

/// The faults of a run and how often they happen. They are drawn from the seed, so that some runs are calmer than
/// others.
#[derive(Clone, Debug)]
pub struct Profile {
    /// A commit fails, or succeeds and is reported as failed.
    pub commit_fails: f64,
    /// A commit or read first takes very long.
    pub hangs: f64,
    /// A commit is refused for good.
    pub refuses: f64,
    pub read_fails: f64,
    /// The process dies at a point of the commit pipeline.
    pub crash_at_commit: f64,
    /// The mean time between two deaths at other moments.
    pub crash_every: Option<Duration>,
    /// The share of those deaths that are orderly.
    pub graceful: f64,
    /// A request or its answer is lost.
    pub lost: f64,
    pub duplicated: f64,
    /// A stream is given up, and messages under way on it may arrive late.
    pub cut: f64,
    /// The longest delay of a message.
    pub delay_ms: u64,
    /// A reader is slow.
    pub slow: f64,
    /// A trainer goes on with a rate that is not final.
    pub impatient: f64,
    pub rewinds: f64,
    pub orders: u32,
    /// How long the telemetry of ended jobs is kept.
    pub kept_for: Option<Duration>,
    /// A removal of telemetry fails.
    pub removal_fails: f64,
    /// Servers on the same data; one owns it, the other one waits.
    pub servers: usize,
    /// The owner's session is cut.
    pub session_cuts: f64,
    /// A process stands still for a while.
    pub freezes: f64,
    /// A process does not reach the database for a while.
    pub cut_offs: f64,
    /// The data goes back to an earlier state.
    pub lost_tails: f64,
}

impl Profile {
    fn draw(random: &mut ChaCha8Rng) -> Self {
        let mut sometimes = |chance: f64, most: f64| {
            let (is_on, share) = (random.random_bool(chance), random.random::<f64>());
            if is_on { most * share } else { 0.0 }
        };
        let commit_fails = sometimes(0.5, 0.3);
        let hangs = sometimes(0.3, 0.03);
        let refuses = sometimes(0.1, 0.05);
        let read_fails = sometimes(0.4, 0.3);
        let crash_at_commit = sometimes(0.5, 0.06);
        let crashes = sometimes(0.5, 1.0);
        let lost = sometimes(0.5, 0.1);
        let duplicated = sometimes(0.5, 0.2);
        let cut = sometimes(0.5, 0.15);
        let slow = sometimes(0.4, 0.2);
        let impatient = sometimes(0.3, 0.5);
        let rewinds = sometimes(0.6, 0.06);
        let graceful = sometimes(0.5, 1.0);
        let crash_every = (crashes > 0.0).then(|| Duration::from_secs_f64(0.05 + 2.0 * (1.0 - crashes)));
        let delay_ms = [0, 3, 20, 100][random.random_range(0..4)];
        let orders = random.random_range(0..14);
        let is_kept_for_ever = random.random_bool(0.6);
        let kept_for = [5, 60, 200][random.random_range(0..3)];
        let kept_for = (!is_kept_for_ever).then(|| Duration::from_secs(kept_for));
        let removal_fails = 0.3 * random.random::<f64>();
        let servers = random.random_range(1..=2);
        let mut sometimes = |chance: f64| if random.random_bool(chance) { 0.5 } else { 0.0 };
        let (session_cuts, freezes, cut_offs, lost_tails) =
            (sometimes(0.4), sometimes(0.4), sometimes(0.4), sometimes(0.2));
        Self {
            commit_fails,
            hangs,
            refuses,
            read_fails,
            crash_at_commit,
            crash_every,
            graceful,
            lost,
            duplicated,
            cut,
            delay_ms,
            slow,
            impatient,
            rewinds,
            orders,
            kept_for,
            removal_fails,
            servers,
            session_cuts,
            freezes,
            cut_offs,
            lost_tails,
        }
    }
}

/// A clock that jumps, also backwards.
#[derive(Debug)]
pub struct JumpingClock {
    now: AtomicI64,
    latest: AtomicI64,
    begun: Instant,
    /// All that has moved the clock forward.
    passed: AtomicI64,
}

impl JumpingClock {
    fn at(now: i64) -> Self {
        Self { now: AtomicI64::new(now), latest: AtomicI64::new(now), begun: Instant::now(), passed: AtomicI64::new(0) }
    }

    pub fn jump(&self, micros: i64) {
        let now = self.now.fetch_add(micros, SeqCst) + micros;
        self.latest.fetch_max(now, SeqCst);
        self.passed.fetch_add(micros.max(0), SeqCst);
    }

    /// The latest time that the clock has shown.
    pub fn latest(&self) -> Timestamp {
        Timestamp(self.latest.load(SeqCst))
    }
}

impl Clock for JumpingClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.now.load(SeqCst).max(1))
    }

    fn monotonic(&self) -> Duration {
        self.begun.elapsed()
    }
}

/// The clock of retention, whose terms are longer than a run: for it, whatever moves the clock forward is time that
/// passes.
pub struct LongTime(pub Arc<JumpingClock>);

impl Clock for LongTime {
    fn now(&self) -> Timestamp {
        self.0.now()
    }

    fn monotonic(&self) -> Duration {
        self.0.monotonic() + Duration::from_micros(self.0.passed.load(SeqCst).unsigned_abs())
    }
}

/// How long faults go on. After that, everything must finish.
const FAULTS: Duration = Duration::from_secs(12);

/// The shared state of a run.
pub struct World {
    pub profile: Profile,
    pub settings: Settings,
    pub clock: Arc<JumpingClock>,
    pub plant: Option<Plant>,
    pub unflushed: Unflushed,
    /// How long an owner may call steps final without a proof.
    pub lease: Duration,
    /// The data before each of the last commits, as far as they held telemetry alone and what follows from it.
    tail: Mutex<Vec<Durable>>,
    /// How many ranks have trained to the end, and hold nothing any more.
    pub done: AtomicUsize,
    processes: AtomicU64,
    /// For a planted bug: the last advice to stop that anybody gave.
    pub advised: Mutex<Option<Arc<str>>>,
    /// Orders that were given up after the server had said that nothing was changed: they must never be stored.
    given_up: Mutex<HashSet<String>>,
    dice: Mutex<ChaCha8Rng>,
    durable: Mutex<Durable>,
    history: Mutex<History>,
    log: Mutex<Log>,
    broken: watch::Sender<Option<Violation>>,
    begun: Instant,
    calm: watch::Sender<bool>,
}

struct Log {
    hash: u64,
    /// The lines of the log, if somebody wants to read them.
    lines: Option<Vec<String>>,
}

impl World {
    /// Notes that an order was given up, and checks that it is not stored.
    pub fn give_up(&self, request_id: &str) {
        lock(&self.given_up).insert(request_id.to_owned());
        let durable = self.durable();
        let mut stored = durable.jobs().flat_map(|stored| &stored.decisions);
        let is_it = |row: &&DecisionRow| row.request_id.as_deref() == Some(request_id);
        if let Some(row) = stored.find(is_it) {
            self.fail(made(&row.decision, request_id));
        }
    }

    /// Checks that no order in this batch was given up.
    pub fn check_orders(&self, batch: &[Write]) {
        for write in batch {
            if let Write::RecordDecision(_, decision, Some(request_id)) = write
                && lock(&self.given_up).contains(request_id)
            {
                self.fail(made(decision, request_id));
            }
        }
    }

    /// The world of a seed. Call this inside the run's paused runtime.
    pub fn new(seed: u64, plant: Option<Plant>, keeps_log: bool) -> Arc<Self> {
        let mut dice = ChaCha8Rng::seed_from_u64(seed);
        let mut profile = Profile::draw(&mut dice);
        if plant == Some(Plant::IgnoreWithdrawal) {
            // Callers wait less long than the store hangs.
            profile.hangs = 0.1;
        }
        let lease = Duration::from_millis(dice.random_range(3000..9000));
        let settings = Settings {
            // Shorter than the store may hang.
            store_timeout: Duration::from_secs(5),
            // One shard, because identifiers are random, and with them a job's place among several shards.
            shards: 1,
            reserve_steps: dice.random_range(4..40),
            queue_items: dice.random_range(2..24),
            queue_values: 1000,
            batch_items: dice.random_range(1..9),
            // Computed from the seed without a draw, so that seeds that were recorded before there were pieces still
            // draw the same numbers.
            piece_values: [4, 6, 10, 20, 40, 400][usize::try_from(seed % 6).unwrap()],
            max_jobs: 16,
            max_loaded_jobs: 16,
            // Not drawn either. An order for a job that has to be read first waits for that, and not for its commit.
            idle_after: match plant {
                Some(Plant::IgnoreWithdrawal) => Duration::from_hours(1),
                _ => Duration::from_millis([10, 40, 200, 3000][usize::try_from(seed / 6 % 4).unwrap()]),
            },
            abandon_after: Duration::from_hours(1),
            max_open_steps: dice.random_range(12..64),
            max_person_decisions: dice.random_range(6..40),
            owner_lease: if plant == Some(Plant::IgnoreLease) { Duration::from_hours(1) } else { lease },
            stale_after: Duration::from_mins(1),
            merge_after_chunks: dice.random_range(2..12),
            snapshot_after_records: dice.random_range(1..24),
            watch_events: dice.random_range(1..8),
            max_report_jobs: 8,
            max_reports: 1,
        };
        Arc::new(Self {
            profile,
            settings,
            clock: Arc::new(JumpingClock::at(1_700_000_000_000_000)),
            given_up: Mutex::default(),
            plant,
            unflushed: Unflushed::default(),
            lease,
            tail: Mutex::default(),
            done: AtomicUsize::new(0),
            processes: AtomicU64::new(0),
            advised: Mutex::default(),
            dice: Mutex::new(dice),
            durable: Mutex::default(),
            history: Mutex::default(),
            log: Mutex::new(Log { hash: 0xcbf2_9ce4_8422_2325, lines: keeps_log.then(Vec::new) }),
            broken: watch::Sender::new(None),
            begun: Instant::now(),
            calm: watch::Sender::new(false),
        })
    }

    pub fn durable(&self) -> MutexGuard<'_, Durable> {
        lock(&self.durable)
    }

    /// The number of the next process.
    pub fn next_process(&self) -> u64 {
        self.processes.fetch_add(1, SeqCst) + 1
    }

    /// Notes the data before a commit that may be lost.
    pub fn note_tail(&self, before: &Durable, batch: &[Write]) {
        if self.profile.lost_tails == 0.0 {
            return;
        }
        let is_telemetry = |write: &Write| match write {
            Write::AppendTelemetry(..) | Write::SaveState(..) => true,
            Write::RecordDecision(_, decision, _) => matches!(decision.author, Author::Controller(_)),
            _ => false,
        };
        let mut tail = lock(&self.tail);
        if batch.iter().all(is_telemetry) {
            tail.push(before.clone());
        } else {
            // What people and trainers began is not lost: nobody would do it again.
            tail.clear();
        }
    }

    /// Nothing before this moment is lost.
    pub fn keep_tail(&self) {
        lock(&self.tail).clear();
    }

    /// Loses the last commits, as a failover to a standby does that has not received them. All sessions are cut.
    pub fn lose_tail(self: &Arc<Self>, processes: &[Arc<Process>]) {
        // A rank that is done would send nothing again.
        if self.done.load(SeqCst) > 0 {
            return;
        }
        for process in processes {
            process.cut_session(self);
        }
        let mut tail = lock(&self.tail);
        if tail.is_empty() {
            return;
        }
        let place = usize::try_from(self.below(tail.len() as u64)).unwrap();
        self.log(|| format!("the last {} commits are lost", tail.len() - place));
        let mut durable = self.durable();
        *durable = tail[place].clone();
        durable.ownership.lock = None;
        tail.truncate(place);
        let mut history = self.history();
        history.counts.lost_tails += 1;
        for stored in durable.jobs() {
            history.lose_tail(stored);
        }
    }

    pub fn history(&self) -> MutexGuard<'_, History> {
        lock(&self.history)
    }

    /// Draws whether something with this probability happens now. Nothing happens once the run is calm.
    pub fn chance(&self, probability: f64) -> bool {
        let roll: f64 = lock(&self.dice).random();
        roll < probability && !self.is_calm()
    }

    /// Draws a number below `end`; 0 if `end` is 0.
    pub fn below(&self, end: u64) -> u64 {
        if end == 0 { 0 } else { lock(&self.dice).random_range(0..end) }
    }

    /// Draws an element of `choices`.
    pub fn pick<T: Clone>(&self, choices: &[T]) -> T {
        choices[usize::try_from(self.below(choices.len() as u64)).unwrap()].clone()
    }

    /// Draws a number in `[-1, 1]`.
    pub fn noise(&self) -> f64 {
        lock(&self.dice).random_range(-1.0..=1.0)
    }

    /// Takes the time of a message or a disk, or lets another task run.
    pub async fn pause(&self) {
        match self.below(4) {
            0 => {}
            1 => tokio::task::yield_now().await,
            _ => tokio::time::sleep(Duration::from_millis(self.below(self.profile.delay_ms + 1))).await,
        }
    }

    pub fn is_calm(&self) -> bool {
        *self.calm.borrow() || self.begun.elapsed() > FAULTS
    }

    /// Ends all faults.
    pub fn calm_down(&self) {
        self.calm.send_replace(true);
    }

    /// Logs what happened, if somebody wants to read it. The hash of all lines is the run's fingerprint.
    pub fn log(&self, what: impl FnOnce() -> String) {
        let mut log = lock(&self.log);
        if log.lines.is_none() {
            return;
        }
        let line = format!("{:>8} {}", self.begun.elapsed().as_millis(), what());
        for byte in line.bytes() {
            log.hash = (log.hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        if let Some(lines) = &mut log.lines {
            lines.push(line);
        }
    }

    pub fn fingerprint(&self) -> u64 {
        lock(&self.log).hash
    }

    pub fn lines(&self) -> Vec<String> {
        lock(&self.log).lines.clone().unwrap_or_default()
    }

    /// Ends the run with a violation if a check failed.
    pub fn check(&self, checked: Checked) {
        if let Err(violation) = checked {
            self.fail(violation);
        }
    }

    pub fn fail(&self, violation: Violation) {
        self.log(|| format!("BROKEN {violation}"));
        self.broken.send_if_modified(|broken| {
            let is_first = broken.is_none();
            broken.get_or_insert(violation);
            is_first
        });
    }

    /// Runs a check with the history and the durable data of a job.
    pub fn check_job(&self, job: &JobName, check: impl FnOnce(&mut History, Option<&Stored>) -> Checked) {
        let durable = self.durable();
        let checked = check(&mut self.history(), durable.by_name(job));
        drop(durable);
        self.check(checked);
    }

    /// Waits for a violation.
    pub async fn broken(&self) -> Violation {
        let mut broken = self.broken.subscribe();
        let found = broken.wait_for(Option::is_some).await.map(|found| found.clone());
        found.ok().flatten().unwrap_or_else(|| unreachable!("the world outlives the wait"))
    }

    pub fn violation(&self) -> Option<Violation> {
        self.broken.borrow().clone()
    }
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World")
            .field("profile", &self.profile)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn made(decision: &Decision, request_id: &str) -> Violation {
    let what = format!("{}: order {request_id} was answered as not made, and is stored", decision.id);
    Violation { promise: 5, what }
}
