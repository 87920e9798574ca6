//! Who may write: the one row of `ownership`, which every commit proves.
//!
//! An acquisition raises the row's epoch, so a process that another one has replaced is found by its epoch. A commit
//! raises the row's sequence, so a database that has gone back is found by its sequence. A process that lost its
//! session goes on with what it remembers only if nobody owned the database meanwhile, see [`Claim::reclaim`].

use std::fmt;

use sqlx::{Encode, Executor, FromRow, IntoArguments, Type, query_as};
use uuid::Uuid;

use super::{Error, dialect::Dialect, failure::Failure};
use lrs_model::job::Timestamp;
use lrs_runtime::clock::{Clock as _, SystemClock};

const OWNERSHIP: &str = "
    -- ownership
    select epoch, sequence, process, host, pid, acquire_time, acquire_sequence from ownership";

const ACQUIRE: &str = "
    -- acquire_ownership
    update ownership
    set epoch = epoch + 1, process = $1, host = $2, pid = $3, acquire_time = $4, acquire_sequence = sequence
    returning epoch, sequence, process, host, pid, acquire_time, acquire_sequence";

/// `$1` is the new epoch. The sequence may be one of two, if the outcome of a commit is not known.
const RECLAIM: &str = "
    -- reclaim_ownership
    update ownership set epoch = $1
    where process = $2 and epoch between $3 and $4 and sequence between $5 and $6
    returning epoch, sequence, process, host, pid, acquire_time, acquire_sequence";

const ADVANCE: &str = "
    -- advance
    update ownership set sequence = sequence + 1
    where epoch = $1 and sequence between $2 and $3
    returning epoch, sequence, process, host, pid, acquire_time, acquire_sequence";

/// The row of `ownership`.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub(super) struct OwnershipRow {
    epoch: i64,
    sequence: i64,
    process: Uuid,
    host: String,
    pid: i64,
    acquire_time: i64,
    acquire_sequence: i64,
}

impl fmt::Display for OwnershipRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { epoch, host, pid, .. } = self;
        write!(f, "{host} pid {pid} since {}, epoch {epoch}", Timestamp(self.acquire_time))
    }
}

/// What this process knows of its ownership.
#[derive(Clone, Debug)]
pub(super) struct Claim {
    process: Uuid,
    /// The lowest and the highest epoch that the row may have: the outcome of a [`Claim::reclaim`] may be unknown.
    epochs: (i64, i64),
    /// The lowest and the highest sequence that the row may have: the outcome of a commit may be unknown.
    sequences: (i64, i64),
    /// The commit whose outcome is unknown.
    pending: Option<i64>,
}

impl Claim {
    /// Takes the database over, in the transaction that `connection` is in.
    pub(super) async fn acquire<DB>(connection: &mut DB::Connection) -> Result<Self, Failure>
    where
        DB: Dialect,
        DB::Arguments: IntoArguments<DB>,
        for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
        for<'q> i64: Encode<'q, DB> + Type<DB>,
        for<'q> String: Encode<'q, DB> + Type<DB>,
        for<'q> Uuid: Encode<'q, DB> + Type<DB>,
        for<'r> OwnershipRow: FromRow<'r, DB::Row>,
    {
        let process = Uuid::now_v7();
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let row: Option<OwnershipRow> = query_as(ACQUIRE)
            .bind(process)
            .bind(host)
            .bind(i64::from(std::process::id()))
            .bind(SystemClock.now().0)
            .fetch_optional(connection)
            .await?;
        let row = row.ok_or_else(missing)?;
        Ok(Self { process, epochs: (row.epoch, row.epoch), sequences: (row.sequence, row.sequence), pending: None })
    }

    /// Goes on owning the database after the session was lost, in the transaction that `connection` is in and with the
    /// lock that only one process has. [`Claim::reclaimed`] is to be called with the answer once that is committed.
    ///
    /// # Errors
    /// [`Error::Deposed`] or [`Error::LostTail`] if the database is not as this process left it.
    pub(super) async fn reclaim<DB>(&mut self, connection: &mut DB::Connection) -> Result<Reclaimed, Failure>
    where
        DB: Dialect,
        DB::Arguments: IntoArguments<DB>,
        for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
        for<'q> i64: Encode<'q, DB> + Type<DB>,
        for<'q> Uuid: Encode<'q, DB> + Type<DB>,
        for<'r> OwnershipRow: FromRow<'r, DB::Row>,
    {
        let (lowest, highest) = self.epochs;
        let epoch = highest + 1;
        // From here on this may be the epoch, whether the answer arrives or not.
        self.epochs.1 = epoch;
        let row: Option<OwnershipRow> = query_as(RECLAIM)
            .bind(epoch)
            .bind(self.process)
            .bind(lowest)
            .bind(highest)
            .bind(self.sequences.0)
            .bind(self.sequences.1)
            .fetch_optional(&mut *connection)
            .await?;
        match row {
            Some(row) => Ok(Reclaimed { epoch, sequence: row.sequence }),
            None => Err(self.why_not::<DB>(connection).await?.into()),
        }
    }

