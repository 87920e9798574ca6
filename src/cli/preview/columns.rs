//! Curves in columns: a line a step.

use super::Preview;
use crate::cli::{
    failure::{Exit, Failure},
    output,
};
use lrs_engine::GroupRate;

/// One output of one group of one spec.
pub(super) struct Column {
    /// The spec's label.
    pub label: String,
    /// The group's name.
    pub group: String,
    /// Which output.
    pub output: Output,
    /// One value a step; `None` where the group has none.
    pub values: Vec<Option<f64>>,
}

/// An output of a schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Output {
    LearningRate,
    Momentum,
    WeightDecay,
}

impl Output {
    pub(super) const ALL: [Self; 3] = [Self::LearningRate, Self::Momentum, Self::WeightDecay];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::LearningRate => "learning_rate",
            Self::Momentum => "momentum",
            Self::WeightDecay => "weight_decay",
        }
    }

    fn of(self, rate: &GroupRate) -> Option<f64> {
        match self {
            Self::LearningRate => Some(rate.learning_rate),
            Self::Momentum => rate.momentum,
            Self::WeightDecay => rate.weight_decay,
        }
    }
}

/// The columns of all curves: spec by spec, group by group, those that have any value.
pub(super) fn columns(previews: &[Preview]) -> Vec<Column> {
    let mut columns = Vec::new();
    for Preview { label, curve } in previews {
        let groups = curve.directives.first().map_or(&[][..], |directive| &directive.rates);
        for (index, group) in groups.iter().enumerate() {
            for output in Output::ALL {
                let value = |rates: &[GroupRate]| rates.get(index).and_then(|rate| output.of(rate));
                let values: Vec<_> = curve.directives.iter().map(|directive| value(&directive.rates)).collect();
                if values.iter().any(Option::is_some) {
                    columns.push(Column { label: label.clone(), group: group.group.to_string(), output, values });
                }
            }
        }
    }
    columns
}

/// The curves as a table for people.
pub(super) fn table(previews: &[Preview]) -> String {
    let columns = columns(previews);
    let header: Vec<String> =
        std::iter::once("step".to_owned()).chain(columns.iter().map(|c| header(c, "\n"))).collect();
    let header: Vec<&str> = header.iter().map(String::as_str).collect();
    output::table(&header, lines(previews, &columns, output::number))
}

/// The curves as CSV, every value in full.
pub(super) fn csv(previews: &[Preview]) -> Result<String, Failure> {
    let unwritable = |error: &dyn std::error::Error| Failure::new(Exit::Failed, format!("cannot write CSV: {error}"));
    let columns = columns(previews);
    let header = std::iter::once("step".to_owned()).chain(columns.iter().map(|column| header(column, " ")));
    let mut csv = csv::Writer::from_writer(Vec::new());
    csv.write_record(header).map_err(|error| unwritable(&error))?;
    for line in lines(previews, &columns, |value| value.to_string()) {
        csv.write_record(line).map_err(|error| unwritable(&error))?;
    }
    let bytes = csv.into_inner().map_err(|error| unwritable(&error))?;
    String::from_utf8(bytes).map_err(|error| unwritable(&error))
}

fn header(column: &Column, separator: &str) -> String {
    [column.label.as_str(), &column.group, column.output.name()].join(separator)
}

fn lines(previews: &[Preview], columns: &[Column], show: impl Fn(f64) -> String) -> Vec<Vec<String>> {
    let steps = previews.first().map_or(&[][..], |preview| &preview.curve.steps);
    let line = |(i, step): (usize, &u64)| {
        let values =
            columns.iter().map(|column| column.values.get(i).copied().flatten().map_or_else(String::new, &show));
        std::iter::once(step.to_string()).chain(values).collect()
    };
    steps.iter().enumerate().map(line).collect()
}
