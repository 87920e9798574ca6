//! Decisions: nothing else changes a job's rate after registration.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

use super::{job::Timestamp, spec::Spec};

/// A decision with its reason and evidence.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    /// Unique within the job.
    pub id: DecisionId,
    /// The attempt in which a person took it, 0 before the first; of a controller's decision the attempt whose steps it
    /// changes.
    pub attempt: u32,
    /// The newest step whose telemetry a controller's decision rests on; for a person's decision, the newest step that
    /// was given out as final.
    pub step: u64,
    /// The first step whose directive it changes. A later attempt that begins before this step begins with a person's
    /// decision in force, unless it is an override with an end.
    pub effective_step: u64,
    /// The author of the decision.
    pub author: Author,
    /// A person's reason, or the evidence of a controller in words.
    pub reason: String,
    /// The figures behind a controller's or a program's decision.
    #[serde(with = "super::number::map")]
    pub evidence: BTreeMap<String, f64>,
    /// The effect of the decision.
    pub effect: Effect,
    /// When a person took the decision, or when a controller's decision was first stored. Replay does not compare it.
    pub create_time: Timestamp,
}

/// The identity of a decision within its job.
///
/// A person's decisions are counted in the order in which they were taken, over all attempts. A controller's decision
/// is identified by where it was taken, so that computing it again gives the same identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DecisionId {
    /// The `seq`-th decision by a person, from 1.
    Person {
        /// Counted from 1.
        seq: u64,
    },
    /// The decision of controller number `controller` of the spec, at `step` of `attempt`.
    Controller {
        /// The attempt in whose steps the decision takes effect. What was observed before its first step counts as that
        /// attempt's too, since other orders may be in force there.
        attempt: u32,
        /// The step at which the decision was taken.
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

/// The author of a decision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Author {
    /// A person or a program, by the name that it gave.
    Person(String),
    /// A controller, as `{place}/{kind}`.
    Controller(String),
}

/// The effect of a decision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// A controller moved base rates.
    BaseRates(RateMove),
    /// A controller found something that people should know, or a person advises to stop. Changes no rate.
    Advice(Topic),
    /// A person withdrew advice that people had given.
    WithdrawAdvice(Topic),
    /// A person set the rate by hand.
    Override(RateOverride),
    /// A person ended the override.
    ClearOverride,
    /// A person stopped the clock of the schedule.
    Pause,
    /// A person restarted the clock of the schedule.
    Resume,
    /// A person replaced the spec by this one, in its native form.
    Spec(Box<Spec>),
}

/// A controller's change of base rates.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "StoredRateMove")]
pub struct RateMove {
    /// One entry a group, in the order of the spec.
    pub groups: Vec<BaseRateChange>,
    /// How the rates run from there.
    pub shape: RateShape,
    /// The copy that the trainer first restores.
    pub restore: Option<String>,
}

/// The stored forms of a [`RateMove`]: the present form, and the form before moves had a shape.
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

/// How base rates run from the step at which they take effect until the next move.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RateShape {
    /// Whether the rates are the base rates themselves, without the schedule.
    pub is_flat: bool,
    /// The rates rise in a straight line over this many steps; 0 is at once.
    pub ramp_steps: u64,
    /// The rates fall to 0 over this last share of the total steps.
    pub cooldown_share: Option<f64>,
    /// The rates fall to 0 over these steps. Later moves keep it.
    #[serde(default)]
    pub cooldown: Option<Cooldown>,
}

/// Steps over which rates fall to 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cooldown {
    /// The last step at the full rate.
    pub start_step: u64,
    /// The number of steps after which the rate is 0.
    pub steps: u64,
}

/// Makes the enum of topics from its table.
macro_rules! topics {
    ($($(#[$meaning:meta])* $topic:ident, $name:literal, $label:literal, $words:literal;)*) => {
        /// The topic of advice.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum Topic {
            $($(#[$meaning])* $topic,)*
        }

        impl Topic {
            /// Every topic.
            pub const ALL: &[Self] = &[$(Self::$topic),*];

            /// The name of the topic in the interface.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$topic => $name,)*
                }
            }

            /// The name of the topic as a label: without its prefix, in lower case.
            #[must_use]
            pub const fn label(self) -> &'static str {
                match self {
                    $(Self::$topic => $label,)*
                }
            }

            /// Advice about the topic, in words.
            #[must_use]
            pub const fn words(self) -> &'static str {
                match self {
                    $(Self::$topic => $words,)*
                }
            }
        }
    };
}

// A topic is a row here and a value of `Advice.Topic` in decision.proto.
topics! {
    /// Training could stop.
    Stop, "TOPIC_STOP", "stop", "advice to stop";
    /// A range test is over.
    RangeTest, "TOPIC_RANGE_TEST", "range_test", "range test over";
    /// The gradient noise scale.
    NoiseScale, "TOPIC_NOISE_SCALE", "noise_scale", "gradient noise scale";
    /// A threshold or the objective's target was reached.
    Threshold, "TOPIC_THRESHOLD", "threshold", "threshold reached";
}

impl Topic {
    /// The topic with this name in the interface.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|topic| topic.name() == name)
    }
}

/// Advice in words, from the name of its topic in the interface.
#[must_use]
pub fn advice_words(topic: &str, is_withdrawn: bool) -> String {
    let words = Topic::by_name(topic).map_or("advice", Topic::words);
    if is_withdrawn { format!("{words} taken back") } else { words.to_owned() }
}

/// An action of a trainer of tier 2 between two steps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Keep a copy of parameters and optimizer state under this identifier.
    #[serde(rename = "snapshot")]
    Keep(String),
    /// Restore the copy under this identifier.
    Restore(String),
    /// The copy under this identifier is no longer needed.
    Forget(String),
}

/// Bounds on the norm of a step's gradient.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct NormBound {
    /// Scale the gradient down to this norm.
    pub clip_norm: Option<f64>,
    /// Skip the update if the norm is above this.
    pub skip_above_norm: Option<f64>,
}

/// The base rate of a group, before and after.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "described in proto/lrs/v1/decision.proto")]
pub struct BaseRateChange {
    pub group: String,
    pub previous_base_lr: f64,
    pub base_lr: f64,
}

/// A rate set by hand.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RateOverride {
    /// The rate or the factor.
    pub setting: OverrideSetting,
    /// The first step that is no longer overridden.
    pub end_step: Option<u64>,
}

/// How a rate is set by hand.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OverrideSetting {
    /// Absolute rates by group name; groups not named keep their schedule.
    Fixed(BTreeMap<String, f64>),
    /// A factor by which all scheduled rates are multiplied.
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
