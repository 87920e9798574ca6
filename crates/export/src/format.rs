//! How a table is written.

use std::path::Path;

use clap::ValueEnum as _;

use crate::error::Error;

/// How a table is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Apache Parquet; units in the file
    Parquet,
    /// Comma-separated values; units in a file beside it
    Csv,
    /// A JSON object a line; units in a file beside it
    Jsonl,
}

impl Format {
    /// Whether this build writes the format.
    ///
    /// # Errors
    /// For Parquet in a build without the feature `parquet`.
    pub fn check(self) -> Result<(), Error> {
        if self == Self::Parquet && !cfg!(feature = "parquet") { Err(Error::NoParquet) } else { Ok(()) }
    }

    /// The end of its files' names.
    #[must_use]
    pub fn extension(self) -> &'static str {
        match self {
            Self::Parquet => "parquet",
            Self::Csv => "csv",
            Self::Jsonl => "jsonl",
        }
    }

    /// The format that the end of a file's name stands for.
    #[must_use]
    pub fn of_name(path: &Path) -> Option<Self> {
        let extension = path.extension()?;
        Self::value_variants().iter().copied().find(|format| extension == format.extension())
    }

    /// Whether a file in this format says itself which columns it has, so that no file beside it has to.
    pub(crate) fn describes_itself(self) -> bool {
        self == Self::Parquet
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_file_says_its_format() {
        for (name, format) in
            [("a.csv", Some(Format::Csv)), ("b.parquet", Some(Format::Parquet)), ("c", None), ("d.txt", None)]
        {
            assert_eq!(Format::of_name(Path::new(name)), format, "{name}");
        }
    }
}
