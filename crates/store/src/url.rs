//! Which database a URL means.

use std::{path::PathBuf, str::FromStr, sync::Arc};

use sqlx::{postgres::PgConnectOptions, sqlite::SqliteConnectOptions};

use super::{Error, Store, inspection::Inspection, postgres::PostgresStore, schema::Schema, sqlite::SqliteStore};

/// A database, by its URL.
#[derive(Clone, Debug)]
enum Location {
    Postgres(Box<PgConnectOptions>),
    Sqlite(PathBuf),
}

/// Opens the database at `database_url`, `sqlite://{path}` or `postgres://…`, for this process alone, with the newest schema.
///
/// # Errors
/// [`Error::Refused`] if the URL is of another kind, or another server has the database open; [`Error::NewerSchema`];
/// [`Error::Unavailable`] if the database does not answer within a few seconds.
pub async fn open(database_url: &str) -> Result<Arc<dyn Store>, Error> {
    Ok(match database_url.parse()? {
        Location::Postgres(options) => Arc::new(PostgresStore::open(*options).await?),
        Location::Sqlite(path) => Arc::new(SqliteStore::open(&path).await?),
    })
}

/// Opens the database at `database_url` to be looked at, as it is now; others may have it open.
///
/// # Errors
/// As for [`open`], and [`Error::Refused`] if there is no file, or its schema lacks migrations.
pub async fn inspect(database_url: &str) -> Result<Box<dyn Inspection>, Error> {
    Ok(match database_url.parse()? {
        Location::Postgres(options) => Box::new(super::postgres::inspect(*options).await?),
        Location::Sqlite(path) => Box::new(super::sqlite::inspect(&path).await?),
    })
}

/// How far the schema at `database_url` has come. Changes nothing, and creates no file.
///
/// # Errors
/// As for [`open`], but that others may have it open.
pub async fn schema(database_url: &str) -> Result<Schema, Error> {
    match database_url.parse()? {
        Location::Postgres(options) => super::postgres::schema(&options).await,
        Location::Sqlite(path) => super::sqlite::schema(&path).await,
    }
}

/// Applies what is pending at `database_url`, and tells how far the schema had come before.
///
/// # Errors
/// As for [`open`], but that a PostgreSQL database may be open elsewhere.
pub async fn migrate(database_url: &str) -> Result<Schema, Error> {
    match database_url.parse()? {
        Location::Postgres(options) => super::postgres::migrate(&options).await,
        Location::Sqlite(path) => super::sqlite::migrate(&path).await,
    }
}

impl FromStr for Location {
    type Err = Error;

    fn from_str(url: &str) -> Result<Self, Error> {
        // The URL itself stays out of the errors: it may hold a password.
        let refused = |problem: String| Error::Refused { what: "to be opened", problem: format!("its URL: {problem}") };
        let scheme = url.split_once(':').map_or("", |(scheme, _)| scheme);
        match scheme {
            "postgres" | "postgresql" => {
                let options = url.parse().map_err(|error: sqlx::Error| refused(error.to_string()))?;
                Ok(Self::Postgres(Box::new(options)))
            }
            "sqlite" => {
                let options: SqliteConnectOptions =
                    url.parse().map_err(|error: sqlx::Error| refused(error.to_string()))?;
                let path = options.get_filename();
                // The driver's names for databases in memory.
                if path.as_os_str().is_empty() || path.to_string_lossy().starts_with("file:") {
                    return Err(refused(
                        "a SQLite database must be a file, such as sqlite:///var/lib/lrs/lrs.db".to_owned(),
                    ));
                }
                Ok(Self::Sqlite(path.to_owned()))
            }
            _ => Err(refused("must begin with sqlite:// or postgres://".to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_says_which_database_it_means() {
        let sqlite = |url: &str| match url.parse() {
            Ok(Location::Sqlite(path)) => path,
            other => panic!("{url}: {other:?}"),
        };
        assert_eq!(sqlite("sqlite:///var/lib/lrs.db"), PathBuf::from("/var/lib/lrs.db"));
        assert_eq!(sqlite("sqlite://lrs.db"), PathBuf::from("lrs.db"));
        assert_eq!(sqlite("sqlite:data/größe%201.db"), PathBuf::from("data/größe 1.db"));
        for url in ["postgres://lrs@localhost/lrs", "postgresql://localhost:5433/x?sslmode=disable"] {
            assert!(matches!(url.parse(), Ok(Location::Postgres(_))), "{url}");
        }
    }

    #[test]
    fn another_url_is_refused_without_being_repeated() {
        for url in
            ["", "lrs.db", "mysql://u:secret@h/d", "sqlite::memory:", "sqlite://", "postgres://u:secret@h:notaport/d"]
        {
            let error = url.parse::<Location>().unwrap_err().to_string();
            assert!(error.contains("its URL") && !error.contains("secret"), "{url}: {error}");
        }
    }
}
