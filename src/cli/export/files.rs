//! Where tables go: files, which are there whole or not at all, or standard output.

use std::{
    fs::{self, File},
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

use arrow_array::RecordBatch;
use serde_json::Value;

use super::{
    column::Column,
    failed,
    parquet::Parquet,
    text::{Csv, JsonLines},
};
use crate::cli::failure::Failure;

/// How a table is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Format {
    /// Apache Parquet; units in the file
    Parquet,
    /// Comma-separated values; units in a file beside it
    Csv,
    /// A JSON object a line; units in a file beside it
    Jsonl,
}

impl Format {
    /// How its files' names end.
    pub(super) fn extension(self) -> &'static str {
        match self {
            Self::Parquet => "parquet",
            Self::Csv => "csv",
            Self::Jsonl => "jsonl",
        }
    }

    /// What the end of a file's name says.
    pub(super) fn of_name(path: &Path) -> Option<Self> {
        let extension = path.extension()?;
        [Self::Parquet, Self::Csv, Self::Jsonl].into_iter().find(|format| extension == format.extension())
    }

    /// Whether its files say themselves what is in them.
    pub(super) fn describes_itself(self) -> bool {
        self == Self::Parquet
    }
}

/// What takes the rows of a table.
pub(super) trait Sink {
    /// Takes rows.
    fn write(&mut self, batch: &RecordBatch) -> Result<(), Failure>;
    /// Writes what is left.
    fn finish(self: Box<Self>) -> Result<(), Failure>;
}

/// A table being written.
pub(super) struct Output {
    sink: Box<dyn Sink>,
    path: Option<PathBuf>,
}

impl Output {
    /// A table in the file at `path`, or on standard output.
    pub(super) fn open(
        path: Option<&Path>,
        format: Format,
        columns: &[Column],
        about: &Value,
    ) -> Result<Self, Failure> {
        let writer: Box<dyn Write + Send> = match path {
            Some(path) => Box::new(create(path)?),
            None => Box::new(BufWriter::new(io::stdout())),
        };
        let sink: Box<dyn Sink> = match format {
            Format::Parquet => Box::new(Parquet::new(writer, columns, about)?),
            Format::Csv => Box::new(Csv::new(writer, columns.to_vec())?),
            Format::Jsonl => Box::new(JsonLines::new(writer, columns.to_vec())),
        };
        Ok(Self { sink, path: path.map(Path::to_owned) })
    }

    /// Takes rows.
    pub(super) fn write(&mut self, batch: &RecordBatch) -> Result<(), Failure> {
        self.sink.write(batch)
    }

    /// Writes what is left, and lets the file take its name.
    pub(super) fn finish(self) -> Result<(), Failure> {
        self.sink.finish()?;
        match &self.path {
            Some(path) => complete(path),
            None => Ok(()),
        }
    }
}

/// A file that takes the name `path` once it is [`complete`].
pub(super) fn create(path: &Path) -> Result<BufWriter<File>, Failure> {
    File::create(part_of(path)).map(BufWriter::new).map_err(|error| unwritable(path, &error))
}

/// Lets a file take its name, in place of what had it.
pub(super) fn complete(path: &Path) -> Result<(), Failure> {
    fs::rename(part_of(path), path).map_err(|error| unwritable(path, &error))
}

/// What a file is called until it is whole.
fn part_of(path: &Path) -> PathBuf {
    with_ending(path, ".part")
}

/// `path` with `ending` after its name.
pub(super) fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

/// Writes a JSON document.
pub(super) fn write_document(path: &Path, document: &Value) -> Result<(), Failure> {
    fs::write(path, format!("{document:#}\n")).map_err(|error| unwritable(path, &error))
}

/// A file or directory that can not be written.
pub(super) fn unwritable(path: &Path, error: &io::Error) -> Failure {
    failed(format!("can not write {}: {error}", path.display()))
}

/// Rows that could not be written. A reader of standard output that has enough is no failure to speak of.
pub(super) fn not_written(error: &io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::reader_left(),
        _ => failed(format!("can not write: {error}")),
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
