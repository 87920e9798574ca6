//! The one session that commits.
//!
//! It holds an advisory lock of the database, which the server frees when the session ends. So the lock guards every
//! commit: a process that has lost its session cannot commit before it has taken the lock again, and another process
//! may have taken it meanwhile.

use sqlx::{Connection as _, PgConnection, Postgres, postgres::PgConnectOptions};
use tokio::sync::Mutex;

use super::{
    error,
    session::{connect, is_read_only},
};
use crate::{
    Error, Outcome, Write,
    commit::Batch,
    dialect::Dialect as _,
    failure::{Failure, bounded},
    reading::ANSWER_TIMEOUT,
};

/// The advisory lock of the process that owns a database: "lrs owns" in ASCII.
const OWNER_LOCK: i64 = 0x6c72_7320_6f77_6e73;
/// The most times that a transaction is run that collides with others.
const MAX_TRIES: u32 = 5;

/// The right to commit.
pub(super) struct Owner {
    options: PgConnectOptions,
    session: Mutex<Session>,
}

enum Session {
    Held(PgConnection),
    Lost,
    Closed,
}

impl Owner {
    /// Takes the right to commit.
    ///
    /// # Errors
    /// [`Error::Taken`] if another session has it.
    pub(super) async fn open(options: PgConnectOptions) -> Result<Self, Error> {
        let taken = Error::Taken { holder: "its session holds the lock".to_owned() };
        let connection = acquire(&options).await.map_err(|failure| {
            if error::is_lock_timeout(&failure) {
                taken
            } else {
                Postgres::explain_opening(failure, "to be opened", "jobs")
            }
        })?;
        Ok(Self { options, session: Mutex::new(Session::Held(connection)) })
    }

    /// See [`Store::commit`](crate::Store::commit).
    pub(super) async fn commit(&self, batch: &[Write]) -> Result<Vec<Outcome>, Error> {
        let mut session = self.session.lock().await;
        let mut connection = self.take(&mut session).await?;
        let mut tries = 1;
        let result = loop {
            let result = bounded(ANSWER_TIMEOUT, transaction(&mut connection, batch)).await;
            match result {
                Err(failure) if error::is_conflict(&failure) && tries < MAX_TRIES => tries += 1,
                other => break other,
            }
        };
        // A refusal leaves the session as it was; after anything else a new one is safer.
        let result = result.map_err(|failure| Postgres::explain(failure, "to commit", "jobs"));
        if !matches!(result, Err(Error::Unavailable(_))) {
            *session = Session::Held(connection);
        }
        result
    }

    /// Whether this process could commit now.
    pub(super) async fn check(&self) -> Result<(), Error> {
        // A session in use is alive or will soon be found dead.
        let Ok(mut session) = self.session.try_lock() else { return Ok(()) };
        let mut connection = self.take(&mut session).await?;
        let is_read_only = bounded(ANSWER_TIMEOUT, async { Ok(is_read_only(&mut connection).await?) })
            .await
            .map_err(|failure| Postgres::explain(failure, "to answer", "jobs"))?;
        if is_read_only {
            // The next session may be able to write.
            return Err(Error::unavailable("the session that commits can only read"));
        }
        *session = Session::Held(connection);
        Ok(())
    }

    /// Gives up the right to commit, after the commit under way.
    pub(super) async fn close(&self) {
        let session = std::mem::replace(&mut *self.session.lock().await, Session::Closed);
        if let Session::Held(connection) = session
            && let Err(error) = connection.close().await
        {
            tracing::debug!(%error, "The database had gone before it was closed: {error}");
        }
    }

    /// The connection, to be put back after use. A caller that is dropped in between drops it too, and with it the
    /// session and whatever transaction was under way.
    async fn take(&self, session: &mut Session) -> Result<PgConnection, Error> {
        if matches!(session, Session::Closed) {
            return Err(Error::unavailable("the store is closed"));
        }
        if let Session::Held(connection) = std::mem::replace(session, Session::Lost) {
            return Ok(connection);
        }
        let taken = Error::unavailable(TAKEN);
        acquire(&self.options).await.map_err(|failure| not_acquired(failure, taken))
    }
}

const TAKEN: &str = "another lrs server has this database open; only one can use it at a time";

fn not_acquired(failure: Failure, taken: Error) -> Error {
    if error::is_lock_timeout(&failure) {
        return taken;
    }
    Postgres::explain(failure, "to be opened", "jobs")
}

/// A session with the lock, for which it waits a little: a predecessor's session may just be ending.
async fn acquire(options: &PgConnectOptions) -> Result<PgConnection, Failure> {
    const ACQUIRE: &str = "
        -- acquire_ownership
        select pg_advisory_lock($1)";
    // An acknowledgement means durable, whatever the default of this database is.
    const BE_DURABLE: &str = "
        -- be_durable
        select set_config('synchronous_commit', 'on', false) where current_setting('synchronous_commit') = 'off'";
    let options = options.clone().options([("lock_timeout", "3s")]);
    let mut connection = connect(&options).await?;
    bounded(ANSWER_TIMEOUT, async {
        sqlx::query(ACQUIRE).bind(OWNER_LOCK).execute(&mut connection).await?;
        sqlx::query(BE_DURABLE).execute(&mut connection).await?;
        Ok(())
    })
    .await?;
    Ok(connection)
}

async fn transaction(connection: &mut PgConnection, batch: &[Write]) -> Result<Vec<Outcome>, Failure> {
    let mut transaction = connection.begin().await?;
    match Batch::<Postgres>::apply(&mut transaction, batch).await {
        Ok(outcomes) => {
            transaction.commit().await?;
            Ok(outcomes)
        }
        Err(failure) => {
            transaction.rollback().await?;
            Err(failure)
        }
    }
}
