//! What the engine counts, for `/metrics`. Each value of a label shows from the start.

use lrs_control::{Kind as _, OBJECTIVE, threshold::Threshold};
use lrs_model::{
    decision::{Author, Decision, Effect, Topic},
    job::State,
};
use lrs_runtime::metrics::{
    self,
    families::{ADVICE, COMMIT_FAILURES, DECISIONS, JOBS, JOBS_BY_HEALTH, TELEMETRY_REFUSED, TELEMETRY_SAMPLES},
};
use lrs_store as store;

use crate::health::HealthState;

const PERSON: &str = "person";
const CONTROLLER: &str = "controller";
/// The controller of a decision by a person.
const NONE: &str = "";
/// A controller written in the words of another library.
const LIBRARY: &str = "library";
/// The kinds of [`store::Error`].
const FAILURES: [&str; 12] = [
    "unavailable",
    "busy",
    "outcome_unknown",
    "denied",
    "inconsistent",
    "newer_schema",
    "older_schema",
    "taken",
    "deposed",
    "lost_tail",
    "differs",
    "refused",
];

/// Shows every value of every label, with 0.
pub fn show() {
    for state in State::ALL {
        JOBS.show([label(state)]);
    }
    for health in HealthState::ALL {
        JOBS_BY_HEALTH.show([health.as_str()]);
    }
    DECISIONS.show([PERSON, NONE]);
    for kind in lrs_control::kinds().chain([LIBRARY]) {
        DECISIONS.show([CONTROLLER, kind]);
    }
    for topic in Topic::ALL {
        ADVICE.show([PERSON, topic.label()]);
        ADVICE.show([CONTROLLER, topic.label()]);
    }
    for is_final in [true, false] {
        metrics::told(is_final, 0);
    }
    for reason in REFUSALS {
        TELEMETRY_REFUSED.show([reason]);
    }
    for kind in FAILURES {
        COMMIT_FAILURES.show([kind]);
    }
}

/// Counts a decision, and the advice in it.
pub fn decided(decision: &Decision) {
    let (author, controller) = match &decision.author {
        Author::Person(_) => (PERSON, NONE),
        Author::Controller(name) => {
            let kind = name.split_once('/').map_or(name.as_str(), |(_, kind)| kind);
            let kind = if kind == OBJECTIVE { Threshold::NAME } else { kind };
            (CONTROLLER, lrs_control::kinds().find(|known| *known == kind).unwrap_or(LIBRARY))
        }
    };
    DECISIONS.counter([author, controller]).increment(1);
    if let Effect::Advice(topic) = &decision.effect {
        ADVICE.counter([author, topic.label()]).increment(1);
    }
}

/// Counts samples that were taken.
pub fn taken(samples: usize) {
    TELEMETRY_SAMPLES.counter([]).increment(samples as u64);
}

/// Why samples are not taken, in the order of [`crate::cell::Cell::count`].
const REFUSALS: [&str; 3] = ["repeated", "conflicting", "late"];

/// Counts samples that were not taken: repeated, conflicting, late.
pub fn refused(samples: [u64; 3]) {
    for (reason, samples) in REFUSALS.into_iter().zip(samples).filter(|(_, samples)| *samples > 0) {
        TELEMETRY_REFUSED.counter([reason]).increment(samples);
    }
}

/// Counts a transaction that failed.
pub fn commit_failed(failure: &store::Error) {
    let kind = match failure {
        // Nothing has failed.
        store::Error::Withdrawn | store::Error::Undone => return,
        store::Error::Unavailable(_) => FAILURES[0],
        store::Error::Busy(_) => FAILURES[1],
        store::Error::OutcomeUnknown(_) => FAILURES[2],
        store::Error::Denied(_) => FAILURES[3],
        store::Error::Inconsistent { .. } => FAILURES[4],
        store::Error::NewerSchema { .. } => FAILURES[5],
        store::Error::OlderSchema { .. } => FAILURES[6],
        store::Error::Taken { .. } => FAILURES[7],
        store::Error::Deposed { .. } => FAILURES[8],
        store::Error::LostTail { .. } => FAILURES[9],
        store::Error::Differs { .. } => FAILURES[10],
        store::Error::Refused { .. } => FAILURES[11],
    };
    COMMIT_FAILURES.counter([kind]).increment(1);
}

/// The state as a label.
pub fn label(state: State) -> &'static str {
    match state {
        State::Pending => "pending",
        State::Running => "running",
        State::Paused => "paused",
        State::Completed => "completed",
        State::Failed => "failed",
        State::Cancelled => "cancelled",
    }
}
