//! Faults around the servers, one after the other.

use std::time::Duration;

use rand::{Rng as _, SeedableRng as _, seq::IndexedRandom as _};
use rand_chacha::ChaCha8Rng;
use tokio::{
    sync::watch,
    task::block_in_place,
    time::{Instant, sleep, timeout},
};

use crate::{done::Done, fleet::Fleet, ledger::Ledger, older::Backup, replica::Replica};

/// The longest time between two faults, even if no sample is acknowledged in between.
const NO_PROGRESS: Duration = Duration::from_millis(1500);
/// How often a server is killed as it comes up.
const LOOPS: u32 = 4;

/// A fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mischief {
    KillServer,
    /// A server is killed again and again as it comes up.
    RestartLoop,
    /// A server is told to end in order.
    EndServer,
    /// A server is stopped and goes on later.
    FreezeServer,
    CutTrainers,
    HoldTrainers,
    KillDatabase,
    RestartDatabase,
    FillDisk,
    /// The connections of a server with its database are broken.
    CutDatabase,
    /// What a server and its database send each other arrives seconds later.
    HoldDatabase,
    /// What a server and its database send each other is lost, and only the database's end notices.
    LoseDatabase,
    /// The database ends the sessions of a server.
    EndSessions,
    /// The owner is stopped, loses its sessions, and goes on once another server has taken over.
    FreezeUntilDeposed,
    /// The owner's way to the database is a black hole until another server has taken over, and some time longer.
    LoseUntilDeposed,
}

impl Mischief {
    /// The faults that a fleet can suffer. Those with more weight are there more than once.
    fn of(fleet: &Fleet) -> Vec<Self> {
        use Mischief::{
            CutDatabase, CutTrainers, EndServer, EndSessions, FillDisk, FreezeServer, FreezeUntilDeposed, HoldDatabase,
            HoldTrainers, KillDatabase, KillServer, LoseDatabase, LoseUntilDeposed, RestartDatabase, RestartLoop,
        };
        let mut kinds = vec![KillServer, KillServer, RestartLoop, EndServer, FreezeServer, CutTrainers, HoldTrainers];
        if fleet.disk.is_some() {
            kinds.push(FillDisk);
        }
        if fleet.postgres.is_some() {
            kinds.extend([KillDatabase, RestartDatabase, CutDatabase, HoldDatabase, LoseDatabase, EndSessions]);
        }
        if fleet.replicas.len() > 1 {
            kinds.extend([RestartDatabase, EndSessions, FreezeUntilDeposed, FreezeUntilDeposed, LoseUntilDeposed]);
        }
        kinds
    }
}

/// Causes faults.
pub struct Imp<'a> {
    pub fleet: &'a Fleet,
    /// How many samples have been acknowledged so far, so that faults come while training goes on.
    pub acknowledged: watch::Receiver<u64>,
    pub ledger: &'a Ledger,
    pub random: ChaCha8Rng,
    pub done: Done,
}

impl<'a> Imp<'a> {
    pub fn new(fleet: &'a Fleet, seed: u64, ledger: &'a Ledger) -> Self {
        let acknowledged = ledger.acknowledged.subscribe();
        Self { fleet, acknowledged, ledger, random: ChaCha8Rng::seed_from_u64(seed), done: Done::default() }
    }

    /// Causes faults for `length`. Each restores what it broke. The database comes back older in every second round with
    /// PostgreSQL, or in all.
    pub async fn work(&mut self, length: Duration, is_always_older: bool) {
        let begun = Instant::now();
        let is_older = self.random.random_bool(0.5) || is_always_older;
        match &self.fleet.postgres {
            Some(postgres) if is_older => {
                self.work_until(begun + length / 3).await;
                let backup = Backup::make(self.fleet, postgres, self.ledger).await;
                self.done.database_restarts += 1;
                self.work_until(begun + length * 2 / 3).await;
                backup.put_back(self.fleet, postgres, self.ledger).await;
                self.done.older_databases += 1;
            }
            _ => {}
        }
        self.work_until(begun + length).await;
    }

    async fn work_until(&mut self, end: Instant) {
        let kinds = Mischief::of(self.fleet);
        while Instant::now() < end {
            let goal = *self.acknowledged.borrow() + self.random.random_range(100..1500);
            let _ = timeout(NO_PROGRESS, self.acknowledged.wait_for(|sum| *sum >= goal)).await;
            let kind = *kinds.choose(&mut self.random).expect("kinds of faults");
            self.cause(kind).await;
        }
    }

    async fn cause(&mut self, kind: Mischief) {
        let victim = self.victim();
        let replica: &'a Replica = &self.fleet.replicas[victim];
        let short = Duration::from_millis(self.random.random_range(100..1200));
        let long = Duration::from_millis(self.random.random_range(500..7000));
        let either = if self.random.random_bool(0.5) { short } else { long };
        let database = self.fleet.postgres.as_ref();
        match kind {
            Mischief::KillServer => self.kill(replica).await,
            Mischief::RestartLoop => {
                for _ in 0..self.random.random_range(2..=LOOPS) {
                    self.kill(replica).await;
                    sleep(short / 3).await;
                }
            }
            Mischief::EndServer => self.end_in_order(victim).await,
            Mischief::FreezeServer => self.freeze(replica, either).await,
            Mischief::CutTrainers => self.cut_trainers(victim),
            Mischief::HoldTrainers => self.hold_trainers(victim, short).await,
            Mischief::FillDisk => self.fill_disk(short).await,
            Mischief::KillDatabase => {
                if let Some(database) = database {
                    self.kill_database(database, short).await;
                }
            }
            Mischief::RestartDatabase => {
                if let Some(database) = database {
                    block_in_place(|| database.restart());
                    self.done.database_restarts += 1;
                }
            }
            Mischief::CutDatabase => {
                replica.database.cut();
                self.done.database_cuts += 1;
            }
            Mischief::HoldDatabase => self.hold_database(replica, short, long).await,
            Mischief::LoseDatabase => self.lose_database(replica, long).await,
            Mischief::EndSessions => {
                self.fleet.end_sessions(replica).await;
                self.done.sessions_ended += 1;
            }
            Mischief::FreezeUntilDeposed => self.freeze_until_deposed(victim, short).await,
            Mischief::LoseUntilDeposed => self.lose_until_deposed(victim, short).await,
        }
    }

    /// The owner, or sometimes any replica.
    fn victim(&mut self) -> usize {
        let any = self.random.random_range(0..self.fleet.replicas.len());
        let owner = self.fleet.service.ready().borrow().owner();
        owner.filter(|_| self.random.random_bool(0.8)).unwrap_or(any)
    }
}
