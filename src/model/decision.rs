//! The only thing that changes a job's rate after registration.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

use super::{job::Timestamp, spec::Spec};

/// A decision and what led to it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    /// Unique within the job.
    pub id: DecisionId,
    /// The attempt it was taken in; 0 before the first.
    pub attempt: u32,
    /// The newest step whose telemetry it knows, or for a person's decision the newest step given out as final.
    pub step: u64,
    /// The first step whose directive it changes.
    pub effective_step: u64,
    /// Who took it.
    pub author: Author,
    /// A person's reason, or a controller's evidence in words.
    pub reason: String,
    /// The figures behind a controller's decision.
    #[serde(with = "super::number::map")]
    pub evidence: BTreeMap<String, f64>,
    /// What it does.
    pub effect: Effect,
    /// When it was taken, or for a controller's first stored. No part of the decision itself: replay does not compare it.
    pub create_time: Timestamp,
}

/// Which decision of a job it is.
///
/// A person's are counted in the order they were taken, over all attempts. A controller's is known by where it was taken,
/// so that recomputing it gives the same identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DecisionId {
    /// The `seq`-th decision by a person, from 1.
    Person {
        /// Counted from 1.
        seq: u64,
    },
    /// By controller number `controller` of the spec, at `step` of `attempt`.
    Controller {
        /// The attempt whose telemetry it was taken on.
        attempt: u32,
        /// The step it was taken at.
        step: u64,
        /// The controller's place in the spec, from 0.
        controller: u32,
    },
}

impl fmt::Display for DecisionId {
    /// The last part of the decision's resource name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Person { seq } => write!(f, "p{seq}"),
            Self::Controller { attempt, step, controller } => write!(f, "a{attempt}-s{step}-c{controller}"),
        }
    }
}

impl DecisionId {
    /// Reads what `Display` writes; `None` for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if let Some(seq) = text.strip_prefix('p') {
            return Some(Self::Person { seq: seq.parse().ok()? });
        }
        let (attempt, rest) = text.strip_prefix('a')?.split_once("-s")?;
        let (step, controller) = rest.split_once("-c")?;
        Some(Self::Controller {
            attempt: attempt.parse().ok()?,
            step: step.parse().ok()?,
            controller: controller.parse().ok()?,
        })
    }
}

/// Who took a decision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Author {
    /// A person or program, by the name it gave.
    Person(String),
    /// A controller: `{place}/{kind}`.
    Controller(String),
}

/// What a decision does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// A controller moved base rates: one entry a group, in the order of the spec.
    BaseRates(Vec<BaseRateChange>),
    /// A person set the rate by hand.
    Override(RateOverride),
    /// A person ended the override.
    ClearOverride,
    /// A person stopped the schedule's clock.
    Pause,
    /// A person let the schedule's clock go on.
    Resume,
    /// A person changed the spec to this, in its native form.
    Spec(Box<Spec>),
}

/// A group's base rate before and after.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "described in proto/lrs/v1/decision.proto")]
pub struct BaseRateChange {
    pub group: String,
    pub previous_base_lr: f64,
    pub base_lr: f64,
}

/// The rate set by hand.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RateOverride {
    /// What to use.
    pub setting: OverrideSetting,
    /// The first step no longer overridden.
    pub end_step: Option<u64>,
}

/// How a rate is set by hand.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OverrideSetting {
    /// Absolute rates by group name; groups not named keep their schedule.
    Fixed(BTreeMap<String, f64>),
    /// All rates are the schedule's times this.
    Factor(f64),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identifier_survives_being_written_and_read() {
        for id in [
            DecisionId::Person { seq: u64::MAX },
            DecisionId::Controller { attempt: u32::MAX, step: u64::MAX, controller: u32::MAX },
        ] {
            assert_eq!(DecisionId::parse(&id.to_string()), Some(id));
        }
        for bad in ["", "p", "p-1", "x3", "a1-s2", "a1-c2-s3", "a1-s2-cx"] {
            assert_eq!(DecisionId::parse(bad), None, "{bad}");
        }
    }
}
