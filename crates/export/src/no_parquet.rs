//! The place of `parquet` in a build without that feature: no table can be written as Parquet.

use std::io::Write;

use serde_json::Value;

use crate::{column::Column, error::Error, rows::Rows, sink::Sink};

/// A Parquet file, of which there are none in this build.
pub(crate) enum Parquet {}

impl Parquet {
    /// Fails with [`Error::NoParquet`].
    pub(crate) fn new(_writer: impl Write, _columns: &[Column], _about: &Value) -> Result<Self, Error> {
        Err(Error::NoParquet)
    }
}

impl Sink for Parquet {
    fn write(&mut self, _rows: Rows) -> Result<(), Error> {
        match *self {}
    }

    fn finish(self: Box<Self>) -> Result<(), Error> {
        match *self {}
    }
}