    /// The transaction of [`Claim::reclaim`] is committed.
    pub(super) fn reclaimed(&mut self, Reclaimed { epoch, sequence }: Reclaimed) {
        self.epochs = (epoch, epoch);
        self.sequences = (sequence, sequence);
    }

    /// Begins a commit, in the transaction that `connection` is in: proves that this process is the owner, and that all
    /// that it has committed is there.
    ///
    /// # Errors
    /// [`Error::Deposed`] or [`Error::LostTail`] if not; [`Error::Undone`] if the outcome of the commit before was
    /// unknown, and it is not there.
    pub(super) async fn advance<DB>(&mut self, connection: &mut DB::Connection) -> Result<Advance, Failure>
    where
        DB: Dialect,
        DB::Arguments: IntoArguments<DB>,
        for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
        for<'q> i64: Encode<'q, DB> + Type<DB>,
        for<'r> OwnershipRow: FromRow<'r, DB::Row>,
    {
        let row: Option<OwnershipRow> = query_as(ADVANCE)
            .bind(self.epoch())
            .bind(self.sequences.0)
            .bind(self.sequences.1)
            .fetch_optional(&mut *connection)
            .await?;
        match row {
            Some(row) => {
                // What was uncertain before is certain now.
                self.sequences = (row.sequence - 1, row.sequence - 1);
                if self.pending.take().is_some_and(|sequence| sequence == row.sequence) {
                    return Err(Error::Undone.into());
                }
                Ok(Advance { epoch: row.epoch, sequence: row.sequence })
            }
            None => Err(self.why_not::<DB>(connection).await?.into()),
        }
    }

    /// The commit is about to be made: from here on its outcome may be unknown.
    pub(super) fn committing(&mut self, Advance { sequence, .. }: Advance) {
        self.sequences = (sequence - 1, sequence);
        self.pending = Some(sequence);
    }

    /// The commit has failed for certain.
    pub(super) fn failed(&mut self, Advance { sequence, .. }: Advance) {
        self.sequences = (sequence - 1, sequence - 1);
        self.pending = None;
    }

    /// The commit is made.
    pub(super) fn committed(&mut self, Advance { sequence, .. }: Advance) {
        self.sequences = (sequence, sequence);
        self.pending = None;
    }

    /// Looks whether this process is still the owner and all that it has committed is there.
    ///
    /// # Errors
    /// [`Error::Deposed`] or [`Error::LostTail`] if not.
    pub(super) async fn check<DB>(&self, connection: &mut DB::Connection) -> Result<(), Failure>
    where
        DB: Dialect,
        DB::Arguments: IntoArguments<DB>,
        for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
        for<'r> OwnershipRow: FromRow<'r, DB::Row>,
    {
        let row = read::<DB>(connection).await?.ok_or_else(missing)?;
        Ok(self.compare(&row)?)
    }

    /// Whether the outcome of the last commit is unknown.
    pub(super) fn is_uncertain(&self) -> bool {
        self.sequences.0 != self.sequences.1
    }

    /// The epoch that commits prove.
    pub(super) fn epoch(&self) -> i64 {
        self.epochs.1
    }

    async fn why_not<DB>(&self, connection: &mut DB::Connection) -> Result<Error, Failure>
    where
        DB: Dialect,
        DB::Arguments: IntoArguments<DB>,
        for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
        for<'r> OwnershipRow: FromRow<'r, DB::Row>,
    {
        let Some(row) = read::<DB>(connection).await? else { return Ok(missing()) };
        Ok(match self.compare(&row) {
            Err(error) => error,
            // It fits now: the row has changed in between, which only an operator does.
            Ok(()) => Error::unavailable("the row of the table ownership was changed meanwhile"),
        })
    }

    /// Compares the row with what this process knows.
    fn compare(&self, row: &OwnershipRow) -> Result<(), Error> {
        let ((lowest, highest), (fewest, most)) = (self.epochs, self.sequences);
        // Another process may have taken the older database over, and committed, before this one looks.
        let found = if row.process == self.process { row.sequence } else { row.acquire_sequence };
        if row.epoch < lowest || found < fewest {
            return Err(Error::LostTail { epoch: highest, believed: fewest, found_epoch: row.epoch, found });
        }
        if row.process != self.process || row.epoch > highest || row.sequence > most {
            return Err(Error::Deposed { mine: highest, found: row.epoch, holder: row.to_string() });
        }
        Ok(())
    }
}

/// The outcome of [`Claim::reclaim`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Reclaimed {
    epoch: i64,
    sequence: i64,
}

/// A commit that has proven its ownership.
#[derive(Clone, Copy, Debug)]
pub(super) struct Advance {
    /// The epoch of the owner.
    pub(super) epoch: i64,
    /// The number of the commit.
    sequence: i64,
}

/// The row, which is missing only if somebody has removed it.
pub(super) async fn read<DB>(connection: &mut DB::Connection) -> Result<Option<OwnershipRow>, Failure>
where
    DB: Dialect,
    DB::Arguments: IntoArguments<DB>,
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
    for<'r> OwnershipRow: FromRow<'r, DB::Row>,
{
    Ok(query_as(OWNERSHIP).fetch_optional(connection).await?)
}

fn missing() -> Error {
    Error::inconsistent("ownership", "the only one", "it is not there: restore it from a backup")
}
