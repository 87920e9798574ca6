//! How each fault is caused, and what it restores.

use std::time::Duration;

use rand::Rng as _;
use rustix::process::Signal;
use tokio::{
    task::block_in_place,
    time::{Instant, sleep, timeout},
};

use crate::{mischief::Imp, postgres::TestPostgres, replica::Replica, small_disk::fill};

/// How long a fault waits for another server to take over. It may not, so this is no failure.
const TAKEOVER: Duration = Duration::from_secs(20);

impl<'a> Imp<'a> {
    pub async fn kill(&mut self, replica: &Replica) {
        let process = replica.process();
        replica.signal(Signal::KILL);
        replica.another(process).await;
        self.done.kills += 1;
    }

    /// Ends a replica in order, and measures how long the database is without an owner if it was the owner.
    pub async fn end_in_order(&mut self, victim: usize) {
        let replica = &self.fleet.replicas[victim];
        let (process, mut ready) = (replica.process(), self.fleet.service.ready());
        let was_owner = ready.borrow().owner() == Some(victim);
        let (begun, before) = (Instant::now(), ready.borrow().takeovers);
        replica.signal(Signal::TERM);
        if was_owner && timeout(TAKEOVER, ready.wait_for(|ready| ready.takeovers > before)).await.is_ok() {
            self.done.handovers.push(begun.elapsed());
        }
        replica.another(process).await;
        self.done.ends += 1;
    }

    pub async fn freeze(&mut self, replica: &Replica, time: Duration) {
        replica.signal(Signal::STOP);
        sleep(time).await;
        replica.signal(Signal::CONT);
        self.done.freezes += 1;
    }

    pub fn cut_trainers(&mut self, victim: usize) {
        for replica in self.some(victim) {
            replica.trainers.cut();
        }
        self.done.cuts += 1;
    }

    pub async fn hold_trainers(&mut self, victim: usize, time: Duration) {
        let some = self.some(victim);
        for replica in &some {
            replica.trainers.hold(true);
        }
        sleep(time).await;
        let is_cut = self.random.random_bool(0.5);
        for replica in some {
            if is_cut {
                replica.trainers.cut();
            }
            replica.trainers.hold(false);
        }
        self.done.cuts += 1;
    }

    pub async fn fill_disk(&mut self, time: Duration) {
        let Some(disk) = &self.fleet.disk else { return };
        let ballast = fill(disk.path());
        sleep(time).await;
        std::fs::remove_file(ballast).unwrap();
        self.done.full_disks += 1;
    }

    pub async fn kill_database(&mut self, database: &TestPostgres, time: Duration) {
        block_in_place(|| database.kill());
        sleep(time).await;
        block_in_place(|| database.start());
        self.done.kills += 1;
    }

    /// Holds everything back, and may end the sessions meanwhile: what was sent before arrives where nobody listens.
    pub async fn hold_database(&mut self, replica: &Replica, short: Duration, long: Duration) {
        replica.database.hold(true);
        if self.random.random_bool(0.5) {
            sleep(short).await;
            self.fleet.end_sessions(replica).await;
        }
        sleep(long).await;
        replica.database.hold(false);
        self.done.database_cuts += 1;
    }

    pub async fn lose_database(&mut self, replica: &Replica, time: Duration) {
        replica.database.black_hole(true);
        sleep(time).await;
        replica.database.black_hole(false);
        self.done.database_cuts += 1;
    }

    pub async fn freeze_until_deposed(&mut self, victim: usize, longer: Duration) {
        let replica = &self.fleet.replicas[victim];
        replica.signal(Signal::STOP);
        self.fleet.end_sessions(replica).await;
        self.taken_over(victim).await;
        sleep(longer).await;
        replica.signal(Signal::CONT);
        self.done.freezes += 1;
    }

    pub async fn lose_until_deposed(&mut self, victim: usize, longer: Duration) {
        let replica = &self.fleet.replicas[victim];
        replica.database.black_hole(true);
        self.taken_over(victim).await;
        sleep(longer).await;
        replica.database.black_hole(false);
        self.done.database_cuts += 1;
    }

    /// Waits until another replica than `victim` is ready.
    async fn taken_over(&mut self, victim: usize) {
        let mut ready = self.fleet.service.ready();
        let is_other = |replicas: &[bool]| replicas.iter().enumerate().any(|(number, is)| *is && number != victim);
        if timeout(TAKEOVER, ready.wait_for(|ready| is_other(&ready.replicas))).await.is_ok() {
            self.done.deposed += 1;
        }
    }

    /// All replicas, or one.
    fn some(&mut self, victim: usize) -> Vec<&'a Replica> {
        let all = self.random.random_bool(0.5);
        let replicas = self.fleet.replicas.iter().enumerate();
        replicas.filter(|(number, _)| all || *number == victim).map(|(_, replica)| &**replica).collect()
    }
}
