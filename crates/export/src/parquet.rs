//! Tables as Parquet.

use std::{io::Write, mem, sync::Arc};

use parquet::{
    basic::{Compression, Encoding, LogicalType, Repetition, TimeUnit, Type as PhysicalType},
    data_type::{ByteArray, ByteArrayType, DataType, DoubleType, Int64Type},
    errors::ParquetError,
    file::{
        metadata::KeyValue,
        properties::{EnabledStatistics, WriterProperties},
        writer::{SerializedFileWriter, SerializedRowGroupWriter},
    },
    schema::types::{ColumnPath, Type, TypePtr},
};
use serde_json::Value;

use crate::{
    arrow_schema,
    column::{Column, Kind},
    error::Error,
    rows::{Rows, Values},
    sink::Sink,
};

/// The key of the file's metadata that says what the table is of, with its columns and their units, as JSON.
const KEY: &str = "lrs";
/// A row group is written once its values take about so much memory, which bounds the memory of an export.
const MAX_GROUP_BYTES: usize = 8 << 20;

/// A Parquet file.
pub(crate) struct Parquet<W: Write + Send> {
    writer: SerializedFileWriter<W>,
    is_required: Vec<bool>,
    /// The rows of the next row group.
    pending: Vec<Rows>,
    pending_bytes: usize,
}

impl<W: Write + Send> Parquet<W> {
    /// A file with these columns; `about` says what the table is of.
    pub(crate) fn new(writer: W, columns: &[Column], about: &Value) -> Result<Self, Error> {
        let metadata = vec![
            KeyValue::new(KEY.to_owned(), about.to_string()),
            KeyValue::new(arrow_schema::KEY.to_owned(), arrow_schema::encode(columns)),
        ];
        let mut properties = WriterProperties::builder()
            .set_created_by(concat!("lrs ", env!("CARGO_PKG_VERSION")).to_owned())
            .set_compression(Compression::SNAPPY)
            .set_statistics_enabled(EnabledStatistics::Chunk)
            .set_key_value_metadata(Some(metadata));
        for column in columns.iter().filter(|column| column.kind == Kind::Whole) {
            // Steps rise by one: next to nothing as differences.
            let path = ColumnPath::from(column.name.as_str());
            properties = properties
                .set_column_dictionary_enabled(path.clone(), false)
                .set_column_encoding(path, Encoding::DELTA_BINARY_PACKED);
        }
        let writer = SerializedFileWriter::new(writer, schema(columns)?, Arc::new(properties.build()))?;
        let is_required = columns.iter().map(Column::is_required).collect();
        Ok(Self { writer, is_required, pending: Vec::new(), pending_bytes: 0 })
    }

    /// Writes the rows that are pending as a row group.
    fn write_group(&mut self) -> Result<(), Error> {
        self.pending_bytes = 0;
        let rows = mem::take(&mut self.pending);
        let mut group = self.writer.next_row_group()?;
        for (place, is_required) in self.is_required.iter().enumerate() {
            let values = rows.iter().filter_map(|rows| rows.0.get(place));
            write_column(&mut group, *is_required, values)?;
        }
        group.close()?;
        Ok(())
    }
}

impl<W: Write + Send> Sink for Parquet<W> {
    fn write(&mut self, rows: Rows) -> Result<(), Error> {
        self.pending_bytes += rows.0.iter().map(memory).sum::<usize>();
        self.pending.push(rows);
        if self.pending_bytes > MAX_GROUP_BYTES { self.write_group() } else { Ok(()) }
    }

    fn finish(mut self: Box<Self>) -> Result<(), Error> {
        if self.pending.iter().any(|rows| rows.len() > 0) {
            self.write_group()?;
        }
        self.writer.finish()?;
        Ok(self.writer.inner_mut().flush()?)
    }
}

/// The columns as Parquet's types.
fn schema(columns: &[Column]) -> Result<TypePtr, Error> {
    let field = |column: &Column| {
        let (physical, logical) = match column.kind {
            Kind::Whole => (PhysicalType::INT64, None),
            Kind::Number => (PhysicalType::DOUBLE, None),
            Kind::Text | Kind::Json => (PhysicalType::BYTE_ARRAY, Some(LogicalType::String)),
            Kind::Time => (PhysicalType::INT64, Some(LogicalType::timestamp(true, TimeUnit::MICROS))),
        };
        let repetition = if column.is_required() { Repetition::REQUIRED } else { Repetition::OPTIONAL };
        let field = Type::primitive_type_builder(&column.name, physical);
        field.with_logical_type(logical).with_repetition(repetition).build().map(Arc::new)
    };
    let fields = columns.iter().map(field).collect::<Result<_, _>>()?;
    Ok(Arc::new(Type::group_type_builder("schema").with_fields(fields).build()?))
}

