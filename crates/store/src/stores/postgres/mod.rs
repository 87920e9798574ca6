//! The store in PostgreSQL.
//!
//! There are two ways in. All commits go through one session, which holds the database's lock for this process
//! (`owner`). Reads and housekeeping, which decide nothing, go through a small pool.

mod chunk;
mod dialect;
mod error;
mod owner;
mod session;

use std::sync::Arc;

use async_trait::async_trait;
use sqlx::{
    Connection as _, Executor as _, PgPool, Postgres, Transaction,
    migrate::Migrator,
    postgres::{PgConnectOptions, PgPoolOptions},
};

use crate::{
    Error, MayCommit, Outcome, Store, Write,
    dialect::Dialect as _,
    failure::{Failure, bounded},
    inspection::{Inspection, Moment},
    kind::{Damage, Kind, Location},
    reading::{ANSWER_TIMEOUT, Readers},
    schema::{self, Migration, Schema},
    sql::Sql,
    writer::Writer,
};
use lrs_runtime::error::Cause;
use owner::{Candidate, Owner};
use session::{CONNECT_TIMEOUT, connect, is_read_only, readers, with_bounds, with_search_path};

/// PostgreSQL's row in the table of stores.
pub(super) static KIND: Kind = Kind {
    name: "PostgreSQL",
    schemes: &["postgres", "postgresql"],
    example: "postgres://user:password@host/database",
    locate,
    in_directory: None,
    waits_for_owner: true,
    migrations: &MIGRATIONS,
    damage: Damage {
        no_steps: "'{}'",
        wrong_steps: "'{5,4}'",
        without_foreign_keys: "set session_replication_role = replica",
        in_file: None,
    },
};

static MIGRATIONS: Migrator = sqlx::migrate!("src/stores/postgres/migrations");

/// The parameters that an address may have. The driver would log any other, and its value may be a password.
const PARAMETERS: &[&str] = &[
    "application_name",
    "dbname",
    "host",
    "hostaddr",
    "options",
    "password",
    "port",
    "sslcert",
    "sslkey",
    "sslmode",
    "sslrootcert",
    "statement-cache-capacity",
    "user",
];

fn locate(url: &str) -> Result<Arc<dyn Location>, Cause> {
    let parameters = url.split_once('?').map_or("", |(_, parameters)| parameters);
    let mut names = parameters.split('&').filter_map(|parameter| parameter.split('=').next());
    // The name is not repeated: after a question mark that was not escaped, it is the rest of a password.
    if names.any(|name| !name.is_empty() && !PARAMETERS.contains(&name)) {
        return Err(Cause::new(format!("it has another parameter than {}", PARAMETERS.join(", "))));
    }
    let options: PgConnectOptions = url.parse().map_err(|error: sqlx::Error| Cause::new(error))?;
    Ok(Arc::new(Server(options)))
}

/// A database of a server. The connections must be sessions: a pooler in between that hands out a session per
/// transaction does not work.
struct Server(PgConnectOptions);

#[async_trait]
impl Location for Server {
    async fn open(&self) -> Result<Arc<dyn Store>, Error> {
        self.schema().await?;
        let options = with_search_path(self.0.clone().application_name("lrs")).await;
        let options = options.map_err(|failure| Postgres::explain_opening(failure, "to be opened", "jobs"))?;
        let candidate = Candidate::lock(with_bounds(options.clone())).await?;
        self.migrate().await?;
        let owner = candidate.take_over().await?;
        let pool = readers(with_bounds(options));
        let writer = PostgresWriter { owner, pool: pool.clone() };
        Ok(Arc::new(Sql { readers: Readers { pool }, writer }))
    }

    async fn inspect(&self) -> Result<Box<dyn Inspection>, Error> {
        const INDEX_NAMES: &str = "
            -- index_names
            select cast(c.relname as text) from pg_index i join pg_class c on c.oid = i.indexrelid
            where i.indisvalid and c.relnamespace = cast(current_schema() as regnamespace)";
        let schema = self.schema().await?.complete()?;
        let pool = PgPoolOptions::new()
            .max_connections(1)
            .acquire_timeout(CONNECT_TIMEOUT)
            .idle_timeout(None)
            .max_lifetime(None)
            .test_before_acquire(false)
            .after_connect(|connection, _| {
                Box::pin(async move {
                    connection.execute("begin isolation level repeatable read read only").await?;
                    Ok(())
                })
            })
            .connect_lazy_with(self.0.clone().application_name("lrs doctor"));
        let wanted_indices = schema::index_names(&MIGRATIONS);
        let moment = Moment { schema, index_names: INDEX_NAMES, wanted_indices, file_check: None };
        Ok(Box::new(Sql { readers: Readers { pool }, writer: moment }))
    }

    async fn schema(&self) -> Result<Schema, Error> {
        const HAS_TABLE: &str = "
            -- has_migrations_table
            select to_regclass('_sqlx_migrations') is not null";
        let work = async {
            let mut connection = connect(&self.0).await?;
            let mut applied: Vec<Migration> = Vec::new();
            if sqlx::query_scalar(HAS_TABLE).fetch_one(&mut connection).await? {
                applied = sqlx::query_as(schema::APPLIED).fetch_all(&mut connection).await?;
            }
            connection.close().await?;
            Ok(applied)
        };
        let applied = bounded(ANSWER_TIMEOUT, work)
            .await
            .map_err(|failure| Postgres::explain_opening(failure, "to tell its schema", schema::TABLE))?;
        Schema::of(applied, &MIGRATIONS)
    }

    /// Several processes may do so at once. A migration may take its time. Where nothing is pending, no right is needed
    /// but to read.
    async fn migrate(&self) -> Result<Schema, Error> {
        let before = self.schema().await?;
        if before.pending.is_empty() {
            return Ok(before);
        }
        let mut connection = connect(&self.0)
            .await
            .map_err(|failure| Postgres::explain_opening(failure, schema::WHAT, schema::TABLE))?;
        let role = || format!("the role {:?}", self.0.get_username());
        schema::apply::<Postgres>(&mut connection, &MIGRATIONS, &before, &role()).await?;
        Ok(before)
    }
}

struct PostgresWriter {
    owner: Owner,
    /// The readers' pool, which housekeeping shares.
    pool: PgPool,
}

#[async_trait]
impl Writer<Postgres> for PostgresWriter {
    async fn commit(&self, batch: &[Write], may_commit: MayCommit<'_>) -> Result<Vec<Outcome>, Error> {
        self.owner.commit(batch, may_commit).await
    }

    async fn begin(&self) -> Result<Transaction<'static, Postgres>, Failure> {
        let mut transaction = self.pool.begin().await?;
        self.owner.prove(&mut transaction).await?;
        Ok(transaction)
    }

    async fn ping(&self) -> Result<(), Error> {
        // A session that began while the database could only be read is not handed out again, so this is what the
        // server says now.
        let work = async { Ok(is_read_only(&mut *self.pool.acquire().await?).await?) };
        let failed = |failure| Postgres::explain(failure, "to answer", "jobs");
        if bounded(ANSWER_TIMEOUT, work).await.map_err(failed)? {
            return Err(Error::unavailable("the database can only be read"));
        }
        self.owner.check().await
    }

    fn epoch(&self) -> i64 {
        self.owner.epoch()
    }

    fn is_exclusive(&self) -> bool {
        false
    }

    async fn close(&self) {
        self.owner.close().await;
    }
}
