//! What can go wrong in a database.

use lrs_runtime::error::Cause;

/// Why a database did not do what it was asked for. `Display` leaves the cause out: it may show SQL.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The database cannot be reached, or cannot answer now. Nothing was written.
    #[error("the database is not available")]
    Unavailable(#[source] Cause),
    /// The database is there, but others held up what was asked for: a lock was not free in time, transactions ran into
    /// one another, or a statement took too long. Nothing was written.
    #[error("the database is busy")]
    Busy(#[source] Cause),
    /// The database was lost while it committed. Whether the writes are stored is unknown: write them again.
    #[error("it is unknown whether the database has committed")]
    OutcomeUnknown(#[source] Cause),
    /// Whoever asked for the writes has withdrawn them; see [`Store::commit_if`](super::Store::commit_if). Nothing was
    /// written.
    #[error("the writes were withdrawn before they were committed")]
    Withdrawn,
    /// It is known by now that the commit before, whose outcome was unknown, has stored nothing; nor has this one.
    #[error("the commit before was not stored")]
    Undone,
    /// The database does not let this program in: a wrong password, no such database, a right that is missing. Only a
    /// person can mend that.
    #[error("the database does not let lrs in")]
    Denied(#[source] Cause),
    /// A row that was read makes no sense.
    #[error("table {table}, row {id} cannot be understood")]
    Inconsistent {
        /// The table.
        table: &'static str,
        /// The row's key, readable.
        id: String,
        /// What is wrong with the row.
        #[source]
        problem: Cause,
    },
    /// The schema is of a newer release than this program.
    #[error(
        "the database has schema version {found}, this program knows versions up to {known}: \
         upgrade lrs, or point it at another database"
    )]
    NewerSchema {
        /// Highest version found.
        found: i64,
        /// Highest version known.
        known: i64,
    },
    /// The schema is of an older release than this program, and was not to be changed.
    #[error("the database has schema version {found}, this program reads version {wanted}: run `lrs migrate` first")]
    OlderSchema {
        /// Highest version found; 0 for none.
        found: i64,
        /// The version wanted.
        wanted: i64,
    },
    /// Another server has the database open; see [`Kind::waits_for_owner`](super::Kind::waits_for_owner).
    #[error("another lrs server has this database open: {holder}; only one can use it at a time")]
    Taken {
        /// The other server, in words.
        holder: String,
    },
    /// Another process has taken the database over. Nothing that this process remembers counts any more: it begins
    /// anew, by opening the database again.
    #[error("this server, of epoch {mine}, is not the owner of the database any more: {holder}")]
    Deposed {
        /// The epoch of this process.
        mine: i64,
        /// The epoch found.
        found: i64,
        /// What became of it, in words: whose the epoch is that was found.
        holder: String,
    },
    /// The database has gone back to an earlier state, as after a failover that lost commits, or when a backup was
    /// restored. Nothing that this process remembers counts any more: it begins anew, by opening the database again.
    #[error(
        "the database has gone back to commit {found} of epoch {found_epoch}, and this server had stored commit \
         {believed} of epoch {epoch}: it was restored, or a failover lost its newest commits"
    )]
    LostTail {
        /// The epoch of this process.
        epoch: i64,
        /// How many commits this process knows to be durable.
        believed: i64,
        /// The epoch found.
        found_epoch: i64,
        /// How many commits are there.
        found: i64,
    },
    /// A row that was to be stored is there already, with other contents.
    #[error("table {table}, row {id} is stored already, with other contents")]
    Differs {
        /// The table.
        table: &'static str,
        /// The row's key, readable.
        id: String,
        /// What differs.
        #[source]
        problem: Cause,
    },
    /// The database refused, and would refuse again.
    #[error("the database refused {what}")]
    Refused {
        /// What was being done.
        what: &'static str,
        /// Why it was refused.
        #[source]
        problem: Cause,
    },
}

type Reason = Box<dyn std::error::Error + Send + Sync>;

impl Error {
    /// [`Error::Unavailable`], for an error or a text.
    pub fn unavailable(why: impl Into<Reason>) -> Self {
        Self::Unavailable(Cause::new(why))
    }

    /// [`Error::Busy`], for an error or a text.
    pub fn busy(why: impl Into<Reason>) -> Self {
        Self::Busy(Cause::new(why))
    }

    /// [`Error::Denied`], for an error or a text.
    pub fn denied(why: impl Into<Reason>) -> Self {
        Self::Denied(Cause::new(why))
    }

    /// [`Error::OutcomeUnknown`], for an error or a text.
    pub fn outcome_unknown(why: impl Into<Reason>) -> Self {
        Self::OutcomeUnknown(Cause::new(why))
    }

    /// [`Error::Inconsistent`], for an error or a text.
    pub fn inconsistent(table: &'static str, id: impl Into<String>, problem: impl Into<Reason>) -> Self {
        Self::Inconsistent { table, id: id.into(), problem: Cause::new(problem) }
    }

    /// [`Error::Refused`], for an error or a text.
    pub fn refused(what: &'static str, problem: impl Into<Reason>) -> Self {
        Self::Refused { what, problem: Cause::new(problem) }
    }

    /// [`Error::Differs`], for an error or a text.
    pub fn differs(table: &'static str, id: impl Into<String>, problem: impl Into<Reason>) -> Self {
        Self::Differs { table, id: id.into(), problem: Cause::new(problem) }
    }

    /// Whether the store is of no use any more, because what this process remembers is not what the database has.
    #[must_use]
    pub fn ends_ownership(&self) -> bool {
        matches!(self, Self::Deposed { .. } | Self::LostTail { .. })
    }

    /// Whether the same call may succeed later.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::Busy(_) | Self::OutcomeUnknown(_) | Self::Undone)
    }
}
