//! Records, directives and decisions as rows of tables.

use std::sync::Arc;

use arrow_array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow_schema::SchemaRef;
use serde::Serialize;

use super::failed;
use crate::cli::failure::Failure;
use lrs_engine::{Directive, Source};
use lrs_model::telemetry::Sample;
use lrs_proto::{
    Decision,
    decision::{Author, Effect},
    json::Canonical,
};

/// A row a record; `metrics` are those of the columns after the first.
pub(super) fn of_telemetry(schema: &SchemaRef, metrics: &[String], records: &[Sample]) -> Result<RecordBatch, Failure> {
    let steps: Int64Array = records.iter().map(|record| whole(record.step)).collect();
    let values = metrics.iter().map(|metric| {
        let values: Float64Array = records.iter().map(|record| record.metric(metric)).collect();
        Arc::new(values) as ArrayRef
    });
    batch(schema, std::iter::once(Arc::new(steps) as ArrayRef).chain(values).collect())
}

/// A row a group of each directive.
pub(super) fn of_rates(schema: &SchemaRef, directives: &[Directive]) -> Result<RecordBatch, Failure> {
    let rows = || directives.iter().flat_map(|directive| directive.rates.iter().map(move |rate| (directive, rate)));
    let steps: Int64Array = rows().map(|(directive, _)| whole(directive.step)).collect();
    let groups: StringArray = rows().map(|(_, rate)| Some(&*rate.group)).collect();
    let learning_rates: Float64Array = rows().map(|(_, rate)| Some(rate.learning_rate)).collect();
    let momenta: Float64Array = rows().map(|(_, rate)| rate.momentum).collect();
    let weight_decays: Float64Array = rows().map(|(_, rate)| rate.weight_decay).collect();
    let sources: StringArray = rows().map(|(directive, _)| Some(source(directive.source))).collect();
    batch(
        schema,
        vec![
            Arc::new(steps),
            Arc::new(groups),
            Arc::new(learning_rates),
            Arc::new(momenta),
            Arc::new(weight_decays),
            Arc::new(sources),
        ],
    )
}

fn source(source: Source) -> &'static str {
    match source {
        Source::Schedule => "schedule",
        Source::Override => "override",
        Source::Pause => "pause",
    }
}

/// A row a decision.
pub(super) fn of_decisions(schema: &SchemaRef, decisions: &[Decision]) -> Result<RecordBatch, Failure> {
    let effects = decisions.iter().map(|decision| effect(decision.effect.as_ref())).collect::<Result<Vec<_>, _>>()?;
    let evidence =
        decisions.iter().map(|decision| figures(decision).map(Some)).collect::<Result<StringArray, Failure>>()?;
    let text = |of: fn(&Decision) -> &str| -> ArrayRef {
        Arc::new(decisions.iter().map(|decision| Some(of(decision))).collect::<StringArray>())
    };
    let number = |of: fn(&Decision) -> i64| -> ArrayRef {
        Arc::new(decisions.iter().map(|decision| Some(of(decision))).collect::<Int64Array>())
    };
    let times: TimestampMicrosecondArray = decisions.iter().map(microseconds).collect();
    batch(
        schema,
        vec![
            text(|decision| decision.name.rsplit('/').next().unwrap_or_default()),
            number(|decision| decision.attempt),
            number(|decision| decision.step),
            number(|decision| decision.effective_step),
            text(|decision| author(decision).0),
            text(|decision| author(decision).1),
            Arc::new(effects.iter().map(|(kind, _)| Some(*kind)).collect::<StringArray>()),
            text(|decision| &decision.reason),
            Arc::new(evidence),
            Arc::new(effects.iter().map(|(_, effect)| Some(effect.as_str())).collect::<StringArray>()),
            Arc::new(times.with_timezone("UTC")),
        ],
    )
}

fn author(decision: &Decision) -> (&'static str, &str) {
    match &decision.author {
        Some(Author::Person(person)) => ("person", person),
        Some(Author::Controller(controller)) => ("controller", controller),
        None => ("", ""),
    }
}

/// The name of an effect, as in the API, and the effect itself.
fn effect(effect: Option<&Effect>) -> Result<(&'static str, String), Failure> {
    Ok(match effect {
        Some(Effect::BaseRateChange(change)) => ("base_rate_change", json(change)?),
        Some(Effect::RateOverride(order)) => ("rate_override", json(order)?),
        Some(Effect::OverrideCleared(cleared)) => ("override_cleared", json(cleared)?),
        Some(Effect::SchedulePaused(paused)) => ("schedule_paused", json(paused)?),
        Some(Effect::ScheduleResumed(resumed)) => ("schedule_resumed", json(resumed)?),
        Some(Effect::SpecChange(change)) => ("spec_change", json(change)?),
        Some(Effect::Advice(advice)) => ("advice", json(advice)?),
        None => ("", "{}".to_owned()),
    })
}

fn figures(decision: &Decision) -> Result<String, Failure> {
    json(&decision.evidence)
}

fn json<T: Serialize>(value: &T) -> Result<String, Failure> {
    serde_json::to_string(&Canonical(value)).map_err(|error| failed(format!("can not write a decision: {error}")))
}

fn microseconds(decision: &Decision) -> Option<i64> {
    let time = decision.create_time.as_ref()?;
    time.seconds.checked_mul(1_000_000)?.checked_add(i64::from(time.nanos) / 1000)
}

fn whole(step: u64) -> Option<i64> {
    i64::try_from(step).ok()
}

fn batch(schema: &SchemaRef, columns: Vec<ArrayRef>) -> Result<RecordBatch, Failure> {
    RecordBatch::try_new(schema.clone(), columns).map_err(|error| failed(format!("can not lay out a table: {error}")))
}
