//! Replicas over one database, and the service in front of them.

use std::{path::Path, sync::Arc, time::Duration};

use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};
use tonic::transport::{Channel, Endpoint};

use crate::{
    planted::Plant,
    postgres::TestPostgres,
    proxy::{Address, Network, Proxy},
    replica::{Replica, role},
    service::Service,
    small_disk::SmallDisk,
};

/// The longest that a database without faults may go without an owner.
const PATIENCE: Duration = Duration::from_mins(1);

/// A kind of database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Database {
    Sqlite,
    Postgres,
}

/// All that trainers depend on.
pub struct Fleet {
    pub replicas: Vec<Arc<Replica>>,
    pub service: Service,
    pub postgres: Option<TestPostgres>,
    /// The small file system that holds the SQLite file.
    pub disk: Option<SmallDisk>,
    database_url: String,
    _directory: tempfile::TempDir,
}

impl Fleet {
    /// Starts a database, and then all replicas at once.
    pub async fn start(database: Database, replicas: usize, plant: Option<Plant>, seed: u64) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let postgres = (database == Database::Postgres).then(|| TestPostgres::private(&["fsync=off"]));
        let disk = if database == Database::Sqlite { SmallDisk::mount() } else { None };
        let database_url = if let Some(postgres) = &postgres {
            postgres.create_database().await
        } else {
            let path = disk.as_ref().map_or(directory.path(), SmallDisk::path);
            format!("sqlite://{}", path.join("lrs.db").display())
        };
        let mut started = Vec::new();
        for number in 0..replicas {
            let replica = match &postgres {
                None => Replica::start(number, plant, &database_url, Network::default(), None),
                Some(postgres) => over_network(number, plant, postgres, &database_url).await,
            };
            started.push(Arc::new(replica));
        }
        let service = Service::before(&started, seed).await;
        let fleet = Self { replicas: started, service, postgres, disk, database_url, _directory: directory };
        fleet.owner().await;
        fleet
    }

    /// The URL of the database, without a network in between.
    pub fn database_url(&self) -> &str {
        &self.database_url
    }

    /// The replica that is ready.
    pub async fn owner(&self) -> &Replica {
        let mut ready = self.service.ready();
        let found = tokio::time::timeout(PATIENCE, ready.wait_for(|ready| ready.owner().is_some())).await;
        let owner = found.ok().and_then(|ready| ready.ok()?.owner());
        let Some(owner) = owner else {
            let logs: Vec<String> = self.replicas.iter().map(|replica| last_lines(&replica.log())).collect();
            panic!("no server is ready within {PATIENCE:?}:\n{}", logs.join("\n--- the next server ---\n"));
        };
        &self.replicas[owner]
    }

    /// A connection to the replica that is ready.
    pub async fn channel(&self) -> Channel {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.owner().await.grpc)).expect("an address");
        endpoint.connect().await.expect("a connection to a server that is ready")
    }

    /// Keeps the logs of the servers, for people.
    pub fn keep_logs(&self, seed: u64) {
        for (number, replica) in self.replicas.iter().enumerate() {
            let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("chaos-{seed}-server{number}.log"));
            std::fs::write(&path, replica.log()).unwrap();
            eprintln!("chaos: the log of server {number} is {}", path.display());
        }
    }

    /// Ends the sessions of a replica in PostgreSQL, as an administrator or a failover would.
    pub async fn end_sessions(&self, replica: &Replica) {
        const END: &str = "select pg_terminate_backend(pid) from pg_stat_activity where usename = $1";
        let Ok(mut connection) = PgConnection::connect(&self.database_url).await else { return };
        let _ = sqlx::query(END).bind(&replica.role).execute(&mut connection).await;
        let _ = connection.close().await;
    }
}

/// A replica with a role of its own, which reaches PostgreSQL through a network of its own.
async fn over_network(number: usize, plant: Option<Plant>, postgres: &TestPostgres, database_url: &str) -> Replica {
    let mut connection = PgConnection::connect(database_url).await.expect("a connection");
    let role = role(number);
    connection.execute(AssertSqlSafe(format!("create role {role} superuser login"))).await.expect("a role");
    connection.close().await.expect("a closed connection");
    let network = Network::default();
    let proxy = Proxy::before(Address::Unix(postgres.socket()), network.clone()).await;
    let name = database_url.split(['/', '?']).nth(3).expect("the name of the database");
    let url = format!("postgres://{role}@{}/{name}?sslmode=disable", proxy.address);
    Replica::start(number, plant, &url, network, Some(proxy))
}

/// The end of a log.
fn last_lines(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}
