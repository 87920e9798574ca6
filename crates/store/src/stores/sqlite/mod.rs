//! The store in a SQLite file.
//!
//! One connection writes, a few read; the write-ahead log lets them go on beside each other. A lock file beside the
//! database keeps other processes out for as long as the store is open.

mod chunk;
mod dialect;
mod error;
mod file;

pub(super) use chunk::fuzz_chunk;

use std::{fs::File, path::Path, sync::Mutex, time::Duration};

use async_trait::async_trait;
use sqlx::{
    ConnectOptions as _, Connection as _, Executor as _, Sqlite, SqliteConnection, SqlitePool,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use super::{
    Chunk, DecisionQuery, DecisionRow, Error, ExpiredJob, ExpiryQuery, LoadedJob, Outcome, Removal, StateRow, Store,
    Write,
    commit::Batch,
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

/// Connections for reads.
const READERS: u32 = 4;
/// How long to wait for somebody else's tool that has the file locked.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Takes the write lock at once, so that no transaction finds out half-way that it can not have it.
const BEGIN: &str = "begin immediate";

/// The store in a SQLite file.
pub struct SqliteStore {
    writer: SqlitePool,
    readers: Readers<Sqlite>,
    lock: Mutex<Option<File>>,
}

impl SqliteStore {
    /// Opens the file for this process alone, with the newest schema. It is created, with the directories above it, if
    /// it is not there.
    ///
    /// # Errors
    /// [`Error::Refused`] if another process has it open, or it is no SQLite file; [`Error::NewerSchema`];
    /// [`Error::Unavailable`] if it can not be read or written.
    pub async fn open(path: &Path) -> Result<Self, Error> {
        let lock = prepare(path)?;
        update(path).await?;
        let pool = |size, options: SqliteConnectOptions| {
            SqlitePoolOptions::new()
                .max_connections(size)
                .acquire_timeout(ANSWER_TIMEOUT)
                .idle_timeout(None)
                .max_lifetime(None)
                .test_before_acquire(false)
                .after_release(|connection, _| Box::pin(is_at_rest(connection)))
                .connect_lazy_with(options)
        };
        Ok(Self {
            writer: pool(1, options(path)),
            readers: Readers { pool: pool(READERS, options(path).read_only(true)) },
            lock: Mutex::new(Some(lock)),
        })
    }

    async fn transaction(&self, batch: &[Write]) -> Result<Vec<Outcome>, Failure> {
        let mut transaction = self.writer.begin_with(BEGIN).await?;
        let outcomes = Batch::<Sqlite>::apply(&mut transaction, batch).await?;
        transaction.commit().await?;
        Ok(outcomes)
    }
}

/// Whether a connection can be used again. After some errors, such as a full disk, SQLite rolls a transaction back by itself,
/// and the driver counts it as open for ever: every later transaction on that connection would be refused.
async fn is_at_rest(connection: &mut SqliteConnection) -> sqlx::Result<bool> {
    // A rollback may still be on its way to the driver's thread.
    connection.ping().await?;
    Ok(!connection.is_in_transaction())
}

fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(BUSY_TIMEOUT)
}

/// Takes the lock and makes sure that there is a file.
fn prepare(path: &Path) -> Result<File, Error> {
    file::create_parent(path)?;
    let lock = file::lock(path)?;
    file::create(path)?;
    Ok(lock)
}

/// Brings the schema to the newest version, and tells how far it had come.
async fn update(path: &Path) -> Result<Schema, Error> {
    let before = schema(path).await?;
    let failed = |error: sqlx::Error| Failure::from(error).into_error::<Sqlite>(schema::WHAT, schema::TABLE);
    let mut connection = options(path).connect().await.map_err(failed)?;
    schema::apply::<Sqlite>(&mut connection, &schema::SQLITE).await?;
    connection.close().await.map_err(failed)?;
    Ok(before)
}

/// See [`super::schema`].
pub(super) async fn schema(path: &Path) -> Result<Schema, Error> {
    const HAS_TABLE: &str = "
        -- has_migrations_table
        select count(*) > 0 from sqlite_schema where name = '_sqlx_migrations'";
    let read = async {
        let mut connection: SqliteConnection =
            SqliteConnectOptions::new().filename(path).read_only(true).busy_timeout(BUSY_TIMEOUT).connect().await?;
        let mut applied: Vec<Migration> = Vec::new();
        if sqlx::query_scalar(HAS_TABLE).fetch_one(&mut connection).await? {
            applied = sqlx::query_as(schema::APPLIED).fetch_all(&mut connection).await?;
        }
        connection.close().await?;
        Ok(applied)
    };
    let applied = if path.exists() {
        read.await.map_err(|error| Failure::Sql(error).into_error::<Sqlite>("to tell its schema", schema::TABLE))?
    } else {
        Vec::new()
    };
    Schema::of(applied, &schema::SQLITE)
}

/// See [`super::inspect`].
pub(super) async fn inspect(path: &Path) -> Result<Moment<Sqlite>, Error> {
    const INDEX_NAMES: &str = "
        -- index_names
        select name from sqlite_schema where type = 'index'";
    const FILE_CHECK: &str = "
        -- file_check
        pragma integrity_check(20)";
    if !path.exists() {
        let problem = format!("there is no file {}", path.display());
        return Err(Error::Refused { what: "to be inspected", problem });
    }
    let schema = schema(path).await?.complete()?;
    let options = SqliteConnectOptions::new().filename(path).read_only(true).busy_timeout(BUSY_TIMEOUT);
    let pool = SqlitePoolOptions::new()
        .max_connections(1)
        .acquire_timeout(ANSWER_TIMEOUT)
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false)
        .after_connect(|connection, _| {
            Box::pin(async move {
                connection.execute("begin").await?;
                Ok(())
            })
        })
        .connect_lazy_with(options);
    let wanted_indices = schema::index_names(&schema::SQLITE);
    let file_check = Some(FILE_CHECK);
    Ok(Moment { readers: Readers { pool }, schema, index_names: INDEX_NAMES, wanted_indices, file_check })
}

