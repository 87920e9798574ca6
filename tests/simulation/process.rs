//! The servers' processes: engines that die and start again, are replaced and begin anew, stand still, and lose their
//! database.

use std::{
    cell::Cell,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};

use lrs::{app::retention, config::Retention};
use lrs_engine::Engine;
use lrs_store::{Error, Write};
use tokio::{
    sync::{Notify, watch},
    time::Instant,
};

use crate::ownership::Claim;
use crate::store::{SimStore, land};
use crate::{
    planted::Plant,
    world::{LongTime, World, lock},
};

/// One life of a process.
pub struct Process {
    /// Rises with each life of any process.
    pub id: u64,
    dead: AtomicBool,
    died: Notify,
    /// Asked to stop; calls are refused.
    leaving: AtomicBool,
    /// A commit that has left the process but has not arrived.
    on_its_way: Mutex<Option<Vec<Write>>>,
    /// The last commit that landed but was reported as failed.
    landed: Mutex<Vec<Write>>,
    /// For a planted bug: late commits take turns, so that they stay in order.
    pub turns: tokio::sync::Mutex<()>,
    /// Stands still: nothing that it does reaches anyone, and nothing reaches it.
    frozen: AtomicBool,
    /// Wakes those who wait in the order in which they came, which a `watch` does not.
    thaws: Notify,
    /// Does not reach the database.
    pub cut_off: AtomicBool,
    /// What it knows of its ownership of the database; `None` before it has opened the database.
    pub claim: Mutex<Option<Claim>>,
    /// When the newest proof of its ownership was begun.
    proven: Mutex<Option<Instant>>,
}

impl Process {
    fn new(id: u64) -> Arc<Self> {
        Arc::new(Self {
            id,
            dead: AtomicBool::new(false),
            died: Notify::new(),
            leaving: AtomicBool::new(false),
            on_its_way: Mutex::default(),
            landed: Mutex::default(),
            turns: tokio::sync::Mutex::default(),
            frozen: AtomicBool::new(false),
            thaws: Notify::new(),
            cut_off: AtomicBool::new(false),
            claim: Mutex::default(),
            proven: Mutex::default(),
        })
    }

    pub fn is_alive(&self) -> bool {
        !self.dead.load(SeqCst)
    }

    pub fn is_leaving(&self) -> bool {
        self.leaving.load(SeqCst)
    }

    /// Completes when the process is dead.
    pub async fn dead(&self) {
        let died = self.died.notified();
        if self.is_alive() {
            died.await;
        }
    }

    /// Lets the process stand still, or go on.
    pub fn freeze(&self, frozen: bool) {
        self.frozen.store(frozen, SeqCst);
        self.thaws.notify_waiters();
    }

    /// Completes when the process does not stand still.
    pub async fn thawed(&self) {
        loop {
            let thaws = self.thaws.notified();
            if !self.frozen.load(SeqCst) {
                return;
            }
            thaws.await;
        }
    }

    pub fn send(&self, batch: &[Write]) {
        *lock(&self.on_its_way) = Some(batch.to_vec());
    }

    /// Notes a commit that landed without the process knowing.
    pub fn know(&self, batch: &[Write]) {
        *lock(&self.landed) = batch.to_vec();
    }

    pub fn is_known(&self, batch: &[Write]) -> bool {
        *lock(&self.landed) == batch
    }

    /// The commit arrives, unless its session was cut on the way.
    pub fn arrive(&self) -> bool {
        lock(&self.on_its_way).take().is_some()
    }

    /// Notes that a look at the ownership, or a commit, has succeeded.
    pub fn prove(&self, begun: Instant) {
        let mut proven = lock(&self.proven);
        *proven = (*proven).max(Some(begun));
    }

    /// Whether the process may call anything final now.
    pub fn is_within(&self, lease: Duration) -> bool {
        lock(&self.proven).is_some_and(|begun| begun.elapsed() < lease)
    }

    /// Cuts the session that owns the database, if the process has it. A commit on its way may or may not land.
    pub fn cut_session(&self, world: &Arc<World>) {
        if world.durable().ownership.lock != Some(self.id) {
            return;
        }
        let batch = lock(&self.on_its_way).take();
        if let Some(batch) = batch {
            if let Some(claim) = &mut *lock(&self.claim) {
                claim.be_uncertain();
            }
            if world.below(2) == 0 {
                world.log(|| "the commit on its way lands all the same".to_owned());
                let _ = land(world, self, &batch, false);
            }
        }
        world.durable().ownership.lock = None;
    }

    /// Kills the process: nothing that it does reaches anyone from now on. A commit on its way may or may not land.
    pub fn die(&self, world: &Arc<World>) {
        if self.dead.swap(true, SeqCst) {
            return;
        }
        self.died.notify_waiters();
        self.cut_session(world);
        if world.plant == Some(Plant::LoseLastCommit) {
            world.unflushed.lose(world);
        }
    }
}

/// The server at an address, if one is running there.
type Seat = watch::Sender<Option<(Engine, Arc<Process>)>>;

/// The addresses of the servers.
pub struct Address {
    world: Arc<World>,
    seats: Vec<Seat>,
}

/// There is no server, or it went away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut;

impl Address {
    pub fn new(world: Arc<World>) -> Arc<Self> {
        let seats = (0..world.profile.servers).map(|_| watch::Sender::new(None)).collect();
        Arc::new(Self { world, seats })
    }

    /// How many servers there may be.
    pub fn seats(&self) -> usize {
        self.seats.len()
    }

    /// The server at `seat`, or else the next that runs.
    pub fn server(&self, seat: &Cell<usize>) -> Result<(Engine, Arc<Process>), Cut> {
        for _ in 0..self.seats() {
            if let Some(found) = self.at(seat.get()) {
                return Ok(found);
            }
            self.move_on(seat);
        }
        Err(Cut)
    }

