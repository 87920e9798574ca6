//! The tables of an export and their columns: names, types, units, meaning.

use std::{collections::HashMap, sync::Arc};

use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};
use serde_json::{Value, json};

use lrs_model::telemetry::{GRAD_NORM, LEARNING_RATE, LOSS};

/// What there is to export of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Table {
    /// What was reported: a row a step, a column a metric
    Telemetry,
    /// What trainers were told: a row a step and parameter group
    Rates,
    /// What changed the rates: a row a decision
    Decisions,
}

impl Table {
    pub(super) const ALL: [Self; 3] = [Self::Telemetry, Self::Rates, Self::Decisions];

    /// The name of its file.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Telemetry => "telemetry",
            Self::Rates => "rates",
            Self::Decisions => "decisions",
        }
    }
}

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Whole numbers of 64 bits.
    Whole,
    /// Numbers in double precision; NaN and infinities too.
    Number,
    /// Text.
    Text,
    /// Text that is a JSON object.
    Json,
    /// Points in time, to the microsecond.
    Time,
}

/// A column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) kind: Kind,
    /// What its values are counted in; `1` for plain numbers.
    unit: &'static str,
    about: String,
}

/// The column that rows are joined by.
pub(super) const STEP: &str = "step";
/// The unit of what only the trainer knows the unit of.
const AS_REPORTED: &str = "as reported";

impl Column {
    fn new(name: &str, kind: Kind, unit: &'static str, about: impl Into<String>) -> Self {
        Self { name: name.to_owned(), kind, unit, about: about.into() }
    }

    fn data_type(&self) -> DataType {
        match self.kind {
            Kind::Whole => DataType::Int64,
            Kind::Number => DataType::Float64,
            Kind::Text | Kind::Json => DataType::Utf8,
            Kind::Time => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        }
    }

    fn kind_name(&self) -> &'static str {
        match self.kind {
            Kind::Whole => "int64",
            Kind::Number => "float64",
            Kind::Text => "string",
            Kind::Json => "json",
            Kind::Time => "timestamp",
        }
    }
}

/// The columns of a job's telemetry with these metrics.
pub(super) fn telemetry(metrics: &[String]) -> Vec<Column> {
    let step = Column::new(STEP, Kind::Whole, "optimizer step", "the optimizer step, from 0");
    std::iter::once(step).chain(metrics.iter().map(|metric| metric_column(metric))).collect()
}

fn metric_column(metric: &str) -> Column {
    let (unit, about) = match metric {
        LOSS => (AS_REPORTED, "the training loss, the mean over the reporting ranks".to_owned()),
        GRAD_NORM => {
            let about = "the norm of the whole gradient before clipping, the mean over the reporting ranks";
            (AS_REPORTED, about.to_owned())
        }
        LEARNING_RATE => ("1", "the learning rate of the first parameter group that was really used".to_owned()),
        other => (AS_REPORTED, format!("the metric {other:?}, the mean over the ranks that reported it")),
    };
    // A metric may be called as it likes, but two columns of one name nobody can tell apart.
    let name = if metric == STEP { "metric_step" } else { metric };
    Column::new(name, Kind::Number, unit, about)
}

/// The columns of a job's rates.
pub(super) fn rates() -> Vec<Column> {
    vec![
        Column::new(STEP, Kind::Whole, "optimizer step", "the optimizer step, from 0"),
        Column::new("group", Kind::Text, "", "the parameter group"),
        Column::new(LEARNING_RATE, Kind::Number, "1", "the learning rate that trainers were told"),
        Column::new("momentum", Kind::Number, "1", "the momentum, or Adam's beta1, where the job schedules it"),
        Column::new("weight_decay", Kind::Number, "1", "the weight decay, where the job schedules it"),
        Column::new("source", Kind::Text, "", "where the rates come from: schedule, override or pause"),
    ]
}

/// The columns of a job's decisions.
pub(super) fn decisions() -> Vec<Column> {
    vec![
        Column::new("decision", Kind::Text, "", "the last part of the decision's name, unique within the job"),
        Column::new("attempt", Kind::Whole, "1", "the attempt it was taken in, from 1; 0 before the first"),
        Column::new(STEP, Kind::Whole, "optimizer step", "the newest step that it knows of"),
        Column::new("effective_step", Kind::Whole, "optimizer step", "the first step whose directive it changes"),
        Column::new("author_kind", Kind::Text, "", "who took it: person or controller"),
        Column::new("author", Kind::Text, "", "the name the person gave, or the controller's place and kind"),
        Column::new("kind", Kind::Text, "", "what it does, by the name of the effect"),
        Column::new("reason", Kind::Text, "", "why, in words"),
        Column::new("evidence", Kind::Json, "as named", "the figures behind it, by name"),
        Column::new("effect", Kind::Json, "as named", "what it does, as the API writes it"),
        Column::new("create_time", Kind::Time, "microseconds since 1970, UTC", "when it was taken, or first stored"),
    ]
}

/// Columns as Arrow has them, unit and meaning in each field's metadata.
pub(super) fn schema(columns: &[Column]) -> SchemaRef {
    let field = |column: &Column| {
        let metadata = [("unit", column.unit.to_owned()), ("description", column.about.clone())];
        let metadata: HashMap<String, String> = metadata.map(|(name, text)| (name.to_owned(), text)).into();
        Field::new(&column.name, column.data_type(), column.name != STEP).with_metadata(metadata)
    };
    Arc::new(Schema::new(columns.iter().map(field).collect::<Vec<_>>()))
}

/// Columns as JSON, for formats that have no place for it.
pub(super) fn describe(columns: &[Column]) -> Value {
    columns
        .iter()
        .map(|column| {
            json!({ "name": column.name, "type": column.kind_name(), "unit": column.unit, "description": column.about })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_columns_have_the_same_name() {
        let telemetry = telemetry(&[LOSS.to_owned(), STEP.to_owned()]);
        assert_eq!(telemetry.iter().map(|c| c.name.as_str()).collect::<Vec<_>>(), [STEP, LOSS, "metric_step"]);
        for columns in [rates(), decisions()] {
            let mut names: Vec<_> = columns.iter().map(|column| column.name.clone()).collect();
            names.sort();
            names.dedup();
            assert_eq!(names.len(), columns.len());
        }
    }

    #[test]
    fn every_number_has_a_unit() {
        for columns in [telemetry(&[LOSS.to_owned(), "accuracy".to_owned()]), rates(), decisions()] {
            for column in columns.iter().filter(|column| column.kind != Kind::Text) {
                assert!(!column.unit.is_empty(), "{column:?}");
            }
        }
    }
}
