//! Tables as text: CSV, and JSON lines.
//!
//! Numbers that JSON does not have are written as in the API's JSON, `"NaN"`, `"Infinity"` and `"-Infinity"`; CSV has
//! `NaN`, `inf` and `-inf`, which its readers take for numbers. A missing value is `null` in JSON and empty in CSV.

use std::{borrow::Cow, io::Write};

use serde_json::{Value, value::RawValue};

use crate::{
    column::{Column, Kind},
    error::Error,
    rows::{Rows, Values},
    sink::Sink,
};
use lrs_proto::json::Canonical;

/// A value of a row.
enum Cell<'a> {
    Missing,
    Whole(i64),
    Number(f64),
    Text(Cow<'a, str>),
    Json(&'a str),
}

fn cell(values: &Values, kind: Kind, row: usize) -> Cell<'_> {
    match values {
        Values::Whole(values) => match (kind, values[row]) {
            (_, None) => Cell::Missing,
            (Kind::Time, Some(time)) => jiff::Timestamp::from_microsecond(time)
                .map_or(Cell::Whole(time), |time| Cell::Text(format!("{time:.6}").into())),
            (_, Some(value)) => Cell::Whole(value),
        },
        Values::Number(values) => values[row].map_or(Cell::Missing, Cell::Number),
        Values::Text(values) if kind == Kind::Json => Cell::Json(&values[row]),
        Values::Text(values) => Cell::Text(values[row].as_str().into()),
    }
}

/// CSV with a header.
pub(crate) struct Csv<W: Write> {
    columns: Vec<Column>,
    csv: csv::Writer<W>,
}

impl<W: Write> Csv<W> {
    pub(crate) fn new(writer: W, columns: Vec<Column>) -> Result<Self, Error> {
        let mut csv = csv::Writer::from_writer(writer);
        csv.write_record(columns.iter().map(|column| &column.name))?;
        Ok(Self { columns, csv })
    }
}

impl<W: Write> Sink for Csv<W> {
    fn write(&mut self, rows: Rows) -> Result<(), Error> {
        for row in 0..rows.len() {
            for (column, values) in self.columns.iter().zip(&rows.0) {
                match cell(values, column.kind, row) {
                    Cell::Missing => self.csv.write_field(""),
                    Cell::Whole(value) => self.csv.write_field(value.to_string()),
                    // With an exponent where that is shorter; read back to the same bits either way.
                    Cell::Number(value) => self.csv.write_field(format!("{value:?}")),
                    Cell::Text(text) => self.csv.write_field(&*text),
                    Cell::Json(text) => self.csv.write_field(text),
                }?;
            }
            self.csv.write_record(None::<&[u8]>)?;
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Result<(), Error> {
        Ok(self.csv.flush()?)
    }
}

/// A JSON object a line.
pub(crate) struct JsonLines<W: Write> {
    columns: Vec<Column>,
    writer: W,
}

impl<W: Write> JsonLines<W> {
    pub(crate) fn new(writer: W, columns: Vec<Column>) -> Self {
        Self { columns, writer }
    }

    fn line(&self, rows: &Rows, row: usize) -> serde_json::Result<Vec<u8>> {
        let mut line = Vec::new();
        for (column, values) in self.columns.iter().zip(&rows.0) {
            line.push(if line.is_empty() { b'{' } else { b',' });
            serde_json::to_writer(&mut line, &column.name)?;
            line.push(b':');
            match cell(values, column.kind, row) {
                Cell::Missing => serde_json::to_writer(&mut line, &Value::Null),
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
    fn write(&mut self, rows: Rows) -> Result<(), Error> {
        for row in 0..rows.len() {
            let line = self.line(&rows, row)?;
            self.writer.write_all(&line)?;
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Result<(), Error> {
        Ok(self.writer.flush()?)
    }
}
