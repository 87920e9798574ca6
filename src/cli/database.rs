//! The database, for the commands that open it themselves.

use super::failure::Failure;
use crate::config::{self, SecretUrl, Text};
use lrs_store as store;
use lrs_store::DatabaseUrl;

/// Which database.
#[derive(Clone, Debug, clap::Args)]
pub struct DatabaseArgs {
    /// The address of the database.
    #[arg(long, env = "LRS_DATABASE_URL", value_name = "URL", hide_env_values = true, help = help(), value_parser = Text::<SecretUrl>::new())]
    pub database_url: Option<SecretUrl>,
}

impl DatabaseArgs {
    /// The address of the database.
    ///
    /// # Errors
    /// If it is neither a PostgreSQL nor a SQLite address.
    pub fn url(&self) -> Result<DatabaseUrl, Failure> {
        config::database_url(self.database_url.as_deref()).map_err(|problem| {
            let place = config::place_of("--database-url", "LRS_DATABASE_URL");
            Failure::invalid(format!("{place}: {problem}"))
        })
    }
}

fn help() -> String {
    format!("The database: {} [default: the file that `lrs serve` uses]", store::database_urls())
}
