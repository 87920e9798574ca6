//! Faults around the server, one after the other.

use std::{path::Path, time::Duration};

use rand::{Rng as _, SeedableRng as _, seq::IndexedRandom as _};
use rand_chacha::ChaCha8Rng;
use rustix::process::Signal;
use tokio::{sync::watch, time::Instant};

use crate::{postgres::TestPostgres, proxy::Proxy, server::Server, small_disk::fill};

/// The longest time between two faults, even if no sample is acknowledged in between.
const NO_PROGRESS: Duration = Duration::from_millis(1500);

/// A fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mischief {
    KillServer,
    StopServer,
    CutConnections,
    HoldNetwork,
    KillDatabase,
    FillDisk,
}

/// How often each fault was caused.
#[derive(Clone, Copy, Debug, Default)]
pub struct Done {
    /// The server or the database was killed with `kill -9`.
    pub kills: u64,
    /// The server was stopped for a while.
    pub stops: u64,
    /// All connections were cut, or held back.
    pub cuts: u64,
    /// The disk was full.
    pub full_disks: u64,
}

impl Done {
    pub fn add(&mut self, more: &Self) {
        self.kills += more.kills;
        self.stops += more.stops;
        self.cuts += more.cuts;
        self.full_disks += more.full_disks;
    }
}

/// The targets of the faults.
pub struct Victims<'a> {
    pub server: &'a mut Server,
    pub proxy: &'a Proxy,
    pub postgres: Option<&'a TestPostgres>,
    /// The small file system that holds the database.
    pub disk: Option<&'a Path>,
    /// How many samples have been acknowledged so far, so that faults come while training goes on.
    pub acknowledged: watch::Receiver<u64>,
}

impl Victims<'_> {
    /// Causes faults until `end`, and then restores everything.
    pub async fn suffer(&mut self, seed: u64, end: Instant) -> Done {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut kinds = vec![Mischief::KillServer, Mischief::KillServer, Mischief::StopServer];
        kinds.extend([Mischief::CutConnections, Mischief::HoldNetwork]);
        kinds.extend(self.postgres.map(|_| Mischief::KillDatabase));
        kinds.extend(self.disk.map(|_| Mischief::FillDisk));
        let mut done = Done::default();
        while Instant::now() < end {
            let goal = *self.acknowledged.borrow() + random.random_range(100..1500);
            let _ = tokio::time::timeout(NO_PROGRESS, self.acknowledged.wait_for(|sum| *sum >= goal)).await;
            let while_away = Duration::from_millis(random.random_range(100..1200));
            match kinds.choose(&mut random).copied() {
                Some(Mischief::KillServer) | None => {
                    self.server.kill();
                    self.server.start_again().await;
                    done.kills += 1;
                }
                Some(Mischief::StopServer) => {
                    self.server.signal(Signal::STOP);
                    tokio::time::sleep(while_away).await;
                    self.server.signal(Signal::CONT);
                    done.stops += 1;
                }
                Some(Mischief::CutConnections) => {
                    self.proxy.cut();
                    done.cuts += 1;
                }
                Some(Mischief::HoldNetwork) => {
                    self.proxy.hold(true);
                    tokio::time::sleep(while_away).await;
                    if random.random_bool(0.5) {
                        self.proxy.cut();
                    }
                    self.proxy.hold(false);
                    done.cuts += 1;
                }
                Some(Mischief::KillDatabase) => {
                    if let Some(postgres) = self.postgres {
                        postgres.kill();
                        tokio::time::sleep(while_away).await;
                        postgres.start();
                        done.kills += 1;
                    }
                }
                Some(Mischief::FillDisk) => {
                    if let Some(disk) = self.disk {
                        let ballast = fill(disk);
                        tokio::time::sleep(while_away).await;
                        std::fs::remove_file(ballast).unwrap();
                        done.full_disks += 1;
                    }
                }
            }
        }
        done
    }
}
