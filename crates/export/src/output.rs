//! A table on its way into a file or to standard output.

use std::{
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

use serde_json::Value;

use crate::{
    column::Column,
    error::Error,
    file,
    format::Format,
    parquet::Parquet,
    rows::Rows,
    sink::Sink,
    text::{Csv, JsonLines},
};

/// A table being written.
pub(crate) struct Output {
    sink: Box<dyn Sink>,
    path: Option<PathBuf>,
}

impl Output {
    /// A table in the file at `path`, or on standard output. `about` says what the table is of.
    pub(crate) fn open(path: Option<&Path>, format: Format, columns: &[Column], about: &Value) -> Result<Self, Error> {
        format.check()?;
        let writer: Box<dyn Write + Send> = match path {
            Some(path) => Box::new(file::create(path)?),
            None => Box::new(BufWriter::new(io::stdout())),
        };
        let sink: Box<dyn Sink> = match format {
            Format::Csv => Box::new(Csv::new(writer, columns.to_vec())?),
            Format::Jsonl => Box::new(JsonLines::new(writer, columns.to_vec())),
            Format::Parquet => Box::new(Parquet::new(writer, columns, about)?),
        };
        Ok(Self { sink, path: path.map(Path::to_owned) })
    }

    /// Writes rows.
    pub(crate) fn write(&mut self, rows: Rows) -> Result<(), Error> {
        self.sink.write(rows)
    }

    /// Writes the rest, and lets the file take its name.
    pub(crate) fn finish(self) -> Result<(), Error> {
        self.sink.finish()?;
        match &self.path {
            Some(path) => file::complete(path),
            None => Ok(()),
        }
    }
}
