//! The store in PostgreSQL.
//!
//! Two ways in. All commits go through one session, which holds the database's lock for this process (`owner`); reads
//! and the merging of telemetry, which decide nothing, go through a small pool.

mod chunk;
mod dialect;
mod error;
mod owner;

use std::time::Duration;

use async_trait::async_trait;
use futures::TryFutureExt as _;
use sqlx::{
    ConnectOptions as _, Connection as _, Executor as _, PgConnection, Postgres,
    postgres::{PgConnectOptions, PgPoolOptions},
};

use super::{
    Chunk, DecisionQuery, DecisionRow, Error, ExpiredJob, ExpiryQuery, LoadedJob, Outcome, Removal, StateRow, Store,
    Write,
    failure::{Failure, bounded},
    inspection::Moment,
    merge,
    reading::{ANSWER_TIMEOUT, Readers},
    removal,
    schema::{self, Migration, Schema},
};
use lrs_model::{
    filter::JobQuery,
    job::{AttemptRow, JobRow, Timestamp},
    name::{JobId, JobName},
};
use owner::Owner;

/// How long to wait for a connection: callers learn within it that the database is away.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Connections for reads.
const READERS: u32 = 8;

/// The store in PostgreSQL.
pub struct PostgresStore {
    readers: Readers<Postgres>,
    owner: Owner,
}

impl PostgresStore {
    /// Opens the database for this process alone, with the newest schema.
    ///
    /// The connections must be sessions: a pooler in between that hands out a session per transaction will not do.
    ///
    /// # Errors
    /// [`Error::Refused`] if another server has it open, [`Error::NewerSchema`], [`Error::Unavailable`] if it does not
    /// answer within a few seconds.
    pub async fn open(options: PgConnectOptions) -> Result<Self, Error> {
        let options = options.application_name("lrs");
        schema(&options).await?;
        let owner = Owner::open(with_bounds(options.clone())).await?;
        migrate(&options).await?;
        let pool = PgPoolOptions::new()
            .max_connections(READERS)
            .acquire_timeout(CONNECT_TIMEOUT)
            .connect_lazy_with(with_bounds(options));
        Ok(Self { readers: Readers { pool }, owner })
    }
}

/// Settings of a session that keep a lost peer, on either side, from holding anything for long.
fn with_bounds(options: PgConnectOptions) -> PgConnectOptions {
    options.options([
        ("statement_timeout", "30s"),
        ("lock_timeout", "10s"),
        ("idle_in_transaction_session_timeout", "30s"),
        ("tcp_keepalives_idle", "10"),
        ("tcp_keepalives_interval", "5"),
        ("tcp_keepalives_count", "3"),
    ])
}

async fn connect(options: &PgConnectOptions) -> Result<PgConnection, Failure> {
    bounded(CONNECT_TIMEOUT, options.connect().map_err(Failure::from)).await
}

/// See [`super::schema`].
pub(super) async fn schema(options: &PgConnectOptions) -> Result<Schema, Error> {
    const HAS_TABLE: &str = "
        -- has_migrations_table
        select to_regclass('_sqlx_migrations') is not null";
    let work = async {
        let mut connection = connect(options).await?;
        let mut applied: Vec<Migration> = Vec::new();
        if sqlx::query_scalar(HAS_TABLE).fetch_one(&mut connection).await? {
            applied = sqlx::query_as(schema::APPLIED).fetch_all(&mut connection).await?;
        }
        connection.close().await?;
        Ok(applied)
    };
    let applied = bounded(ANSWER_TIMEOUT, work)
        .await
        .map_err(|failure| failure.into_error::<Postgres>("to tell its schema", schema::TABLE))?;
    Schema::of(applied, &schema::POSTGRES)
}

/// See [`super::inspect`].
pub(super) async fn inspect(options: PgConnectOptions) -> Result<Moment<Postgres>, Error> {
    const INDEX_NAMES: &str = "
        -- index_names
        select cast(c.relname as text) from pg_index i join pg_class c on c.oid = i.indexrelid
        where i.indisvalid and c.relnamespace = cast(current_schema() as regnamespace)";
    let options = options.application_name("lrs doctor");
    let schema = schema(&options).await?.complete()?;
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
        .connect_lazy_with(options);
    let wanted_indices = schema::index_names(&schema::POSTGRES);
    Ok(Moment { readers: Readers { pool }, schema, index_names: INDEX_NAMES, wanted_indices, file_check: None })
}

