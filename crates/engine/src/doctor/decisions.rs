//! The decisions of controllers, made once more and compared with the record.

use std::collections::{BTreeMap, HashSet};

use super::{Ailment, Diagnosis, Patient};
use crate::{
    api,
    history::Records,
    lineage::{Part, lineage},
    recover,
    replay::{Replayer, same_decision},
};
use lrs_model::decision::{Decision, DecisionId};
use lrs_store::{Error, inspection::Inspection};

/// Compares what the controllers decided with what is recorded, over every step that any attempt trained.
pub(super) async fn examine(
    database: &dyn Inspection,
    patient: &Patient<'_>,
    diagnosis: &mut Diagnosis,
) -> Result<(), Error> {
    let pending = pending(database, patient).await?;
    // By attempt, the steps that have been compared: a later attempt's history shares those of earlier ones.
    let mut compared: BTreeMap<u32, u64> = BTreeMap::new();
    for attempt in patient.attempts.iter().rev() {
        let number = attempt.attempt;
        let end = patient.taken_end(number);
        // What was decided on the last records takes effect up to the decision lag later.
        let told_end = end.saturating_add(patient.row.initial_spec.decision_lag);
        if compared.get(&number).copied().unwrap_or(attempt.resume_step) >= told_end {
            continue;
        }
        let mut parts = lineage(&patient.attempts, number);
        if let Some(last) = parts.last_mut() {
            last.end = end;
        }
        let decisions = recompute(database, patient, number, parts.clone()).await?;
        diagnosis.counts.recomputed_decisions += decisions.len() as u64;
        if let Some(last) = parts.last_mut() {
            last.end = told_end;
        }
        for part in parts {
            let start = compared.get(&part.attempt).copied().unwrap_or(0).max(part.start);
            let part = Part { start, ..part };
            compare(patient, part, &decisions, &pending, diagnosis);
            let done = compared.entry(part.attempt).or_default();
            *done = part.end.max(*done);
        }
    }
    for decision in &patient.decisions {
        let DecisionId::Controller { attempt, step, .. } = decision.id else { continue };
        let end = patient.taken_end(attempt);
        if step >= end {
            let detail =
                format!("decision {} was taken on telemetry that is not there: it ends before step {end}", decision.id);
            diagnosis.find(Some(patient.name()), Ailment::Gap, detail);
        }
    }
    Ok(())
}

async fn recompute(
    database: &dyn Inspection,
    patient: &Patient<'_>,
    attempt: u32,
    parts: Vec<Part>,
) -> Result<Vec<Decision>, Error> {
    // The spec is valid with all decisions, so it is valid with fewer.
    let people = patient.people();
    let Ok(mut replayer) = Replayer::try_new(&patient.row.initial_spec, &patient.attempts, people, attempt) else {
        return Ok(Vec::new());
    };
    let end = parts.last().map_or(0, |part| part.end);
    let mut records = Records::new(database, patient.row.id, parts, 0..end);
    let mut decisions = Vec::new();
    while let Some(window) = records.next_window().await.map_err(store_error)? {
        for record in &window {
            decisions.extend(replayer.take(record));
        }
    }
    Ok(decisions)
}

/// The store's error: reading gives no others.
fn store_error(error: api::Error) -> Error {
    match error {
        api::Error::StoreUnavailable(problem) | api::Error::OutcomeUnknown(problem) => Error::Unavailable(problem),
        api::Error::StoreBusy(problem) => Error::Busy(problem),
        other => Error::refused("to be read", other),
    }
}

/// The decisions that the next start of a server will store, because the last server ended before it stored them.
async fn pending(database: &dyn Inspection, patient: &Patient<'_>) -> Result<HashSet<DecisionId>, Error> {
    if patient.row.state.is_ended() {
        return Ok(HashSet::new());
    }
    let record = database.job_records(std::slice::from_ref(&patient.row.name)).await?.pop();
    let Some(record) = record.filter(|record| record.id == patient.row.id) else { return Ok(HashSet::new()) };
    match recover::load(database, record).await {
        Ok(loaded) => {
            let unrecorded = loaded.running.iter().flat_map(|running| &running.unrecorded);
            Ok(unrecorded.map(|decision| decision.id).collect())
        }
        // The other examinations find it.
        Err(Error::Inconsistent { .. }) => Ok(HashSet::new()),
        Err(other) => Err(other),
    }
}

fn compare(
    patient: &Patient<'_>,
    part: Part,
    recomputed: &[Decision],
    pending: &HashSet<DecisionId>,
    diagnosis: &mut Diagnosis,
) {
    let counts = |decision: &&Decision| part.has_decision(decision) && !is_foreign(patient, decision);
    let mut pairs: BTreeMap<DecisionId, [Option<&Decision>; 2]> = BTreeMap::new();
    for decision in patient.decisions.iter().filter(counts) {
        pairs.entry(decision.id).or_default()[0] = Some(decision);
    }
    for decision in recomputed.iter().filter(counts) {
        pairs.entry(decision.id).or_default()[1] = Some(decision);
    }
    for (id, pair) in pairs {
        let detail = match pair {
            [Some(recorded), Some(recomputed)] if same_decision(recorded, recomputed) => continue,
            [Some(recorded), Some(recomputed)] => format!(
                "decision {id} is recorded otherwise than the telemetry gives it: from step {} on instead of {}, {:?} instead of {:?}",
                recorded.effective_step, recomputed.effective_step, recorded.effect, recomputed.effect
            ),
            [Some(_), None] => format!("decision {id} is recorded, but does not follow from the telemetry"),
            [None, _] if pending.contains(&id) => {
                diagnosis.counts.unrecorded_decisions += 1;
                continue;
            }
            [None, _] => format!("decision {id} follows from the telemetry, but is not recorded"),
        };
        diagnosis.find(Some(patient.name()), Ailment::Decision, detail);
    }
}

/// Whether a fork has the decision from its source and may decide otherwise itself, past the step of the fork.
fn is_foreign(patient: &Patient<'_>, decision: &Decision) -> bool {
    let fork = patient.row.forked_from.as_ref();
    fork.is_some_and(|fork| decision.attempt <= fork.attempt && decision.effective_step >= fork.step)
}
