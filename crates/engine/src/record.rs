//! The record of who changed what: made of an order, written with the change itself, and told in the log in words.

use serde_json::{Map, Value};
use tracing::info;
use uuid::Uuid;

use crate::api::{Error, Order};
use lrs_model::{
    change::{Change, ChangeKind},
    decision::{Decision, Effect, OverrideSetting, RateOverride},
    job::{JobRow, State, Timestamp},
    spec::Spec,
};
use lrs_store::Write;

/// The most characters of particulars.
const MAX_DETAIL_CHARS: usize = 500;

/// The record of what `order` does to the job.
pub fn change(row: &JobRow, kind: ChangeKind, order: &Order, now: Timestamp) -> Change {
    Change {
        id: Uuid::now_v7(),
        job: row.id,
        job_name: row.name.clone(),
        kind,
        detail: String::new(),
        author: order.author.clone(),
        origin: order.origin,
        reason: order.reason.clone(),
        step: None,
        decision: None,
        request_id: order.request_id.clone(),
        fingerprint: order.fingerprint,
        create_time: now,
    }
}

/// The record of a person's decision, which makes `next` of the job's row if it changes that.
pub fn of_decision(row: &JobRow, decision: &Decision, order: &Order, next: Option<&JobRow>) -> Change {
    let (kind, detail) = match &decision.effect {
        Effect::Pause => (ChangeKind::Paused, String::new()),
        Effect::Resume => (ChangeKind::Resumed, String::new()),
        Effect::Override(order) => (ChangeKind::Overridden, in_words(order)),
        Effect::ClearOverride => (ChangeKind::OverrideCleared, String::new()),
        Effect::Advice(_) => (ChangeKind::StopAdvised, String::new()),
        Effect::WithdrawAdvice(_) => (ChangeKind::StopWithdrawn, String::new()),
        Effect::Spec(_) | Effect::BaseRates(_) => {
            (ChangeKind::SpecChanged, next.map(|next| fields_changed(&row.spec, &next.spec)).unwrap_or_default())
        }
    };
    Change {
        detail,
        step: Some(decision.effective_step),
        decision: Some(decision.id.to_string()),
        ..change(row, kind, order, decision.create_time)
    }
}

/// How a job that ended so is recorded.
pub fn of_end(state: State) -> ChangeKind {
    match state {
        State::Failed => ChangeKind::Failed,
        State::Cancelled => ChangeKind::Cancelled,
        State::Completed | State::Pending | State::Running | State::Paused => ChangeKind::Completed,
    }
}

/// The names of the fields that differ.
pub fn fields_changed(old: &Spec, new: &Spec) -> String {
    let fields = |spec| match serde_json::to_value(spec) {
        Ok(Value::Object(fields)) => fields,
        _ => Map::new(),
    };
    let (old, new) = (fields(old), fields(new));
    let changed: Vec<&str> =
        new.iter().filter(|(name, value)| old.get(*name) != Some(value)).map(|(name, _)| &**name).collect();
    if changed.is_empty() { "the words of the spec".to_owned() } else { changed.join(", ") }
}

fn in_words(order: &RateOverride) -> String {
    let setting = match &order.setting {
        OverrideSetting::Factor(factor) => format!("{factor} times the schedule"),
        OverrideSetting::Fixed(rates) => {
            let rates: Vec<String> = rates.iter().map(|(group, rate)| format!("{group} = {rate:e}")).collect();
            rates.join(", ")
        }
    };
    let until = order.end_step.map(|end| format!(" up to step {end}")).unwrap_or_default();
    format!("{setting}{until}").chars().take(MAX_DETAIL_CHARS).collect()
}

/// The write of the record of a change of its job.
pub fn write(change: &Change) -> Write {
    Write::RecordChange { of: change.job, change: Box::new(change.clone()) }
}

/// Says in the log what was done, once it is durable.
pub fn tell(change: &Change) {
    let Change { job, job_name, kind, author, origin, .. } = change;
    info!(job.name = %job_name, job.uid = %job, author, kind = kind.as_str(), origin = origin.as_str(), "{}", change.sentence());
}

/// Checks that a request that was seen before asked for the same.
///
/// # Errors
/// If it asked for something else.
pub fn check_repeat(known: &Change, kinds: &[ChangeKind], order: &Order) -> Result<(), Error> {
    if kinds.contains(&known.kind) && known.fingerprint == order.fingerprint {
        return Ok(());
    }
    let request_id = order.request_id.clone().unwrap_or_default();
    Err(Error::RequestIdReused { job: known.job_name.clone(), request_id })
}
