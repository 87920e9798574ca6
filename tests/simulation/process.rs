//! The server's process: an engine that dies and starts again.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};

use lrs::{app::retention, config::Retention};
use lrs_engine::Engine;
use lrs_store::Write;
use tokio::sync::{Notify, watch};

use crate::store::{SimStore, apply};
use crate::{
    planted::Plant,
    world::{World, lock},
};

/// One life of the process.
pub struct Process {
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
}

impl Process {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            dead: AtomicBool::new(false),
            died: Notify::new(),
            leaving: AtomicBool::new(false),
            on_its_way: Mutex::default(),
            landed: Mutex::default(),
            turns: tokio::sync::Mutex::default(),
        })
    }

    pub fn is_alive(&self) -> bool {
        !self.dead.load(SeqCst)
    }

    /// Completes when the process is dead.
    pub async fn dead(&self) {
        let died = self.died.notified();
        if self.is_alive() {
            died.await;
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

    pub fn arrive(&self) {
        lock(&self.on_its_way).take();
    }

    /// Kills the process: nothing that it does reaches anyone from now on. A commit on its way may or may not land.
    pub fn die(&self, world: &Arc<World>) {
        if self.dead.swap(true, SeqCst) {
            return;
        }
        self.died.notify_waiters();
        let on_its_way = lock(&self.on_its_way).take();
        if let Some(batch) = on_its_way
            && world.below(2) == 0
        {
            world.log(|| "the commit on its way lands all the same".to_owned());
            let _ = apply(world, &batch);
        }
        if world.plant == Some(Plant::LoseLastCommit) {
            world.unflushed.lose(world);
        }
    }
}

/// The address of the server, which may not be running.
pub struct Address {
    world: Arc<World>,
    server: watch::Sender<Option<(Engine, Arc<Process>)>>,
}

/// There is no server, or it went away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut;

impl Address {
    pub fn new(world: Arc<World>) -> Arc<Self> {
        Arc::new(Self { world, server: watch::Sender::new(None) })
    }

    /// The running server.
    pub fn server(&self) -> Result<(Engine, Arc<Process>), Cut> {
        self.server.borrow().clone().filter(|(_, process)| process.is_alive()).ok_or(Cut)
    }

    /// Completes when a server runs that has read all jobs.
    pub async fn recovered(&self) {
        loop {
            if let Ok((engine, process)) = self.server()
                && !process.leaving.load(SeqCst)
            {
                let recovered = tokio::select! {
                    biased;
                    () = process.dead() => false,
                    recovered = engine.recovered() => recovered.is_ok(),
                };
                if recovered {
                    return;
                }
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Starts the process again whenever it has died, and kills it now and then.
    pub async fn supervise(self: Arc<Self>) {
        let world = &self.world;
        loop {
            let process = Process::new();
            let store = Arc::new(SimStore { world: world.clone(), process: process.clone() });
            let engine = Engine::start(world.settings.clone(), store.clone(), world.clock.clone());
            let terms = Retention { default: world.profile.kept_for, ..Retention::default() };
            let removal = tokio::spawn(retention::keep(store, world.clock.clone(), terms));
            world.log(|| "the server starts".to_owned());
            self.server.send_replace(Some((engine.clone(), process.clone())));
            tokio::select! {
                biased;
                () = process.dead() => {}
                () = self.time_to_die() => self.end(&engine, &process).await,
            }
            self.server.send_replace(None);
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

    /// Kills the running process.
    pub fn kill(&self) {
        if let Ok((_, process)) = self.server() {
            self.world.log(|| "the server is killed".to_owned());
            process.die(&self.world);
        }
    }
}
