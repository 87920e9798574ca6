//! The tables of an export and their columns: names, types, units, meaning.

use serde_json::{Value, json};

use lrs_model::telemetry::{GRAD_NORM, LEARNING_RATE, LOSS};

/// A table of an export.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Table {
    /// What was reported: a row a step, a column a metric
    Telemetry,
    /// What trainers were told: a row a step and parameter group
    Rates,
    /// What changed the rates: a row a decision
    Decisions,
}

impl Table {
    pub(crate) const ALL: [Self; 3] = [Self::Telemetry, Self::Rates, Self::Decisions];

    /// The name of its file.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Telemetry => "telemetry",
            Self::Rates => "rates",
            Self::Decisions => "decisions",
        }
    }
}

/// The type of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
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
pub(crate) struct Column {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    /// What its values are counted in; `1` for plain numbers.
    pub(crate) unit: &'static str,
    /// What its values mean.
    pub(crate) about: String,
}

/// The column that rows are joined by.
pub(crate) const STEP: &str = "step";
/// The unit of a metric whose unit only the trainer knows.
const AS_REPORTED: &str = "as reported";

impl Column {
    fn new(name: &str, kind: Kind, unit: &'static str, about: impl Into<String>) -> Self {
        Self { name: name.to_owned(), kind, unit, about: about.into() }
    }

    /// Whether every row has a value.
    #[cfg(feature = "parquet")]
    pub(crate) fn is_required(&self) -> bool {
        self.name == STEP
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
pub(crate) fn telemetry(metrics: &[String]) -> Vec<Column> {
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
    // A metric may have any name, but two columns of the same name cannot be told apart.
    let name = if metric == STEP { "metric_step" } else { metric };
    Column::new(name, Kind::Number, unit, about)
}

/// The columns of a job's rates.
pub(crate) fn rates() -> Vec<Column> {
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
pub(crate) fn decisions() -> Vec<Column> {
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

/// Columns as JSON, for formats that have no place for units and meaning.
pub(crate) fn describe(columns: &[Column]) -> Value {
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
