//! Tables in files, up to one of each kind.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use crate::{
    column::Table,
    column::{self, Column},
    error::Error,
    file,
    format::Format,
    output::Output,
    rows::Rows,
    subject::Subject,
    target::Target,
};
use lrs_model::telemetry::Sample;
use lrs_proto::{Decision, Directive};

/// Tables on their way into files.
pub struct Tables {
    parts: Vec<Part>,
    /// The metrics of the telemetry's columns after the step.
    metrics: Vec<String>,
    /// The file that says what the tables are of, if they do not say it themselves.
    document: Option<(PathBuf, Value)>,
}

/// A table on its way into a file.
struct Part {
    table: Table,
    output: Output,
}

impl Tables {
    /// Begins one table, in the file at `path` or on standard output. `metrics` are those that the telemetry has.
    ///
    /// # Errors
    /// If the file cannot be written, or this build does not write the format.
    pub fn one(
        subject: &Subject,
        format: Format,
        table: Table,
        path: Option<&Path>,
        metrics: Vec<String>,
    ) -> Result<Self, Error> {
        let (part, about) = begin(subject, format, table, path, &metrics)?;
        let document = path.filter(|_| !format.describes_itself());
        let document = document.map(|path| (file::with_ending(path, ".columns.json"), about));
        Ok(Self { parts: vec![part], metrics, document })
    }

    /// Begins all tables, in files in `directory`, and `export.json`, which says what is in them. `metrics` are those
    /// that the telemetry has.
    ///
    /// # Errors
    /// If a file cannot be written, or this build does not write the format.
    pub fn all(subject: &Subject, format: Format, directory: &Path, metrics: Vec<String>) -> Result<Self, Error> {
        file::create_directory(directory)?;
        let mut parts = Vec::new();
        let mut abouts = Map::new();
        for table in Table::ALL {
            let file = format!("{}.{}", table.name(), format.extension());
            let (part, mut about) = begin(subject, format, table, Some(&directory.join(&file)), &metrics)?;
            parts.push(part);
            abouts.insert(table.name().to_owned(), json!({ "file": file, "columns": about["columns"].take() }));
        }
        let mut document = subject.document();
        document["tables"] = Value::Object(abouts);
        Ok(Self { parts, metrics, document: Some((directory.join("export.json"), document)) })
    }

    /// Writes the rest, and lets the files take their names.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn finish(self) -> Result<(), Error> {
        self.parts.into_iter().try_for_each(|part| part.output.finish())?;
        match &self.document {
            Some((path, document)) => file::write_document(path, document),
            None => Ok(()),
        }
    }

    fn write(&mut self, table: Table, rows: impl FnOnce(&[String]) -> Result<Rows, Error>) -> Result<(), Error> {
        match self.parts.iter_mut().find(|part| part.table == table) {
            Some(part) => part.output.write(rows(&self.metrics)?),
            None => Ok(()),
        }
    }
}

/// Begins a table. Beside it comes the document that says what it is of and which columns it has.
fn begin(
    subject: &Subject,
    format: Format,
    table: Table,
    path: Option<&Path>,
    metrics: &[String],
) -> Result<(Part, Value), Error> {
    let columns: Vec<Column> = match table {
        Table::Telemetry => column::telemetry(metrics),
        Table::Rates => column::rates(),
        Table::Decisions => column::decisions(),
    };
    let mut about = subject.document();
    about["table"] = table.name().into();
    about["columns"] = column::describe(&columns);
    Ok((Part { table, output: Output::open(path, format, &columns, &about)? }, about))
}

impl Target for Tables {
    fn wants(&self, table: Table) -> bool {
        self.parts.iter().any(|part| part.table == table)
    }

    fn telemetry(&mut self, records: &[Sample]) -> Result<(), Error> {
        self.write(Table::Telemetry, |metrics| Ok(Rows::of_telemetry(metrics, records)))
    }

    fn rates(&mut self, directives: &[Directive]) -> Result<(), Error> {
        self.write(Table::Rates, |_| Ok(Rows::of_rates(directives)))
    }

    fn decisions(&mut self, decisions: &[Decision]) -> Result<(), Error> {
        self.write(Table::Decisions, |_| Rows::of_decisions(decisions))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn subject() -> Subject {
        Subject { job: "namespaces/a/jobs/b".to_owned(), attempt: 1 }
    }

    fn records() -> Vec<Sample> {
        vec![Sample { loss: Some(0.5), ..Sample::new(0) }, Sample { loss: Some(f64::NAN), ..Sample::new(1) }]
    }

    #[test]
    fn a_table_of_text_has_its_units_in_a_file_beside_it() {
        let directory = tempfile::tempdir().unwrap();
        for (format, expected) in [
            (Format::Csv, "step,loss,other\n0,0.5,\n1,NaN,\n"),
            (Format::Jsonl, "{\"step\":0,\"loss\":0.5,\"other\":null}\n{\"step\":1,\"loss\":\"NaN\",\"other\":null}\n"),
        ] {
            let path = directory.path().join("a").with_extension(format.extension());
            let metrics = vec!["loss".to_owned(), "other".to_owned()];
            let mut tables = Tables::one(&subject(), format, Table::Telemetry, Some(&path), metrics).unwrap();
            tables.telemetry(&records()).unwrap();
            assert!(!path.exists(), "a file is there before it is complete");
            tables.finish().unwrap();

            assert_eq!(fs::read_to_string(&path).unwrap(), expected);
            let about = fs::read(file::with_ending(&path, ".columns.json")).unwrap();
            let about: Value = serde_json::from_slice(&about).unwrap();
            assert_eq!((&about["job"], &about["table"]), (&subject().job.into(), &"telemetry".into()));
            assert_eq!(about["columns"][0]["unit"], "optimizer step");
        }
    }

    #[cfg(not(feature = "parquet"))]
    #[test]
    fn a_build_without_parquet_says_so_and_leaves_no_file() {
        let directory = tempfile::tempdir().unwrap();
        let begun = Tables::all(&subject(), Format::Parquet, directory.path(), Vec::new());
        assert!(begun.err().unwrap().to_string().contains("cargo feature `parquet`"));
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }
}
