//! Tables as text: CSV, and JSON lines.
//!
//! What JSON has no numbers for is written as in the API's JSON, `"NaN"`, `"Infinity"` and `"-Infinity"`; CSV has `NaN`, `inf` and
//! `-inf`, which its readers take for numbers. A value that is not there is `null`, in CSV nothing.

use std::{borrow::Cow, io::Write};

use arrow_array::{
    Array as _, RecordBatch,
    cast::AsArray as _,
    types::{Float64Type, Int64Type, TimestampMicrosecondType},
};
use serde_json::{Value, value::RawValue};

use super::{
    column::{Column, Kind},
    failed,
    files::{Sink, not_written},
};
use crate::cli::failure::Failure;
use lrs_proto::json::Canonical;

/// A value of a row.
enum Cell<'a> {
    Absent,
    Whole(i64),
    Number(f64),
    Text(Cow<'a, str>),
    Json(&'a str),
}

fn cell(batch: &RecordBatch, place: usize, kind: Kind, row: usize) -> Cell<'_> {
    let column = batch.column(place);
    if column.is_null(row) {
        return Cell::Absent;
    }
    match kind {
        Kind::Whole => Cell::Whole(column.as_primitive::<Int64Type>().value(row)),
        Kind::Number => Cell::Number(column.as_primitive::<Float64Type>().value(row)),
        Kind::Text => Cell::Text(column.as_string::<i32>().value(row).into()),
        Kind::Json => Cell::Json(column.as_string::<i32>().value(row)),
        Kind::Time => {
            let time = column.as_primitive::<TimestampMicrosecondType>().value(row);
            jiff::Timestamp::from_microsecond(time)
                .map_or(Cell::Whole(time), |time| Cell::Text(format!("{time:.6}").into()))
        }
    }
}

/// CSV with a header.
pub(super) struct Csv<W: Write> {
    columns: Vec<Column>,
    csv: csv::Writer<W>,
}

impl<W: Write> Csv<W> {
    pub(super) fn new(writer: W, columns: Vec<Column>) -> Result<Self, Failure> {
        let mut csv = csv::Writer::from_writer(writer);
        csv.write_record(columns.iter().map(|column| &column.name)).map_err(unwritable_csv)?;
        Ok(Self { columns, csv })
    }
}

impl<W: Write> Sink for Csv<W> {
    fn write(&mut self, batch: &RecordBatch) -> Result<(), Failure> {
        for row in 0..batch.num_rows() {
            for (place, column) in self.columns.iter().enumerate() {
                match cell(batch, place, column.kind, row) {
                    Cell::Absent => self.csv.write_field(""),
                    Cell::Whole(value) => self.csv.write_field(value.to_string()),
                    // With an exponent where that is shorter; read back to the same bits either way.
                    Cell::Number(value) => self.csv.write_field(format!("{value:?}")),
                    Cell::Text(text) => self.csv.write_field(&*text),
                    Cell::Json(text) => self.csv.write_field(text),
                }
                .map_err(unwritable_csv)?;
            }
            self.csv.write_record(None::<&[u8]>).map_err(unwritable_csv)?;
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Result<(), Failure> {
        self.csv.flush().map_err(|error| not_written(&error))
    }
}

fn unwritable_csv(error: csv::Error) -> Failure {
    match error.into_kind() {
        csv::ErrorKind::Io(error) => not_written(&error),
        other => failed(format!("can not write CSV: {other:?}")),
    }
}

/// A JSON object a line.
pub(super) struct JsonLines<W: Write> {
    columns: Vec<Column>,
    writer: W,
}

impl<W: Write> JsonLines<W> {
    pub(super) fn new(writer: W, columns: Vec<Column>) -> Self {
        Self { columns, writer }
    }

    fn line(&self, batch: &RecordBatch, row: usize) -> serde_json::Result<Vec<u8>> {
        let mut line = Vec::new();
        for (place, column) in self.columns.iter().enumerate() {
            line.push(if place == 0 { b'{' } else { b',' });
            serde_json::to_writer(&mut line, &column.name)?;
            line.push(b':');
            match cell(batch, place, column.kind, row) {
                Cell::Absent => serde_json::to_writer(&mut line, &Value::Null),
                Cell::Whole(value) => serde_json::to_writer(&mut line, &value),
                Cell::Number(value) => serde_json::to_writer(&mut line, &Canonical(&value)),
                Cell::Text(text) => serde_json::to_writer(&mut line, &*text),
                Cell::Json(text) => {
                    serde_json::from_str::<&RawValue>(text).and_then(|raw| serde_json::to_writer(&mut line, raw))
                }
            }?;
        }
        line.extend_from_slice(b"}\n");
        Ok(line)
    }
}

impl<W: Write> Sink for JsonLines<W> {
    fn write(&mut self, batch: &RecordBatch) -> Result<(), Failure> {
        for row in 0..batch.num_rows() {
            let line = self.line(batch, row).map_err(|error| failed(format!("can not write JSON: {error}")))?;
            self.writer.write_all(&line).map_err(|error| not_written(&error))?;
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Result<(), Failure> {
        self.writer.flush().map_err(|error| not_written(&error))
    }
}
