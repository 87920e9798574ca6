//! The store in a SQLite file.
//!
//! One connection writes and a few read; the write-ahead log lets them go on beside each other. A lock file beside the
//! database keeps other processes out for as long as the store is open.

mod chunk;
mod dialect;
mod error;
mod file;

pub(crate) use chunk::fuzz_chunk;

use std::{
    fs::File,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, OnceLock},
    time::Duration,
};

use async_trait::async_trait;
use sqlx::{
    ConnectOptions as _, Connection as _, Executor as _, Sqlite, SqliteConnection, SqlitePool, Transaction,
    migrate::Migrator,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use crate::{
    Error, MayCommit, Outcome, Store, Write,
    commit::Batch,
    dialect::Dialect as _,
    ending,
    failure::{Failure, bounded},
    inspection::{Inspection, Moment},
    kind::{Damage, Kind, Location},
    ownership::{self, Claim},
    reading::{ANSWER_TIMEOUT, Readers},
    schema::{self, Migration, Schema},
    sql::Sql,
    writer::Writer,
};
use file::Identity;
use lrs_runtime::{error::Cause, secret::redacted};

/// SQLite's row in the table of stores.
pub(in crate::stores) static KIND: Kind = Kind {
    name: "SQLite",
    schemes: &["sqlite"],
    example: "sqlite:///var/lib/lrs/lrs.db",
    locate,
    in_directory: Some(in_directory),
    waits_for_owner: false,
    migrations: &MIGRATIONS,
    damage: Damage {
        no_steps: "x''",
        wrong_steps: "x'0a'",
        without_foreign_keys: "pragma foreign_keys = off",
        in_file: Some(
            "pragma writable_schema = on;
             update sqlite_schema set sql = 'create index jobs_by_create_time on jobs (version, id)'
             where name = 'jobs_by_create_time'",
        ),
    },
};

static MIGRATIONS: Migrator = sqlx::migrate!("src/stores/sqlite/migrations");

/// Connections for reads.
const READERS: u32 = 4;
/// How long to wait for somebody else's tool that has the file locked.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Takes the write lock at once, so that no transaction finds out half-way that it cannot have it.
const BEGIN: &str = "begin immediate";

fn locate(url: &str) -> Result<Arc<dyn Location>, Cause> {
    let options: SqliteConnectOptions = url.parse().map_err(|error: sqlx::Error| Cause::new(error))?;
    let path = options.get_filename();
    // The driver's names for databases in memory.
    if path.as_os_str().is_empty() || path.to_string_lossy().starts_with("file:") {
        return Err(Cause::new("a SQLite database must be a file"));
    }
    Ok(Arc::new(DatabaseFile(path.to_owned())))
}

/// Escapes the characters of a path that have a meaning in a URL.
fn in_directory(directory: &str) -> String {
    let directory = directory.replace('%', "%25").replace('?', "%3F").replace('#', "%23");
    format!("sqlite://{directory}/lrs.db")
}

/// The path of a database.
struct DatabaseFile(PathBuf);

#[async_trait]
impl Location for DatabaseFile {
    async fn open(&self) -> Result<Arc<dyn Store>, Error> {
        Ok(Arc::new(open(&self.0).await?))
    }

    async fn inspect(&self) -> Result<Box<dyn Inspection>, Error> {
        const INDEX_NAMES: &str = "
            -- index_names
            select name from sqlite_schema where type = 'index'";
        const FILE_CHECK: &str = "
            -- file_check
            pragma integrity_check(20)";
        let path = &self.0;
        if !path.exists() {
            return Err(Error::refused(
                "to be inspected",
                format!("there is no file {}", redacted(&path.display().to_string())),
            ));
        }
        let schema = self.schema().await?.complete()?;
        let pool = pool(1).after_connect(|connection, _| {
            Box::pin(async move {
                connection.execute("begin").await?;
                Ok(())
            })
        });
        let pool = pool.connect_lazy_with(read_only(path));
        let wanted_indices = schema::index_names(&MIGRATIONS);
        let moment = Moment { schema, index_names: INDEX_NAMES, wanted_indices, file_check: Some(FILE_CHECK) };
        Ok(Box::new(Sql { readers: Readers { pool }, writer: moment }))
    }

    async fn schema(&self) -> Result<Schema, Error> {
        schema_of(&self.0).await
    }

    async fn migrate(&self) -> Result<Schema, Error> {
        match prepare(&self.0)? {
            Some(_lock) => update(&self.0).await,
            None => Err(taken(&self.0).await),
        }
    }
}

/// Opens the file for this process alone, with the newest schema. It is created, with the directories above it, if it
/// is not there.
async fn open(path: &Path) -> Result<Sql<Sqlite, SqliteWriter>, Error> {
    let Some(lock) = prepare(path)? else { return Err(taken(path).await) };
    update(path).await?;
    let claim = take_over(path).await?;
    let pool = |size, options: SqliteConnectOptions| {
        pool(size).after_release(|connection, _| Box::pin(is_at_rest(connection))).connect_lazy_with(options)
    };
    Ok(Sql {
        readers: Readers { pool: pool(READERS, options(path).read_only(true)) },
        writer: SqliteWriter {
            pool: pool(1, options(path)),
            lock: Mutex::new(Some(lock)),
            file: (path.to_owned(), Identity::of(path)?),
            epoch: claim.epoch(),
            claim: tokio::sync::Mutex::new(claim),
            over: OnceLock::new(),
        },
    })
}

/// Connections that stay open.
fn pool(size: u32) -> SqlitePoolOptions {
    SqlitePoolOptions::new()
        .max_connections(size)
        .acquire_timeout(ANSWER_TIMEOUT)
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false)
}

