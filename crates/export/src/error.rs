//! Why an export failed.

use std::{io, path::PathBuf};

/// Why an export failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or a directory cannot be written.
    #[error("cannot write {}", path.display())]
    File {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Rows cannot be written.
    #[error("cannot write")]
    Write(#[source] io::Error),
    /// A row cannot be written as CSV.
    #[error("cannot write CSV: {0:?}")]
    Csv(csv::ErrorKind),
    /// A row or a decision cannot be written as JSON.
    #[error("cannot write JSON")]
    Json(#[source] serde_json::Error),
    /// A table cannot be written as Parquet.
    #[cfg(feature = "parquet")]
    #[error("cannot write Parquet")]
    Parquet(#[source] parquet::errors::ParquetError),
    /// The program was built without the feature `parquet`.
    #[error(
        "this build of lrs cannot write Parquet: build it with the cargo feature `parquet`, which is on by default"
    )]
    NoParquet,
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::Write(error)
    }
}

impl From<csv::Error> for Error {
    fn from(error: csv::Error) -> Self {
        match error.into_kind() {
            csv::ErrorKind::Io(error) => Self::Write(error),
            other => Self::Csv(other),
        }
    }
}

impl From<serde_json::Error> for Error {
    fn from(error: serde_json::Error) -> Self {
        Self::Json(error)
    }
}
