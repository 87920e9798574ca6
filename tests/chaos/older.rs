//! The database comes back older, as after a failover that lost the newest commits, or when a backup was restored.

use std::time::Duration;

use sqlx::{Connection as _, PgConnection};
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
    /// No commit after this one is in the copy.
    last_commit: i64,
}

impl Backup {
    /// Copies the database. It is stopped meanwhile, so the servers see a restart.
    pub async fn make(fleet: &Fleet, postgres: &TestPostgres, ledger: &Ledger) -> Self {
        let mark = ledger.mark();
        let copy = block_in_place(|| postgres.copy());
        Self { copy, mark, last_commit: last_commit(fleet).await }
    }

    /// Replaces the database by the copy, and waits until a server says that it has noticed. From then on, answers hold
    /// again; callers come over new connections.
    pub async fn put_back(self, fleet: &Fleet, postgres: &TestPostgres, ledger: &Ledger) {
        let notices = || fleet.replicas.iter().map(|replica| replica.log().matches(NOTICE).count()).sum::<usize>();
        let (before, stored) = (notices(), last_commit(fleet).await);
        ledger.went_back(&self.mark);
        block_in_place(|| postgres.restore(self.copy));
        let is_older = stored > self.last_commit;
        let begun = Instant::now();
        while is_older && notices() == before {
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

/// The number of the newest commit in the database.
async fn last_commit(fleet: &Fleet) -> i64 {
    let mut connection = PgConnection::connect(fleet.database_url()).await.expect("a connection");
    let sequence = sqlx::query_scalar("select sequence from ownership").fetch_one(&mut connection).await;
    connection.close().await.expect("a closed connection");
    sequence.expect("the number of commits")
}