/// Whether a connection can be used again. After some errors, such as a full disk, SQLite rolls a transaction back by
/// itself, and the driver counts it as open for ever: every later transaction on that connection would be refused.
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

fn read_only(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new().filename(path).read_only(true).busy_timeout(BUSY_TIMEOUT)
}

/// Takes the lock and makes sure that there is a file. `None` if another process has the lock.
fn prepare(path: &Path) -> Result<Option<File>, Error> {
    file::create_parent(path)?;
    let Some(lock) = file::lock(path)? else { return Ok(None) };
    file::create(path)?;
    Ok(Some(lock))
}

/// Makes this process the owner, with the lock.
async fn take_over(path: &Path) -> Result<Claim, Error> {
    let work = async {
        let mut connection = options(path).connect().await?;
        let mut transaction = connection.begin_with(BEGIN).await?;
        let claim = Claim::acquire::<Sqlite>(&mut transaction).await?;
        transaction.commit().await?;
        connection.close().await?;
        Ok(claim)
    };
    work.await.map_err(|failure| Sqlite::explain_opening(failure, "to be opened", "ownership"))
}

/// The error that names the process that has the lock, as far as that can be known.
async fn taken(path: &Path) -> Error {
    let read = async {
        let mut connection = read_only(path).connect().await?;
        let row = ownership::read::<Sqlite>(&mut connection).await?;
        connection.close().await?;
        Ok::<_, Failure>(row)
    };
    // It may be a migration that has the lock, or an older release.
    let row = bounded(ANSWER_TIMEOUT, read).await.ok().flatten();
    let holder = row.map_or_else(|| "it has not said which".to_owned(), |row| row.to_string());
    Error::Taken { holder: format!("{holder}, has {}", path.display()) }
}

/// Brings the schema to the newest version, and tells how far it had come.
async fn update(path: &Path) -> Result<Schema, Error> {
    let before = schema_of(path).await?;
    if before.pending.is_empty() {
        return Ok(before);
    }
    let failed = |error: sqlx::Error| Sqlite::explain_opening(Failure::from(error), schema::WHAT, schema::TABLE);
    let mut connection = options(path).connect().await.map_err(failed)?;
    schema::apply::<Sqlite>(&mut connection, &MIGRATIONS, &before, "this user").await?;
    connection.close().await.map_err(failed)?;
    Ok(before)
}

