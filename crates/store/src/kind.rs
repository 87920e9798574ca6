//! A kind of database: what the rest of the program needs to know of it, and nothing else does.

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use lrs_runtime::error::Cause;
use sqlx::migrate::Migrator;

use super::{Error, Store, inspection::Inspection, schema::Schema};

/// A kind of database. Each is a folder below `stores/` and a row in `KINDS` of `stores.rs`.
pub struct Kind {
    /// Its name in messages, such as `PostgreSQL`.
    pub name: &'static str,
    /// How its URLs begin, before the colon.
    pub schemes: &'static [&'static str],
    /// A URL of it, for help and messages.
    pub example: &'static str,
    /// Reads a URL that begins with one of the schemes.
    pub(crate) locate: fn(&str) -> Result<Arc<dyn Location>, Cause>,
    /// The URL of a database in a directory, if this kind needs no server.
    pub(crate) in_directory: Option<fn(&str) -> String>,
    /// Whether a second server is of use: it waits until the first has gone, and takes over. Otherwise it is refused.
    pub waits_for_owner: bool,
    /// Its migrations, with the same numbers as those of all other kinds.
    pub(crate) migrations: &'static Migrator,
    /// How tests damage it.
    #[doc(hidden)]
    pub damage: Damage,
}

impl Kind {
    /// The URL of a database in `directory`, if this kind needs no server.
    #[must_use]
    pub fn url_in(&self, directory: &str) -> Option<String> {
        Some(self.in_directory?(directory))
    }
}

impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// SQL that does what the store never does, for tests that look whether damage is found.
#[doc(hidden)]
pub struct Damage {
    /// The column `steps` without any step.
    pub no_steps: &'static str,
    /// The column `steps` with something that is no list of rising steps.
    pub wrong_steps: &'static str,
    /// Has the session take rows away without looking at foreign keys.
    pub without_foreign_keys: &'static str,
    /// Damages an index in the file, if the database can find that by itself.
    pub in_file: Option<&'static str>,
}

/// Where a database is. Nothing is opened yet.
#[async_trait]
pub(crate) trait Location: Send + Sync {
    /// See [`DatabaseUrl::open`](super::DatabaseUrl::open).
    async fn open(&self) -> Result<Arc<dyn Store>, Error>;

    /// See [`DatabaseUrl::inspect`](super::DatabaseUrl::inspect).
    async fn inspect(&self) -> Result<Box<dyn Inspection>, Error>;

    /// See [`DatabaseUrl::schema`](super::DatabaseUrl::schema).
    async fn schema(&self) -> Result<Schema, Error>;

    /// See [`DatabaseUrl::migrate`](super::DatabaseUrl::migrate).
    async fn migrate(&self) -> Result<Schema, Error>;
}
