//! Tables as Parquet.

use std::io::Write;

use arrow_array::RecordBatch;
use parquet::{
    arrow::ArrowWriter,
    basic::{Compression, Encoding},
    errors::ParquetError,
    file::{
        metadata::KeyValue,
        properties::{EnabledStatistics, WriterProperties},
    },
    schema::types::ColumnPath,
};
use serde_json::Value;

use super::{
    column::{Column, Kind, schema},
    failed,
    files::Sink,
};
use crate::cli::failure::Failure;

/// The key of the file's metadata that says what the table is of, with its columns and their units, as JSON.
const KEY: &str = "lrs";
/// A row group is written out once it has so much in memory: what bounds the memory of an export.
const MAX_GROUP_BYTES: usize = 8 << 20;

/// A Parquet file.
pub(super) struct Parquet<W: Write + Send>(ArrowWriter<W>);

impl<W: Write + Send> Parquet<W> {
    pub(super) fn new(writer: W, columns: &[Column], about: &Value) -> Result<Self, Failure> {
        let mut properties = WriterProperties::builder()
            .set_created_by(concat!("lrs ", env!("CARGO_PKG_VERSION")).to_owned())
            .set_compression(Compression::SNAPPY)
            .set_statistics_enabled(EnabledStatistics::Chunk)
            .set_key_value_metadata(Some(vec![KeyValue::new(KEY.to_owned(), about.to_string())]));
        for column in columns.iter().filter(|column| column.kind == Kind::Whole) {
            // Steps rise by one: next to nothing as differences.
            let path = ColumnPath::from(column.name.as_str());
            properties = properties
                .set_column_dictionary_enabled(path.clone(), false)
                .set_column_encoding(path, Encoding::DELTA_BINARY_PACKED);
        }
        let writer = ArrowWriter::try_new(writer, schema(columns), Some(properties.build()))
            .map_err(|error| unwritable(&error))?;
        Ok(Self(writer))
    }
}

impl<W: Write + Send> Sink for Parquet<W> {
    fn write(&mut self, batch: &RecordBatch) -> Result<(), Failure> {
        self.0.write(batch).map_err(|error| unwritable(&error))?;
        if self.0.memory_size() > MAX_GROUP_BYTES {
            self.0.flush().map_err(|error| unwritable(&error))?;
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Result<(), Failure> {
        self.0.finish().map_err(|error| unwritable(&error))?;
        self.0.inner_mut().flush().map_err(|error| super::files::not_written(&error))
    }
}

fn unwritable(error: &ParquetError) -> Failure {
    failed(format!("can not write Parquet: {error}"))
}