async fn schema_of(path: &Path) -> Result<Schema, Error> {
    const HAS_TABLE: &str = "
        -- has_migrations_table
        select count(*) > 0 from sqlite_schema where name = '_sqlx_migrations'";
    let read = async {
        let mut connection: SqliteConnection = read_only(path).connect().await?;
        let mut applied: Vec<Migration> = Vec::new();
        if sqlx::query_scalar(HAS_TABLE).fetch_one(&mut connection).await? {
            applied = sqlx::query_as(schema::APPLIED).fetch_all(&mut connection).await?;
        }
        connection.close().await?;
        Ok(applied)
    };
    let applied = if path.exists() {
        read.await.map_err(|error| Sqlite::explain_opening(Failure::Sql(error), "to tell its schema", schema::TABLE))?
    } else {
        Vec::new()
    };
    Schema::of(applied, &MIGRATIONS)
}

struct SqliteWriter {
    pool: SqlitePool,
    lock: Mutex<Option<File>>,
    /// The file that was opened.
    file: (PathBuf, Identity),
    epoch: i64,
    claim: tokio::sync::Mutex<Claim>,
    /// Why this process is the owner no more.
    over: OnceLock<Error>,
}

impl SqliteWriter {
    async fn transaction(
        &self,
        claim: &mut Claim,
        batch: &[Write],
        may_commit: MayCommit<'_>,
    ) -> Result<Vec<Outcome>, Failure> {
        let mut transaction = self.begin_any().await?;
        let applied = async {
            let advance = claim.advance::<Sqlite>(&mut transaction).await?;
            let outcomes = Batch::<Sqlite>::apply(&mut transaction, advance.epoch, batch).await?;
            Ok((advance, outcomes))
        };
        let applied = applied.await;
        ending::end(transaction, applied, claim, may_commit).await
    }

    /// A transaction on the file that was opened, if that is still the database.
    async fn begin_any(&self) -> Result<Transaction<'static, Sqlite>, Failure> {
        if let Some(why) = self.over.get() {
            return Err(why.clone().into());
        }
        let transaction = self.pool.begin_with(BEGIN).await?;
        let (path, opened) = &self.file;
        if Identity::of(path)? != *opened {
            let problem = Error::Deposed {
                mine: self.epoch,
                found: self.epoch,
                holder: format!("the file {} was replaced by another", path.display()),
            };
            return Err(self.note(problem.into()));
        }
        Ok(transaction)
    }

    /// Remembers that the ownership is over, if that is the failure.
    fn note(&self, failure: Failure) -> Failure {
        if let Failure::Store(error) = &failure
            && error.ends_ownership()
        {
            let _ = self.over.set(error.clone());
        }
        failure
    }
}

#[async_trait]
impl Writer<Sqlite> for SqliteWriter {
    async fn commit(&self, batch: &[Write], may_commit: MayCommit<'_>) -> Result<Vec<Outcome>, Error> {
        let mut claim = self.claim.lock().await;
        self.transaction(&mut claim, batch, may_commit).await.map_err(|failure| {
            match Sqlite::explain(self.note(failure), "to commit", "jobs") {
                Error::Unavailable(why) | Error::Busy(why) if claim.is_uncertain() => Error::OutcomeUnknown(why),
                error => error,
            }
        })
    }

    async fn begin(&self) -> Result<Transaction<'static, Sqlite>, Failure> {
        let claim = self.claim.lock().await;
        let mut transaction = self.begin_any().await?;
        claim.check::<Sqlite>(&mut transaction).await.map_err(|failure| self.note(failure))?;
        Ok(transaction)
    }

    async fn ping(&self) -> Result<(), Error> {
        let work = async { Ok(self.begin().await?.rollback().await?) };
        bounded(ANSWER_TIMEOUT, work).await.map_err(|failure| Sqlite::explain(failure, "to answer", "jobs"))
    }

    fn epoch(&self) -> i64 {
        self.epoch
    }

    fn is_exclusive(&self) -> bool {
        true
    }

    async fn close(&self) {
        self.pool.close().await;
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
        let store = open(&directory.path().join("lrs.db")).await.unwrap();
        let mut transaction = store.writer.begin().await.unwrap();
        transaction.execute("create table blobs (bytes blob); pragma max_page_count = 100").await.unwrap();

        let full = transaction.execute("insert into blobs (bytes) values (zeroblob(10000000))").await.unwrap_err();
        drop(transaction);

        assert!(full.to_string().contains("full"), "{full}");
        store.ping().await.unwrap();
        store.close().await;
    }
}
