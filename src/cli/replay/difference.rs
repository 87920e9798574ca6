//! Differences between recomputed and recorded decisions.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use crate::cli::heart;
use lrs_model::decision::{Decision, DecisionId};

/// A decision that is missing on one side, or differs between the sides.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Difference {
    /// The last part of the decision's name.
    pub decision: String,
    /// The step it was taken at.
    pub step: u64,
    /// The recorded and the recomputed value of each field that differs; a decision that is missing on one side differs
    /// as a whole.
    pub fields: Vec<FieldDifference>,
}

/// A field of a decision with two values.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct FieldDifference {
    pub field: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recorded: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recomputed: Option<Value>,
}

/// The [`FieldDifference::field`] that stands for the whole decision.
pub(super) const WHOLE: &str = "decision";

/// All differences, by step.
pub(super) fn between(recorded: &[&Decision], recomputed: &[Decision]) -> Vec<Difference> {
    let mut pairs: BTreeMap<(u64, DecisionId), [Option<&Decision>; 2]> = BTreeMap::new();
    for decision in recorded {
        pairs.entry((decision.step, decision.id)).or_default()[0] = Some(decision);
    }
    for decision in recomputed {
        pairs.entry((decision.step, decision.id)).or_default()[1] = Some(decision);
    }
    let difference = |((step, id), pair): ((u64, DecisionId), [Option<&Decision>; 2])| {
        let fields = match pair {
            [Some(a), Some(b)] if heart::same_decision(a, b) => return None,
            [Some(a), Some(b)] => fields(&value(a), &value(b)),
            [a, b] => {
                vec![FieldDifference { field: WHOLE.to_owned(), recorded: a.map(value), recomputed: b.map(value) }]
            }
        };
        Some(Difference { decision: id.to_string(), step, fields })
    };
    pairs.into_iter().filter_map(difference).collect()
}

/// The decision as JSON, without the time it was stored at.
fn value(decision: &Decision) -> Value {
    let mut value = serde_json::to_value(decision).unwrap_or_default();
    if let Some(fields) = value.as_object_mut() {
        fields.remove("create_time");
    }
    value
}

/// The members of two objects that differ, those of the evidence one by one.
fn fields(a: &Value, b: &Value) -> Vec<FieldDifference> {
    let mut found = Vec::new();
    let names = [a, b].into_iter().filter_map(Value::as_object).flat_map(|object| object.keys());
    let names: std::collections::BTreeSet<&String> = names.collect();
    for name in names {
        let (recorded, recomputed) = (a.get(name), b.get(name));
        match (recorded, recomputed) {
            (Some(x), Some(y)) if x == y => {}
            (Some(x @ Value::Object(_)), Some(y @ Value::Object(_))) => {
                let inner = fields(x, y).into_iter();
                found.extend(inner.map(|part| FieldDifference { field: format!("{name}.{}", part.field), ..part }));
            }
            _ => found.push(FieldDifference {
                field: name.clone(),
                recorded: recorded.cloned(),
                recomputed: recomputed.cloned(),
            }),
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use lrs_model::{
        decision::{Author, Effect},
        job::Timestamp,
    };

    fn decision(step: u64) -> Decision {
        Decision {
            id: DecisionId::Controller { attempt: 1, step, controller: 0 },
            attempt: 1,
            step,
            effective_step: step + 1,
            author: Author::Controller("0/reduce_lr_on_plateau".to_owned()),
            reason: String::new(),
            evidence: [("best".to_owned(), f64::NAN), ("current".to_owned(), 1.0)].into(),
            effect: Effect::Resume,
            create_time: Timestamp(0),
        }
    }

    #[test]
    fn the_time_of_storing_is_no_difference_and_a_nan_equals_itself() {
        let stored = Decision { create_time: Timestamp(5), ..decision(3) };
        assert_eq!(between(&[&stored], &[decision(3)]), []);
    }

    #[test]
    fn a_field_that_differs_is_named_with_both_values() {
        let mut stored = decision(3);
        stored.evidence.insert("current".to_owned(), 2.0);
        let found = between(&[&stored], &[decision(3)]);
        assert_eq!(found[0].decision, "a1-s3-c0");
        let field = &found[0].fields[..];
        assert_eq!(field.len(), 1);
        assert_eq!(field[0].field, "evidence.current");
        assert_eq!((&field[0].recorded, &field[0].recomputed), (&Some(2.0.into()), &Some(1.0.into())));
    }

    #[test]
    fn a_decision_on_one_side_differs_as_a_whole() {
        let found = between(&[&decision(3)], &[decision(4)]);
        assert_eq!(found.iter().map(|d| d.step).collect::<Vec<_>>(), [3, 4]);
        assert!(found[0].fields[0].recomputed.is_none() && found[1].fields[0].recorded.is_none());
    }
}