    /// Turns to another server.
    pub fn move_on(&self, seat: &Cell<usize>) {
        seat.set((seat.get() + 1) % self.seats());
    }

    fn at(&self, seat: usize) -> Option<(Engine, Arc<Process>)> {
        self.seats[seat].borrow().clone().filter(|(_, process)| process.is_alive())
    }

    /// The processes that serve.
    pub fn processes(&self) -> Vec<Arc<Process>> {
        (0..self.seats()).filter_map(|seat| Some(self.at(seat)?.1)).collect()
    }

    /// Completes when one server runs that owns the database, has read all jobs and does not stand still; the other one
    /// waits for it.
    pub async fn recovered(&self) {
        loop {
            let owner = self.world.durable().ownership.lock;
            let serving: Vec<_> = (0..self.seats()).filter_map(|seat| self.at(seat)).collect();
            if let [(engine, process)] = &serving[..]
                && Some(process.id) == owner
                && !process.leaving.load(SeqCst)
                && !process.frozen.load(SeqCst)
            {
                let recovered = tokio::select! {
                    biased;
                    () = process.dead() => false,
                    recovered = engine.recovered() => recovered.is_ok(),
                };
                if recovered && engine.ready().is_ok() && self.processes().len() == 1 {
                    return;
                }
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Starts the process at `seat` again whenever it has ended, and kills it now and then.
    pub async fn supervise(self: Arc<Self>, seat: usize) {
        let world = &self.world;
        loop {
            let process = Process::new(world.next_process());
            let store = loop {
                match SimStore::open(world, &process) {
                    Ok(store) => break Arc::new(store),
                    Err(Error::Taken { .. }) => tokio::time::sleep(Duration::from_millis(20 + world.below(100))).await,
                    Err(other) => panic!("{other}"),
                }
            };
            let engine = Engine::start(world.settings.clone(), store.clone(), world.clock.clone());
            let terms = Retention { default: world.profile.kept_for, ..Retention::default() };
            let removal = tokio::spawn(retention::keep(store, Arc::new(LongTime(world.clock.clone())), terms));
            world.log(|| format!("server {seat} starts as process {}", process.id));
            self.seats[seat].send_replace(Some((engine.clone(), process.clone())));
            tokio::select! {
                biased;
                () = process.dead() => {}
                why = engine.deposed() => {
                    world.log(|| format!("process {} begins anew: {why}", process.id));
                    process.leaving.store(true, SeqCst);
                    let _ = tokio::time::timeout(Duration::from_secs(20), engine.shutdown()).await;
                    process.die(world);
                }
                () = self.time_to_die() => self.end(&engine, &process).await,
            }
            self.seats[seat].send_replace(None);
            removal.abort();
            drop(engine);
            tokio::time::sleep(Duration::from_millis(world.below(200))).await;
        }
    }

    async fn time_to_die(&self) {
        let world = &self.world;
        match world.profile.crash_every {
            Some(every) if !world.is_calm() => {
                let micros = u64::try_from(every.as_micros()).unwrap_or(u64::MAX);
                tokio::time::sleep(Duration::from_micros(world.below(2 * micros))).await;
                if world.is_calm() {
                    std::future::pending::<()>().await;
                }
            }
            _ => std::future::pending().await,
        }
    }

    async fn end(&self, engine: &Engine, process: &Arc<Process>) {
        let world = &self.world;
        if world.chance(world.profile.graceful) {
            world.log(|| "the server is asked to stop".to_owned());
            process.leaving.store(true, SeqCst);
            let _ = tokio::time::timeout(Duration::from_secs(20), engine.shutdown()).await;
        }
        world.log(|| "the server dies".to_owned());
        process.die(world);
    }

    /// Kills the running processes.
    pub fn kill(&self) {
        for process in self.processes() {
            self.world.log(|| "the server is killed".to_owned());
            process.die(&self.world);
        }
    }

    /// Freezes processes, cuts their sessions, and cuts them off from the database, until the run is calm.
    pub async fn trouble(self: Arc<Self>) {
        let world = &self.world;
        let profile = &world.profile;
        loop {
            tokio::time::sleep(Duration::from_millis(world.below(3000))).await;
            if world.is_calm() {
                return;
            }
            let processes = self.processes();
            if processes.is_empty() {
                continue;
            }
            let process = world.pick(&processes);
            if world.chance(profile.session_cuts) {
                world.log(|| format!("the session of process {} is cut", process.id));
                process.cut_session(world);
            } else if world.chance(profile.freezes) {
                let time = Duration::from_millis(world.below(9000));
                world.log(|| format!("process {} stands still for {time:?}", process.id));
                process.freeze(true);
                let (delay, is_replaced) = (Duration::from_millis(world.below(2000)), world.below(2) == 0);
                let (world, process) = (world.clone(), process.clone());
                tokio::task::spawn_local(async move {
                    tokio::time::sleep(delay.min(time)).await;
                    if is_replaced {
                        process.cut_session(&world);
                    }
                    tokio::time::sleep(time.saturating_sub(delay)).await;
                    world.log(|| format!("process {} goes on", process.id));
                    process.freeze(false);
                });
            } else if world.chance(profile.cut_offs) {
                let time = Duration::from_millis(world.below(9000));
                world.log(|| format!("process {} does not reach the database for {time:?}", process.id));
                process.cut_off.store(true, SeqCst);
                process.cut_session(world);
                tokio::task::spawn_local(async move {
                    tokio::time::sleep(time).await;
                    process.cut_off.store(false, SeqCst);
                });
            } else if world.chance(profile.lost_tails) {
                world.lose_tail(&processes);
            }
        }
    }
}
