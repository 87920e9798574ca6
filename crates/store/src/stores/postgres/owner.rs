//! The one session that commits.
//!
//! It holds an advisory lock of the database, which the server frees when the session ends, so only one process has it.
//! Another process may have had it in between, however. So a session that replaces a lost one goes on only if the
//! ownership is as this process left it, and every commit proves the ownership once more; see [`Claim`].

use std::sync::{
    OnceLock,
    atomic::{AtomicI64, Ordering::SeqCst},
};

use sqlx::{Connection as _, PgConnection, Postgres, Transaction, postgres::PgConnectOptions, query_scalar};
use tokio::sync::Mutex;

use super::{
    error,
    session::{connect, is_read_only},
};
use crate::{
    Error, MayCommit, Outcome, Write,
    commit::Batch,
    dialect::Dialect as _,
    ending,
    failure::{Failure, bounded},
    ownership::{self, Claim},
    reading::ANSWER_TIMEOUT,
};

/// The advisory lock of the process that owns a database: "lrs owns" in ASCII.
const OWNER_LOCK: i64 = 0x6c72_7320_6f77_6e73;
/// The most times that a transaction is run that collides with others.
const MAX_TRIES: u32 = 5;

/// The right to commit.
pub(super) struct Owner {
    options: PgConnectOptions,
    held: Mutex<Held>,
    /// The newest epoch of this process, for those who do not commit.
    epoch: AtomicI64,
    /// Why this process is the owner no more.
    over: OnceLock<Error>,
}

struct Held {
    session: Session,
    claim: Claim,
}

enum Session {
    Open(PgConnection),
    Lost,
    Closed,
}

/// A session with the lock, before the database is taken over.
pub(super) struct Candidate {
    options: PgConnectOptions,
    connection: PgConnection,
}

impl Candidate {
    /// Takes the lock.
    ///
    /// # Errors
    /// [`Error::Taken`] if another session has it.
    pub(super) async fn lock(options: PgConnectOptions) -> Result<Self, Error> {
        let mut connection = open(&options).await.map_err(not_opened)?;
        match lock(&mut connection).await {
            Ok(()) => Ok(Self { options, connection }),
            Err(failure) if error::is_lock_timeout(&failure) => Err(taken(&options).await),
            Err(failure) => Err(not_opened(failure)),
        }
    }

    /// Takes the database over. Its schema must be the newest.
    pub(super) async fn take_over(self) -> Result<Owner, Error> {
        let Self { options, mut connection } = self;
        let work = async {
            let mut transaction = connection.begin().await?;
            let claim = Claim::acquire::<Postgres>(&mut transaction).await?;
            transaction.commit().await?;
            Ok(claim)
        };
        let claim = bounded(ANSWER_TIMEOUT, work).await.map_err(not_opened)?;
        let epoch = AtomicI64::new(claim.epoch());
        let held = Mutex::new(Held { session: Session::Open(connection), claim });
        Ok(Owner { options, held, epoch, over: OnceLock::new() })
    }
}

impl Owner {
    /// See [`Store::commit_if`](crate::Store::commit_if).
    pub(super) async fn commit(&self, batch: &[Write], may_commit: MayCommit<'_>) -> Result<Vec<Outcome>, Error> {
        let mut held = self.held.lock().await;
        let mut connection = self.take(&mut held).await?;
        let mut tries = 1;
        let result = loop {
            let result =
                bounded(ANSWER_TIMEOUT, transaction(&mut connection, &mut held.claim, batch, may_commit)).await;
            match result {
                Err(failure) if error::is_conflict(&failure) && tries < MAX_TRIES => tries += 1,
                other => break other,
            }
        };
        let result = result.map_err(|failure| match self.explain(failure, "to commit", "jobs") {
            Error::Unavailable(why) | Error::Busy(why) if held.claim.is_uncertain() => Error::OutcomeUnknown(why),
            error => error,
        });
        // A refusal leaves the session as it was; after anything else a new one is safer.
        if !matches!(result, Err(Error::Unavailable(_) | Error::OutcomeUnknown(_))) {
            held.session = Session::Open(connection);
        }
        result
    }

    /// Whether this process is the owner and could commit now.
    pub(super) async fn check(&self) -> Result<(), Error> {
        let mut held = self.held.lock().await;
        let mut connection = self.take(&mut held).await?;
        let look = async {
            held.claim.check::<Postgres>(&mut connection).await?;
            Ok(is_read_only(&mut connection).await?)
        };
        let is_read_only =
            bounded(ANSWER_TIMEOUT, look).await.map_err(|failure| self.explain(failure, "to answer", "ownership"))?;
        if is_read_only {
            // The next session may be able to write.
            return Err(Error::unavailable("the session that commits can only read"));
        }
        held.session = Session::Open(connection);
        Ok(())
    }

    /// Proves the ownership within a transaction of another session, until its end: an acquisition waits for it.
    pub(super) async fn prove(&self, transaction: &mut Transaction<'static, Postgres>) -> Result<(), Failure> {
        const PROVE: &str = "
            -- prove_ownership
            select epoch from ownership where epoch = $1 for key share";
        loop {
            self.check_over()?;
            let epoch = self.epoch.load(SeqCst);
            let proven: Option<i64> = query_scalar(PROVE).bind(epoch).fetch_optional(&mut **transaction).await?;
            if proven.is_some() {
                return Ok(());
            }
            // This process may just have taken the lock again, with a higher epoch.
            self.held.lock().await.claim.check::<Postgres>(transaction).await.map_err(|failure| self.note(failure))?;
        }
    }