/// Writes the next column of a row group, piece by piece.
fn write_column<'a, W: Write + Send>(
    group: &mut SerializedRowGroupWriter<'_, W>,
    is_required: bool,
    pieces: impl Iterator<Item = &'a Values>,
) -> Result<(), Error> {
    fn write<T: DataType>(
        column: &mut parquet::file::writer::SerializedColumnWriter<'_>,
        is_required: bool,
        values: impl Iterator<Item = Option<T::T>>,
    ) -> Result<(), ParquetError> {
        let (mut present, mut levels) = (Vec::new(), Vec::new());
        for value in values {
            levels.push(i16::from(value.is_some()));
            present.extend(value);
        }
        let levels = (!is_required).then_some(&levels[..]);
        column.typed::<T>().write_batch(&present, levels, None).map(drop)
    }
    let Some(mut column) = group.next_column()? else { return Ok(()) };
    for values in pieces {
        match values {
            Values::Whole(values) => write::<Int64Type>(&mut column, is_required, values.iter().copied()),
            Values::Number(values) => write::<DoubleType>(&mut column, is_required, values.iter().copied()),
            Values::Text(values) => {
                let texts = values.iter().map(|text| Some(ByteArray::from(text.as_bytes().to_vec())));
                write::<ByteArrayType>(&mut column, is_required, texts)
            }
        }?;
    }
    Ok(column.close()?)
}

/// About how much memory values take.
fn memory(values: &Values) -> usize {
    match values {
        Values::Whole(values) => size_of_val(&values[..]),
        Values::Number(values) => size_of_val(&values[..]),
        Values::Text(values) => size_of_val(&values[..]) + values.iter().map(String::len).sum::<usize>(),
    }
}

impl From<ParquetError> for Error {
    fn from(error: ParquetError) -> Self {
        Self::Parquet(error)
    }
}

#[cfg(test)]
mod tests {
    use parquet::{
        file::reader::{FileReader as _, SerializedFileReader},
        record::Field,
    };
    use serde_json::json;

    use super::*;
    use crate::column;

    #[test]
    fn every_value_is_read_back_from_its_row_group() {
        let path = tempfile::NamedTempFile::new().unwrap();
        let columns = column::telemetry(&["loss".to_owned()]);
        let about = json!({ "table": "telemetry" });
        let mut table = Box::new(Parquet::new(path.reopen().unwrap(), &columns, &about).unwrap());
        for first in [0, 2] {
            let steps = Values::Whole(vec![Some(first), Some(first + 1)]);
            table.write(Rows(vec![steps, Values::Number(vec![Some(f64::NAN), None])])).unwrap();
            table.write_group().unwrap();
        }
        table.finish().unwrap();

        let file = SerializedFileReader::new(path.reopen().unwrap()).unwrap();
        let rows: Vec<Vec<(String, Field)>> =
            file.get_row_iter(None).unwrap().map(|row| row.unwrap().into_columns()).collect();

        assert_eq!(file.num_row_groups(), 2);
        assert_eq!(rows.len(), 4);
        for (step, row) in (0..).zip(&rows) {
            assert_eq!(row[0], ("step".to_owned(), Field::Long(step)));
            match row[1].1 {
                Field::Double(loss) => assert!(loss.is_nan() && step % 2 == 0, "{loss} at {step}"),
                ref missing => assert!(*missing == Field::Null && step % 2 == 1, "{missing:?} at {step}"),
            }
        }
    }

    #[test]
    fn types_are_those_that_other_tools_know() {
        let path = tempfile::NamedTempFile::new().unwrap();
        let table = Parquet::new(path.reopen().unwrap(), &column::decisions(), &json!({})).unwrap();
        Box::new(table).finish().unwrap();

        let file = SerializedFileReader::new(path.reopen().unwrap()).unwrap();
        let schema = file.metadata().file_metadata().schema_descr();
        let type_of = |name: &str| {
            let column = schema.columns().iter().find(|column| column.name() == name).unwrap();
            (column.physical_type(), column.logical_type_ref().cloned())
        };

        assert_eq!(type_of("step"), (PhysicalType::INT64, None));
        assert_eq!(type_of("evidence"), (PhysicalType::BYTE_ARRAY, Some(LogicalType::String)));
        let time = Some(LogicalType::timestamp(true, TimeUnit::MICROS));
        assert_eq!(type_of("create_time"), (PhysicalType::INT64, time));
    }
}
