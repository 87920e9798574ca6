//! Records, directives and decisions as rows of tables, column by column.

use serde::Serialize;

use crate::error::Error;
use lrs_model::telemetry::Sample;
use lrs_proto::{
    Decision, Directive,
    decision::{Author, Effect},
    directive::Source,
    json::Canonical,
};

/// Rows of a table: the values of each of its columns, all of the same length.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Rows(pub(crate) Vec<Values>);

/// The values of a column.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Values {
    /// Whole numbers, or microseconds since 1970.
    Whole(Vec<Option<i64>>),
    /// Numbers in double precision.
    Number(Vec<Option<f64>>),
    /// Text, or JSON as text.
    Text(Vec<String>),
}

impl Values {
    fn len(&self) -> usize {
        match self {
            Self::Whole(values) => values.len(),
            Self::Number(values) => values.len(),
            Self::Text(values) => values.len(),
        }
    }
}

impl Rows {
    /// How many rows there are.
    pub(crate) fn len(&self) -> usize {
        self.0.first().map_or(0, Values::len)
    }

    /// A row for each record, and more for one that has several values of a metric. `metrics` are the columns after the
    /// step.
    pub(crate) fn of_telemetry(metrics: &[String], records: &[Sample]) -> Self {
        let apart: Vec<Sample>;
        let records = if records.iter().any(Sample::has_repeats) {
            apart = records.iter().flat_map(Sample::observations).collect();
            &apart
        } else {
            records
        };
        let steps = records.iter().map(|record| whole(record.step)).collect();
        let metric = |name: &String| Values::Number(records.iter().map(|record| record.metric(name)).collect());
        Self(std::iter::once(Values::Whole(steps)).chain(metrics.iter().map(metric)).collect())
    }

    /// A row for each group of each directive.
    pub(crate) fn of_rates(directives: &[Directive]) -> Self {
        let rows = || directives.iter().flat_map(|directive| directive.rates.iter().map(move |rate| (directive, rate)));
        Self(vec![
            Values::Whole(rows().map(|(directive, _)| Some(directive.step)).collect()),
            Values::Text(rows().map(|(_, rate)| rate.group.clone()).collect()),
            Values::Number(rows().map(|(_, rate)| Some(rate.learning_rate)).collect()),
            Values::Number(rows().map(|(_, rate)| rate.momentum).collect()),
            Values::Number(rows().map(|(_, rate)| rate.weight_decay).collect()),
            Values::Text(rows().map(|(directive, _)| source(directive.source()).to_owned()).collect()),
        ])
    }

    /// A row for each decision.
    pub(crate) fn of_decisions(decisions: &[Decision]) -> Result<Self, Error> {
        let text = |of: fn(&Decision) -> &str| {
            Values::Text(decisions.iter().map(|decision| of(decision).to_owned()).collect())
        };
        let number =
            |of: fn(&Decision) -> i64| Values::Whole(decisions.iter().map(|decision| Some(of(decision))).collect());
        let evidence = decisions.iter().map(|decision| json(&decision.evidence)).collect::<Result<_, _>>()?;
        let effects =
            decisions.iter().map(|decision| effect(decision.effect.as_ref())).collect::<Result<Vec<_>, _>>()?;
        let (kinds, effects) = effects.into_iter().unzip();
        Ok(Self(vec![
            text(|decision| decision.name.rsplit('/').next().unwrap_or_default()),
            number(|decision| decision.attempt),
            number(|decision| decision.step),
            number(|decision| decision.effective_step),
            text(|decision| author(decision).0),
            text(|decision| author(decision).1),
            Values::Text(kinds),
            text(|decision| &decision.reason),
            Values::Text(evidence),
            Values::Text(effects),
            Values::Whole(decisions.iter().map(microseconds).collect()),
        ]))
    }
}

fn source(source: Source) -> &'static str {
    match source {
        Source::Schedule => "schedule",
        Source::Override => "override",
        Source::Pause => "pause",
        Source::Unspecified => "",
    }
}

fn author(decision: &Decision) -> (&'static str, &str) {
    match &decision.author {
        Some(Author::Person(person)) => ("person", person),
        Some(Author::Controller(controller)) => ("controller", controller),
        None => ("", ""),
    }
}

/// The name of an effect, as in the API, and the effect itself.
fn effect(effect: Option<&Effect>) -> Result<(String, String), Error> {
    let (name, effect) = match effect {
        Some(Effect::BaseRateChange(change)) => ("base_rate_change", json(change)?),
        Some(Effect::RateOverride(order)) => ("rate_override", json(order)?),
        Some(Effect::OverrideCleared(cleared)) => ("override_cleared", json(cleared)?),
        Some(Effect::SchedulePaused(paused)) => ("schedule_paused", json(paused)?),
        Some(Effect::ScheduleResumed(resumed)) => ("schedule_resumed", json(resumed)?),
        Some(Effect::SpecChange(change)) => ("spec_change", json(change)?),
        Some(Effect::Advice(advice)) => ("advice", json(advice)?),
        None => ("", "{}".to_owned()),
    };
    Ok((name.to_owned(), effect))
}

fn json<T: Serialize>(value: &T) -> Result<String, Error> {
    Ok(serde_json::to_string(&Canonical(value))?)
}

fn microseconds(decision: &Decision) -> Option<i64> {
    let time = decision.create_time.as_ref()?;
    time.seconds.checked_mul(1_000_000)?.checked_add(i64::from(time.nanos) / 1000)
}

fn whole(step: u64) -> Option<i64> {
    i64::try_from(step).ok()
}
