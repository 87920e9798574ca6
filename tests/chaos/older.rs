//! The database comes back older, as after a failover that lost the newest commits, or when a backup was restored.

use std::time::Duration;

use tempfile::TempDir;
use tokio::{
    task::block_in_place,
    time::{Instant, sleep},
};

use crate::{
    fleet::Fleet,
    ledger::{Ledger, Mark},
    postgres::TestPostgres,
};

/// What a server logs when it finds its database older. "At once" is some seconds: a server that has nothing to commit
/// looks at its database every few seconds.
const NOTICE: &str = "the database has gone back";
const AT_ONCE: Duration = Duration::from_secs(15);

/// A copy of a database, and what callers had been told before it was made.
pub struct Backup {
    copy: TempDir,
    mark: Mark,
}

impl Backup {
    /// Copies the database. It is stopped meanwhile, so the servers see a restart.
    pub fn make(postgres: &TestPostgres, ledger: &Ledger) -> Self {
        let mark = ledger.mark();
        Self { copy: block_in_place(|| postgres.copy()), mark }
    }

    /// Replaces the database by the copy, and waits until a server says that it has noticed. From then on, answers hold
    /// again; callers come over new connections.
    pub async fn put_back(self, fleet: &Fleet, postgres: &TestPostgres, ledger: &Ledger) {
        let notices = || fleet.replicas.iter().map(|replica| replica.log().matches(NOTICE).count()).sum::<usize>();
        let before = notices();
        ledger.went_back(&self.mark);
        block_in_place(|| postgres.restore(self.copy));
        let begun = Instant::now();
        while notices() == before {
            if begun.elapsed() > AT_ONCE {
                ledger.broken(2, format!("the database came back older, and no server said so within {AT_ONCE:?}"));
                break;
            }
            sleep(Duration::from_millis(50)).await;
        }
        ledger.noticed();
        for replica in &fleet.replicas {
            replica.trainers.cut();
        }
    }
}