/// See [`super::migrate`]. Several processes may do so at once. A migration may take its time.
pub(super) async fn migrate(options: &PgConnectOptions) -> Result<Schema, Error> {
    let before = schema(options).await?;
    let mut connection =
        connect(options).await.map_err(|failure| failure.into_error::<Postgres>(schema::WHAT, schema::TABLE))?;
    schema::apply::<Postgres>(&mut connection, &schema::POSTGRES).await?;
    Ok(before)
}

#[async_trait]
impl Store for PostgresStore {
    async fn commit(&self, batch: &[Write]) -> Result<Vec<Outcome>, Error> {
        self.owner.commit(batch).await
    }

    async fn job(&self, name: &JobName) -> Result<Option<JobRow>, Error> {
        self.readers.job(name).await
    }

    async fn list_jobs(&self, query: &JobQuery) -> Result<Vec<JobRow>, Error> {
        self.readers.list_jobs(query).await
    }

    async fn unended_jobs(&self, after: Option<JobId>, limit: u32) -> Result<Vec<LoadedJob>, Error> {
        self.readers.unended_jobs(after, limit).await
    }

    async fn attempts(&self, job: JobId) -> Result<Vec<AttemptRow>, Error> {
        self.readers.attempts(job).await
    }

    async fn telemetry(&self, job: JobId, attempt: u32, from_seq: u64, limit: u32) -> Result<Vec<Chunk>, Error> {
        self.readers.telemetry(job, attempt, from_seq, limit).await
    }

    async fn telemetry_of_steps(&self, job: JobId, attempt: u32, start: u64, end: u64) -> Result<Vec<Chunk>, Error> {
        self.readers.telemetry_of_steps(job, attempt, start, end).await
    }

    async fn next_telemetry_step(&self, job: JobId, attempt: u32, from: u64) -> Result<Option<u64>, Error> {
        self.readers.next_telemetry_step(job, attempt, from).await
    }

    async fn merge_telemetry(&self, job: JobId, attempt: u32, below_seq: u64, target: u32) -> Result<u64, Error> {
        merge::merge(&self.readers.pool, job, attempt, below_seq, target).await
    }

    async fn expired_jobs(&self, query: &ExpiryQuery) -> Result<Vec<ExpiredJob>, Error> {
        self.readers.expired_jobs(query).await
    }

    async fn remove_telemetry(&self, job: JobId, now: Timestamp, limit: u32) -> Result<Removal, Error> {
        let work = async {
            let mut transaction = self.readers.pool.begin().await?;
            let removal = removal::remove::<Postgres>(&mut transaction, job, now, limit).await?;
            transaction.commit().await?;
            Ok(removal)
        };
        bounded(ANSWER_TIMEOUT, work)
            .await
            .map_err(|failure| failure.into_error::<Postgres>("to remove telemetry", "telemetry"))
    }

    async fn decisions(&self, job: JobId, query: &DecisionQuery) -> Result<Vec<DecisionRow>, Error> {
        self.readers.decisions(job, query).await
    }

    async fn state(&self, job: JobId) -> Result<Option<StateRow>, Error> {
        self.readers.state(job).await
    }

    async fn ping(&self) -> Result<(), Error> {
        const IS_READ_ONLY: &str = "
            -- ping
            select pg_is_in_recovery() or current_setting('transaction_read_only') = 'on'";
        let work = sqlx::query_scalar(IS_READ_ONLY).fetch_one(&self.readers.pool).map_err(Failure::from);
        let is_read_only: bool = bounded(ANSWER_TIMEOUT, work)
            .await
            .map_err(|failure| failure.into_error::<Postgres>("to answer", "jobs"))?;
        if is_read_only {
            return Err(Error::Unavailable("the database can only be read".to_owned()));
        }
        self.owner.check().await
    }

    async fn close(&self) {
        self.owner.close().await;
        self.readers.pool.close().await;
    }
}
