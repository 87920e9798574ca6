//! The record of who changed what: made of an order, written with the change itself, and told in the log in words.

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

/// The record of a person's decision.
pub fn of_decision(row: &JobRow, decision: &Decision, order: &Order) -> Change {
    let (kind, detail) = match &decision.effect {
        Effect::Pause => (ChangeKind::Paused, String::new()),
        Effect::Resume => (ChangeKind::Resumed, String::new()),
        Effect::Override(order) => (ChangeKind::Overridden, in_words(order)),
        Effect::ClearOverride => (ChangeKind::OverrideCleared, String::new()),
        Effect::Advice(_) => (ChangeKind::StopAdvised, String::new()),
        Effect::WithdrawAdvice(_) => (ChangeKind::StopWithdrawn, String::new()),
        Effect::Spec(_) | Effect::BaseRates(_) => (ChangeKind::SpecChanged, String::new()),
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
    let fields = [
        ("display_name", old.display_name != new.display_name),
        ("groups", old.groups != new.groups),
        ("total_steps", old.total_steps != new.total_steps),
        ("steps_per_epoch", old.steps_per_epoch != new.steps_per_epoch),
        ("schedule", old.schedule != new.schedule),
        ("momentum_schedule", old.momentum_schedule != new.momentum_schedule),
        ("weight_decay_schedule", old.weight_decay_schedule != new.weight_decay_schedule),
        ("controllers", old.controllers != new.controllers),
        ("objective", old.objective != new.objective),
        ("base_lr_from", old.base_lr_from != new.base_lr_from),
        ("experiment", old.experiment != new.experiment),
        ("arm", old.arm != new.arm),
        ("seed", old.seed != new.seed),
        ("labels", old.labels != new.labels),
        ("decision_lag", old.decision_lag != new.decision_lag),
        ("commit_ahead", old.commit_ahead != new.commit_ahead),
        ("reporting_ranks", old.reporting_ranks != new.reporting_ranks),
        ("rate_limits", old.rate_limits != new.rate_limits),
        ("tier", old.tier != new.tier),
    ];
    let changed: Vec<&str> = fields.iter().filter(|(_, differs)| *differs).map(|(name, _)| *name).collect();
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
