//! Where the data is. A password in the address is never shown.

use std::{fmt, path::Path, str::FromStr, sync::Arc};

use lrs_runtime::{error::Cause, secret::redacted};

use super::{
    Error, Store,
    inspection::Inspection,
    kind::{Kind, Location},
    schema::Schema,
    stores::KINDS,
};

/// The address of a database that can be opened. `Display` and `Debug` leave the password out.
#[derive(Clone)]
pub struct DatabaseUrl {
    shown: String,
    kind: &'static Kind,
    location: Arc<dyn Location>,
}

/// Why a text is no address of a database.
#[derive(Clone, Debug, thiserror::Error)]
pub enum InvalidUrl {
    /// It begins with none of the known schemes.
    #[error("{shown:?} is not allowed: must be such as {}", database_urls())]
    Scheme {
        /// The text without its password.
        shown: String,
    },
    /// The rest does not fit its scheme.
    #[error("{shown:?} is not allowed: must be such as {}", kind.example)]
    Rest {
        /// The text without its password.
        shown: String,
        /// The kind of the scheme.
        kind: &'static Kind,
        /// What is wrong with it.
        source: Cause,
    },
    /// The path of the directory cannot be part of a URL.
    #[error("the directory {0} is not UTF-8")]
    Directory(String),
}

impl DatabaseUrl {
    /// The database that is used where none is set: in a file below `directory`, which is made when the database is
    /// opened.
    ///
    /// # Errors
    /// If the path of the directory is not UTF-8.
    pub fn in_directory(directory: &Path) -> Result<Self, InvalidUrl> {
        let path = directory.to_str().ok_or_else(|| InvalidUrl::Directory(directory.display().to_string()))?;
        let url = KINDS.iter().find_map(|kind| kind.url_in(path));
        url.unwrap_or_default().parse()
    }

    /// The kind of the database.
    #[must_use]
    pub fn kind(&self) -> &'static Kind {
        self.kind
    }

    /// Opens the database for this process alone, with the newest schema.
    ///
    /// # Errors
    /// [`Error::Taken`] if another server has the database open; [`Error::NewerSchema`]; [`Error::Unavailable`] if the
    /// database does not answer within a few seconds; [`Error::Denied`] if waiting for it is of no use.
    pub async fn open(&self) -> Result<Arc<dyn Store>, Error> {
        self.location.open().await
    }

    /// Opens the database to be looked at, as it is now; others may have it open.
    ///
    /// # Errors
    /// As for [`open`](Self::open), and [`Error::Refused`] if there is no database, or its schema lacks migrations.
    pub async fn inspect(&self) -> Result<Box<dyn Inspection>, Error> {
        self.location.inspect().await
    }

    /// Reads how far the schema has come. Changes nothing, and creates no file.
    ///
    /// # Errors
    /// As for [`open`](Self::open), except that others may have it open.
    pub async fn schema(&self) -> Result<Schema, Error> {
        self.location.schema().await
    }

    /// Applies what is pending, and tells how far the schema had come before.
    ///
    /// # Errors
    /// As for [`open`](Self::open), except that a PostgreSQL database may be open elsewhere.
    pub async fn migrate(&self) -> Result<Schema, Error> {
        self.location.migrate().await
    }
}

impl FromStr for DatabaseUrl {
    type Err = InvalidUrl;

    fn from_str(url: &str) -> Result<Self, InvalidUrl> {
        let shown = redacted(url);
        let scheme = url.split_once(':').map_or("", |(scheme, _)| scheme);
        let Some(&kind) = KINDS.iter().find(|kind| kind.schemes.contains(&scheme)) else {
            return Err(InvalidUrl::Scheme { shown });
        };
        match (kind.locate)(url) {
            Ok(location) => Ok(Self { shown, kind, location }),
            Err(source) => Err(InvalidUrl::Rest { shown, kind, source }),
        }
    }
}

impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DatabaseUrl({self})")
    }
}

/// Every kind of database.
#[must_use]
pub fn kinds() -> &'static [&'static Kind] {
    KINDS
}

/// A URL of each kind of database, for help and messages: `sqlite:… or postgres:…`.
#[must_use]
pub fn database_urls() -> String {
    KINDS.iter().map(|kind| kind.example).collect::<Vec<_>>().join(" or ")
}

/// The newest schema version that this program knows, the same for all kinds.
#[must_use]
pub fn newest_schema_version() -> i64 {
    KINDS.iter().map(|kind| super::schema::newest(kind.migrations)).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use lrs_runtime::error::chain;

    use super::*;

    #[test]
    fn a_url_says_which_database_it_means() {
        for (url, name) in [
            ("sqlite:///var/lib/lrs.db", "SQLite"),
            ("sqlite:data/größe%201.db", "SQLite"),
            ("postgres://lrs@localhost/lrs", "PostgreSQL"),
            ("postgresql://localhost:5433/x?sslmode=disable", "PostgreSQL"),
        ] {
            assert_eq!(url.parse::<DatabaseUrl>().unwrap().kind().name, name, "{url}");
        }
    }

    #[test]
    fn a_password_is_never_shown() {
        for (url, shown) in [
            ("postgres://u:s3cret@h:5432/d", "postgres://u:***@h:5432/d"),
            ("postgres://u:s3c@ret/x@h/d?sslmode=require", "postgres://u:***@h/d?sslmode=require"),
            ("postgresql://h/d?user=u&password=s3cret", "postgresql://h/d?user=u&password=***"),
            ("postgres://u@h/d", "postgres://u@h/d"),
            ("sqlite:///a/b.db?mode=rwc", "sqlite:///a/b.db?mode=rwc"),
        ] {
            let parsed: DatabaseUrl = url.parse().unwrap();
            assert_eq!(parsed.to_string(), shown);
            assert!(!format!("{parsed:?}").contains("s3c"), "{parsed:?}");
        }
    }

    #[test]
    fn another_url_is_refused_with_what_is_allowed_and_without_its_password() {
        for (url, allowed) in [
            ("", "sqlite:"),
            ("lrs.db", "postgres://"),
            ("mysql://u:s3cret@h/d", "\"mysql://u:***@h/d\" is not allowed"),
            ("sqlite::memory:", "a SQLite database must be a file"),
            ("sqlite://", "a SQLite database must be a file"),
            ("postgres://u:s3cret@h:notaport/d", "must be such as postgres://"),
            ("postgres://u:s3c?ret@h/d", "\"postgres:***\" is not allowed"),
            ("u:s3cret@h/d", "\"u:***@h/d\" is not allowed"),
        ] {
            let error = chain(&url.parse::<DatabaseUrl>().unwrap_err());
            assert!(error.contains(allowed) && !error.contains("s3c"), "{url}: {error}");
        }
    }

    #[test]
    fn the_default_is_a_file_whatever_its_directory_is_called() {
        let url = DatabaseUrl::in_directory(Path::new("/a b/50%?#")).unwrap();
        assert_eq!(url.to_string(), "sqlite:///a b/50%25%3F%23/lrs.db");
    }
}
