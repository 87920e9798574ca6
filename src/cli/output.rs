//! Standard output: messages as JSON or YAML for programs, tables for people.

use std::io::{self, IsTerminal as _, Write as _};

use comfy_table::{Attribute, Cell, ContentArrangement, Table, presets};
use pbjson_types::Timestamp;
use serde::Serialize;

use super::failure::{Exit, Failure};
pub use lrs_model::number::for_people as number;
use lrs_proto::json::Canonical;

/// How an answer is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people
    Table,
    /// For programs: the message's canonical JSON
    Json,
    /// The same message as YAML
    Yaml,
}

/// The options that choose a format.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct FormatArgs {
    /// How to write the answer
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    /// Short for --format json
    #[arg(long, conflicts_with = "format")]
    json: bool,
}

impl FormatArgs {
    /// The format chosen.
    #[must_use]
    pub fn format(self) -> Format {
        if self.json { Format::Json } else { self.format }
    }

    /// Prints `message` as JSON or YAML, or else the text that `table` makes.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn print<T: Serialize>(self, message: &T, table: impl FnOnce() -> String) -> Result<(), Failure> {
        match self.format() {
            Format::Table => print(&table()),
            Format::Json => print(&json(message)?),
            Format::Yaml => print(&yaml(message)?),
        }
    }
}

/// Writes `text` to standard output.
///
/// # Errors
/// If it cannot be written.
pub fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::silent(),
        _ => Failure::new(Exit::Failed, format!("cannot write to standard output: {error}")),
    })
}

/// Writes a line for people to standard error, beside the output. Nobody may be listening.
pub fn say(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// A message as indented canonical JSON, with a line break at its end.
///
/// # Errors
/// If it has a value that JSON cannot express.
pub fn json<T: Serialize>(message: &T) -> Result<String, Failure> {
    let text = serde_json::to_string_pretty(&Canonical(message)).map_err(not_written)?;
    Ok(text + "\n")
}

/// A message as canonical JSON on one line, with a line break at its end.
///
/// # Errors
/// If it has a value that JSON cannot express.
pub fn json_line<T: Serialize>(message: &T) -> Result<String, Failure> {
    let text = serde_json::to_string(&Canonical(message)).map_err(not_written)?;
    Ok(text + "\n")
}

/// A message as YAML.
///
/// # Errors
/// If it has a value that YAML cannot express.
pub fn yaml<T: Serialize>(message: &T) -> Result<String, Failure> {
    serde_saphyr::to_string(&Canonical(message)).map_err(not_written)
}

fn not_written(error: impl std::error::Error) -> Failure {
    Failure::new(Exit::Failed, format!("cannot write the answer: {error}"))
}

/// A table with a line break at its end: fitted to the terminal, or as wide as it must be when piped.
#[must_use]
pub fn table(header: &[&str], rows: Vec<Vec<String>>) -> String {
    let mut table = plain_table();
    table.set_header(header.iter().map(|title| Cell::new(title).add_attribute(Attribute::Bold)));
    table.add_rows(rows);
    table.trim_fmt() + "\n"
}

/// Names and values, a line each.
#[must_use]
pub fn card(rows: Vec<(&str, String)>) -> String {
    let mut table = plain_table();
    table.add_rows(
        rows.into_iter().map(|(name, value)| [Cell::new(name).add_attribute(Attribute::Bold), Cell::new(value)]),
    );
    table.trim_fmt() + "\n"
}

fn plain_table() -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    if io::stdout().is_terminal() {
        table.set_content_arrangement(ContentArrangement::Dynamic);
    } else {
        table.force_no_tty();
    }
    table
}

/// The columns of the terminal, if standard output is one.
#[must_use]
pub fn terminal_width() -> Option<usize> {
    plain_table().width().map(usize::from)
}

/// A value that may be absent, for people.
pub fn optional<T>(value: Option<T>, show: impl FnOnce(T) -> String) -> String {
    value.map_or_else(|| "-".to_owned(), show)
}

/// A time for people: UTC, to the second.
#[must_use]
pub fn time(time: Option<&Timestamp>) -> String {
    optional(time, |time| {
        jiff::Timestamp::from_second(time.seconds)
            .map_or_else(|_| format!("{} s", time.seconds), |time| time.to_string())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use lrs_proto::TelemetryRecord;

    #[test]
    fn a_piped_table_is_plain_columns() {
        let text = table(&["NAME", "STATE"], vec![vec!["a-long-name".to_owned(), "RUNNING".to_owned()]]);
        assert_eq!(text, " NAME         STATE\n a-long-name  RUNNING\n");
    }

    #[test]
    fn json_and_yaml_are_the_canonical_message() {
        let record = TelemetryRecord { step: 3, loss: Some(f64::NAN), ..Default::default() };
        assert_eq!(json_line(&record).unwrap(), "{\"step\":\"3\",\"loss\":\"NaN\"}\n");
        let read: TelemetryRecord = serde_saphyr::from_str(&yaml(&record).unwrap()).unwrap();
        assert_eq!((read.step, read.loss.map(f64::is_nan)), (3, Some(true)));
    }

    #[test]
    fn a_time_is_utc_and_an_absent_one_a_dash() {
        assert_eq!(time(Some(&Timestamp { seconds: 86_400, nanos: 5 })), "1970-01-02T00:00:00Z");
        assert_eq!(time(None), "-");
    }
}
