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
    /// The figures behind a controller's or a program's decision.
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
    /// A controller moved base rates.
    BaseRates(RateMove),
    /// A controller found something that people should know, or a person advises to stop. It changes no rate.
    Advice(Topic),
    /// A person took back what people had advised.
    WithdrawAdvice(Topic),
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

/// Base rates moved by a controller.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "StoredRateMove")]
pub struct RateMove {
    /// One entry a group, in the order of the spec.
    pub groups: Vec<BaseRateChange>,
    /// How they run from there.
    pub shape: RateShape,
    /// The copy that the trainer goes back to first.
    pub restore: Option<String>,
}

/// What is stored of a [`RateMove`]: now, and before moves had a shape.
#[derive(Deserialize)]
#[serde(untagged)]
enum StoredRateMove {
    GroupsOnly(Vec<BaseRateChange>),
    Whole { groups: Vec<BaseRateChange>, shape: RateShape, restore: Option<String> },
}

impl From<StoredRateMove> for RateMove {
    fn from(stored: StoredRateMove) -> Self {
        match stored {
            StoredRateMove::GroupsOnly(groups) => Self { groups, ..Self::default() },
            StoredRateMove::Whole { groups, shape, restore } => Self { groups, shape, restore },
        }
    }
}

/// How base rates run from the step they take effect at until the next move.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RateShape {
    /// Whether the rates are the base rates themselves, whatever the schedule says.
    pub is_flat: bool,
    /// They rise in a straight line over so many steps; 0 is at once.
    pub ramp_steps: u64,
    /// Over this last share of the total steps they fall to 0.
    pub cooldown_share: Option<f64>,
}

/// Makes the topics of their table.
macro_rules! topics {
    ($($(#[$meaning:meta])* $topic:ident, $name:literal, $words:literal;)*) => {
        /// What advice is about.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum Topic {
            $($(#[$meaning])* $topic,)*
        }

        impl Topic {
            /// Every topic.
            pub const ALL: &[Self] = &[$(Self::$topic),*];

            /// What the interface calls the topic.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$topic => $name,)*
                }
            }

            /// What people call advice about the topic.
            #[must_use]
            pub const fn words(self) -> &'static str {
                match self {
                    $(Self::$topic => $words,)*
                }
            }
        }
    };
}

// A topic is a row here, and a value of `Advice.Topic` in decision.proto.
topics! {
    /// Training could stop.
    Stop, "TOPIC_STOP", "advice to stop";
    /// A range test is over.
    RangeTest, "TOPIC_RANGE_TEST", "range test over";
    /// The gradient noise scale.
    NoiseScale, "TOPIC_NOISE_SCALE", "gradient noise scale";
}

impl Topic {
    /// The topic that the interface calls so.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|topic| topic.name() == name)
    }
}

/// Advice in words, by what the interface calls its topic.
#[must_use]
pub fn advice_words(topic: &str, is_withdrawn: bool) -> String {
    let words = Topic::by_name(topic).map_or("advice", Topic::words);
    if is_withdrawn { format!("{words} taken back") } else { words.to_owned() }
}

/// Something that a trainer of tier 2 does between two steps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Keep a copy of parameters and optimizer state under this identifier.
    #[serde(rename = "snapshot")]
    Keep(String),
    /// Go back to the copy under this identifier.
    Restore(String),
    /// The copy under this identifier will not be asked for again.
    Forget(String),
}

/// Bounds on the norm of a step's gradient.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct NormBound {
    /// Scale the gradient down to this norm.
    pub clip_norm: Option<f64>,
    /// Leave the update out above this norm.
    pub skip_above_norm: Option<f64>,
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
    fn a_move_that_was_stored_before_moves_had_a_shape_is_still_read() {
        let stored = r#"{"base_rates":[{"group":"default","previous_base_lr":1.0,"base_lr":0.1}]}"#;
        let Effect::BaseRates(change) = serde_json::from_str(stored).unwrap() else { panic!("{stored}") };
        assert_eq!((change.groups.len(), change.shape), (1, RateShape::default()));
        let again = serde_json::to_string(&Effect::BaseRates(change.clone())).unwrap();
        assert_eq!(serde_json::from_str::<Effect>(&again).unwrap(), Effect::BaseRates(change));
    }

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
