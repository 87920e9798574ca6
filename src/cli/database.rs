//! The database, for the commands that open it themselves.

use super::failure::{Exit, Failure};
use crate::config::DatabaseUrl;
use lrs_store as store;

/// Which database.
#[derive(Clone, Debug, clap::Args)]
pub struct DatabaseArgs {
    /// The database: `postgres://…` or `sqlite://PATH` [default: the file that `lrs serve` uses]
    #[arg(long, env = "LRS_DATABASE_URL", value_name = "URL", hide_env_values = true)]
    pub database_url: Option<String>,
}

impl DatabaseArgs {
    /// The address of the database.
    ///
    /// # Errors
    /// If it is neither a PostgreSQL nor a SQLite address.
    pub fn url(&self) -> Result<DatabaseUrl, Failure> {
        match &self.database_url {
            Some(url) => DatabaseUrl::parse(url),
            None => DatabaseUrl::in_data_directory(),
        }
        .map_err(|problem| Failure::invalid(format!("--database-url {problem}")))
    }
}

/// A database's error as a failure.
#[must_use]
pub fn explain(error: store::Error) -> Failure {
    let exit = match error {
        store::Error::Unavailable(_) => Exit::Unavailable,
        store::Error::NewerSchema { .. } | store::Error::OlderSchema { .. } => Exit::Conflict,
        store::Error::Inconsistent { .. } | store::Error::Refused { .. } => Exit::Failed,
    };
    Failure::new(exit, error)
}