    /// The newest epoch of this process.
    pub(super) fn epoch(&self) -> i64 {
        self.epoch.load(SeqCst)
    }

    /// Gives up the right to commit, after the commit under way.
    pub(super) async fn close(&self) {
        let session = std::mem::replace(&mut self.held.lock().await.session, Session::Closed);
        if let Session::Open(connection) = session
            && let Err(error) = connection.close().await
        {
            tracing::debug!(%error, "The database had gone before it was closed: {error}");
        }
    }

    /// # Errors
    /// If this process is the owner no more.
    fn check_over(&self) -> Result<(), Error> {
        self.over.get().map_or(Ok(()), |why| Err(why.clone()))
    }

    /// The connection, to be put back after use. A caller that is dropped in between drops it too, and with it the
    /// session and whatever transaction was under way.
    async fn take(&self, held: &mut Held) -> Result<PgConnection, Error> {
        self.check_over()?;
        if matches!(held.session, Session::Closed) {
            return Err(Error::unavailable("the store is closed"));
        }
        if let Session::Open(connection) = std::mem::replace(&mut held.session, Session::Lost) {
            return Ok(connection);
        }
        let claim = &mut held.claim;
        let connection =
            self.return_to(claim).await.map_err(|failure| self.explain(failure, "to be opened", "ownership"))?;
        self.epoch.store(claim.epoch(), SeqCst);
        Ok(connection)
    }

    /// A new session with the lock, if nobody has owned the database since this process lost the old one.
    async fn return_to(&self, claim: &mut Claim) -> Result<PgConnection, Failure> {
        let mut connection = open(&self.options).await?;
        // A successor holds the lock, so look first whether there is one.
        bounded(ANSWER_TIMEOUT, claim.check::<Postgres>(&mut connection)).await?;
        lock(&mut connection).await.map_err(|failure| {
            let why = "another session holds the lock of this database's owner";
            if error::is_lock_timeout(&failure) { Error::unavailable(why).into() } else { failure }
        })?;
        let work = async {
            let mut transaction = connection.begin().await?;
            let reclaimed = claim.reclaim::<Postgres>(&mut transaction).await?;
            transaction.commit().await?;
            claim.reclaimed(reclaimed);
            Ok(())
        };
        bounded(ANSWER_TIMEOUT, work).await?;
        Ok(connection)
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

    /// The error for the caller.
    fn explain(&self, failure: Failure, what: &'static str, table: &'static str) -> Error {
        Postgres::explain(self.note(failure), what, table)
    }
}

fn not_opened(failure: Failure) -> Error {
    Postgres::explain_opening(failure, "to be opened", "ownership")
}

/// The error that names the process that has the lock, as far as that can be known.
async fn taken(options: &PgConnectOptions) -> Error {
    let read = async {
        let mut connection = connect(options).await?;
        let row = ownership::read::<Postgres>(&mut connection).await?;
        connection.close().await?;
        Ok::<_, Failure>(row)
    };
    // Before the first migration, and while an older release owns the database, nobody is named.
    let row = bounded(ANSWER_TIMEOUT, read).await.ok().flatten();
    Error::Taken { holder: row.map_or_else(|| "it has not said which".to_owned(), |row| row.to_string()) }
}

/// A session that may become the owner's.
async fn open(options: &PgConnectOptions) -> Result<PgConnection, Failure> {
    // An acknowledgement means durable, whatever the default of this database is.
    const BE_DURABLE: &str = "
        -- be_durable
        select set_config('synchronous_commit', 'on', false) where current_setting('synchronous_commit') = 'off'";
    // The owner uses its session every few seconds. A process that stands still for longer makes way. Older servers do
    // not know this setting.
    const BE_IN_USE: &str = "
        -- be_in_use
        select set_config(name, '15s', false) from pg_settings where name = 'idle_session_timeout'";
    let mut connection = connect(options).await?;
    bounded(ANSWER_TIMEOUT, async {
        sqlx::query(BE_DURABLE).execute(&mut connection).await?;
        sqlx::query(BE_IN_USE).execute(&mut connection).await?;
        Ok(())
    })
    .await?;
    Ok(connection)
}

/// Takes the lock, for which it waits a little: a predecessor's session may just be ending.
async fn lock(connection: &mut PgConnection) -> Result<(), Failure> {
    const LOCK: &str = "
        -- lock_ownership
        select pg_advisory_lock($1)";
    bounded(ANSWER_TIMEOUT, async {
        sqlx::query(LOCK).bind(OWNER_LOCK).execute(connection).await?;
        Ok(())
    })
    .await
}

async fn transaction(
    connection: &mut PgConnection,
    claim: &mut Claim,
    batch: &[Write],
    may_commit: MayCommit<'_>,
) -> Result<Vec<Outcome>, Failure> {
    let mut transaction = connection.begin().await?;
    let applied = async {
        let advance = claim.advance::<Postgres>(&mut transaction).await?;
        let outcomes = Batch::<Postgres>::apply(&mut transaction, advance.epoch, batch).await?;
        Ok((advance, outcomes))
    };
    let applied = applied.await;
    ending::end(transaction, applied, claim, may_commit).await
}
