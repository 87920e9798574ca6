//! The versions of the schema: those applied, and those pending.

use sqlx::{
    FromRow,
    migrate::{Migrate, MigrateError, Migrator},
};

use super::{Error, dialect::Dialect, failure::Failure};

pub(super) const WHAT: &str = "to migrate";
pub(super) const TABLE: &str = "_sqlx_migrations";

pub(super) const APPLIED: &str = "
    -- applied_migrations
    select version, description from _sqlx_migrations order by version";

/// A migration: one change of the schema.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct Migration {
    /// Its number. Migrations are applied by rising number.
    pub version: i64,
    /// A few words on what it changes.
    pub description: String,
}

/// How far a database's schema has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schema {
    /// The migrations applied, the first one first.
    pub applied: Vec<Migration>,
    /// The migrations still to be applied, in order.
    pub pending: Vec<Migration>,
}

impl Schema {
    /// The schema with these migrations applied.
    ///
    /// # Errors
    /// [`Error::NewerSchema`] if more was applied than this program knows of.
    pub(super) fn of(applied: Vec<Migration>, migrator: &Migrator) -> Result<Self, Error> {
        let known = newest(migrator);
        if let Some(found) = applied.last().map(|migration| migration.version).filter(|&found| found > known) {
            return Err(Error::NewerSchema { found, known });
        }
        let pending = migrator
            .iter()
            .filter(|migration| applied.iter().all(|done| done.version != migration.version))
            .map(|migration| Migration {
                version: migration.version,
                description: migration.description.clone().into_owned(),
            })
            .collect();
        Ok(Self { applied, pending })
    }

    /// The schema, if it is this release's.
    ///
    /// # Errors
    /// [`Error::OlderSchema`] if something is pending.
    pub(super) fn complete(self) -> Result<Self, Error> {
        match self.pending.last() {
            None => Ok(self),
            Some(newest) => Err(Error::OlderSchema {
                found: self.applied.last().map_or(0, |migration| migration.version),
                wanted: newest.version,
            }),
        }
    }
}

/// The names of the indices that there are after the migrations.
pub(super) fn index_names(migrator: &Migrator) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for line in migrator.iter().flat_map(|migration| migration.sql.as_str().lines()) {
        if let Some((name, _)) = line.strip_prefix("create index ").and_then(|made| made.split_once(" on ")) {
            names.push(name.to_owned());
        } else if let Some((name, _)) = line.strip_prefix("drop index ").and_then(|gone| gone.split_once(';')) {
            names.retain(|made| made != name);
        }
    }
    names
}

/// Applies what is pending in `schema`. The migrator takes the database's lock where it has one. `who` is who does it,
/// in words.
pub(super) async fn apply<DB: Dialect<Connection: Migrate>>(
    connection: &mut DB::Connection,
    migrator: &Migrator,
    schema: &Schema,
    who: &str,
) -> Result<(), Error> {
    migrator.run_direct(None, connection, false).await.map_err(|error| match error {
        MigrateError::VersionMissing(found) => Error::NewerSchema { found, known: newest(migrator) },
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => {
            match DB::explain_opening(Failure::Sql(error), WHAT, TABLE) {
                Error::Denied(why) => Error::denied(format!(
                    "its schema is at version {}, version {} is needed, and {who} may not migrate it ({why}): run \
                     `lrs migrate` as a role that may",
                    schema.applied.last().map_or(0, |migration| migration.version),
                    newest(migrator),
                )),
                error => error,
            }
        }
        other => Error::refused(WHAT, other),
    })
}

/// The newest version among the migrations.
pub(super) fn newest(migrator: &Migrator) -> i64 {
    migrator.iter().map(|migration| migration.version).max().unwrap_or(0)
}