/// See [`super::migrate`].
pub(super) async fn migrate(path: &Path) -> Result<Schema, Error> {
    let _lock = prepare(path)?;
    update(path).await
}

#[async_trait]
impl Store for SqliteStore {
    async fn commit(&self, batch: &[Write]) -> Result<Vec<Outcome>, Error> {
        self.transaction(batch).await.map_err(|failure| failure.into_error::<Sqlite>("to commit", "jobs"))
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
        merge::merge(&self.writer, job, attempt, below_seq, target).await
    }

    async fn expired_jobs(&self, query: &ExpiryQuery) -> Result<Vec<ExpiredJob>, Error> {
        self.readers.expired_jobs(query).await
    }

    async fn remove_telemetry(&self, job: JobId, now: Timestamp, limit: u32) -> Result<Removal, Error> {
        let work = async {
            let mut transaction = self.writer.begin_with(BEGIN).await?;
            let removal = removal::remove::<Sqlite>(&mut transaction, job, now, limit).await?;
            transaction.commit().await?;
            Ok(removal)
        };
        bounded(ANSWER_TIMEOUT, work)
            .await
            .map_err(|failure| failure.into_error::<Sqlite>("to remove telemetry", "telemetry"))
    }

    async fn decisions(&self, job: JobId, query: &DecisionQuery) -> Result<Vec<DecisionRow>, Error> {
        self.readers.decisions(job, query).await
    }

    async fn state(&self, job: JobId) -> Result<Option<StateRow>, Error> {
        self.readers.state(job).await
    }

    async fn ping(&self) -> Result<(), Error> {
        let work = async {
            let transaction = self.writer.begin_with(BEGIN).await?;
            Ok(transaction.rollback().await?)
        };
        bounded(ANSWER_TIMEOUT, work).await.map_err(|failure| failure.into_error::<Sqlite>("to answer", "jobs"))
    }

    async fn close(&self) {
        self.readers.pool.close().await;
        self.writer.close().await;
        // Whoever waits for the file finds it free of us.
        if let Ok(mut lock) = self.lock.lock() {
            lock.take();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn after_a_full_disk_the_store_writes_again() {
        let directory = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&directory.path().join("lrs.db")).await.unwrap();
        let mut transaction = store.writer.begin_with(BEGIN).await.unwrap();
        transaction.execute("create table blobs (bytes blob); pragma max_page_count = 100").await.unwrap();

        let full = transaction.execute("insert into blobs (bytes) values (zeroblob(10000000))").await.unwrap_err();
        drop(transaction);

        assert!(full.to_string().contains("full"), "{full}");
        store.ping().await.unwrap();
        store.close().await;
    }
}
