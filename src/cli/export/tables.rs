//! Tables in files, up to one of each kind.

use std::{fs, path::Path};

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use serde_json::{Map, Value, json};

use super::{
    column::{self, Table},
    files::{self, Format, Output},
    history::History,
    rows,
    target::Target,
};
use crate::cli::failure::Failure;
use lrs_engine::Directive;
use lrs_model::telemetry::Sample;
use lrs_proto::Decision;

/// A table on its way into a file.
struct Part {
    table: Table,
    schema: SchemaRef,
    /// The metrics of its columns after the first, if it is the telemetry.
    metrics: Vec<String>,
    output: Output,
}

/// All tables on their way into files.
#[derive(Default)]
pub(super) struct Tables(Vec<Part>);

/// Writes `table` to the file at `path`, or to standard output.
pub(super) async fn one(history: &History, format: Format, table: Table, path: Option<&Path>) -> Result<(), Failure> {
    let mut tables = Tables::default();
    let about = tables.open(history, format, table, path).await?;
    history.copy_to(&mut tables).await?;
    tables.finish()?;
    match path {
        Some(path) if !format.describes_itself() => {
            files::write_document(&files::with_ending(path, ".columns.json"), &about)
        }
        _ => Ok(()),
    }
}

/// Writes every table into `directory`, and `export.json`, which says what is in them.
pub(super) async fn all(history: &History, format: Format, directory: &Path) -> Result<(), Failure> {
    fs::create_dir_all(directory).map_err(|error| files::unwritable(directory, &error))?;
    let mut tables = Tables::default();
    let mut abouts = Map::new();
    for table in Table::ALL {
        let file = format!("{}.{}", table.name(), format.extension());
        let mut about = tables.open(history, format, table, Some(&directory.join(&file))).await?;
        abouts.insert(table.name().to_owned(), json!({ "file": file, "columns": about["columns"].take() }));
    }
    history.copy_to(&mut tables).await?;
    tables.finish()?;
    let mut document = history.about();
    document["tables"] = Value::Object(abouts);
    files::write_document(&directory.join("export.json"), &document)
}

impl Tables {
    /// Begins a table; what it is about.
    async fn open(
        &mut self,
        history: &History,
        format: Format,
        table: Table,
        path: Option<&Path>,
    ) -> Result<Value, Failure> {
        let metrics = if table == Table::Telemetry { history.metrics().await? } else { Vec::new() };
        let columns = match table {
            Table::Telemetry => column::telemetry(&metrics),
            Table::Rates => column::rates(),
            Table::Decisions => column::decisions(),
        };
        let mut about = history.about();
        about["table"] = table.name().into();
        about["columns"] = column::describe(&columns);
        let output = Output::open(path, format, &columns, &about)?;
        self.0.push(Part { table, schema: column::schema(&columns), metrics, output });
        Ok(about)
    }

    fn finish(self) -> Result<(), Failure> {
        self.0.into_iter().try_for_each(|part| part.output.finish())
    }

    fn write(
        &mut self,
        table: Table,
        rows: impl FnOnce(&SchemaRef, &[String]) -> Result<RecordBatch, Failure>,
    ) -> Result<(), Failure> {
        match self.0.iter_mut().find(|part| part.table == table) {
            Some(part) => part.output.write(&rows(&part.schema, &part.metrics)?),
            None => Ok(()),
        }
    }
}

impl Target for Tables {
    fn wants(&self, table: Table) -> bool {
        self.0.iter().any(|part| part.table == table)
    }

    fn telemetry(&mut self, records: &[Sample]) -> Result<(), Failure> {
        self.write(Table::Telemetry, |schema, metrics| rows::of_telemetry(schema, metrics, records))
    }

    fn rates(&mut self, directives: &[Directive]) -> Result<(), Failure> {
        self.write(Table::Rates, |schema, _| rows::of_rates(schema, directives))
    }

    fn decisions(&mut self, decisions: &[Decision]) -> Result<(), Failure> {
        self.write(Table::Decisions, |schema, _| rows::of_decisions(schema, decisions))
    }
}
