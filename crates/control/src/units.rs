//! The unit that a plateau controller counts in where its spec does not say it.

use crate::{epochs::UNIT, greedy::Greedy, kind::Kind as _, optax_plateau::OptaxPlateau, threshold::Threshold};
use lrs_model::{
    controller::ControllerSpec,
    schedule::Unit,
    telemetry::{GRAD_NORM, LOSS},
};

/// The words in the name of a metric that trainers measure in an evaluation, not at each step.
const EVALUATIONS: [&str; 8] = ["val", "valid", "validation", "eval", "evaluation", "test", "dev", "holdout"];

/// Whether a trainer reports this metric only when it evaluates, to judge by its name: `val_loss`, `eval/accuracy`.
#[must_use]
pub fn is_evaluation(metric: &str) -> bool {
    let mut words = metric.split(|c: char| !c.is_alphanumeric());
    metric != LOSS && metric != GRAD_NORM && words.any(|word| EVALUATIONS.contains(&word.to_lowercase().as_str()))
}

/// What `spec`, which has its defaults written out, counts; `None` for a kind of controller without a unit.
///
/// A unit that is not written is epochs if the job has `steps_per_epoch` and the metric is not an evaluation.
/// `greedy` counts values, because transformers steps it at each update, and so does `optax_plateau` with an
/// `accumulation_size`, which is such a mean already. A `threshold` watches values.
#[must_use]
pub fn unit_of(spec: &ControllerSpec, steps_per_epoch: Option<u64>) -> Option<Unit> {
    let params = spec.params();
    let written = params.get(UNIT)?;
    if !written.is_null() {
        return serde_json::from_value(written.clone()).ok();
    }
    let accumulates = params.get("accumulation_size").and_then(serde_json::Value::as_u64).is_some_and(|size| size > 1);
    let counts_values = [Greedy::NAME, Threshold::NAME].contains(&spec.kind())
        || (spec.kind() == OptaxPlateau::NAME && accumulates)
        || params.get("metric").and_then(serde_json::Value::as_str).is_some_and(is_evaluation);
    Some(if counts_values || steps_per_epoch.is_none() { Unit::Step } else { Unit::Epoch })
}

/// `spec`, which has its defaults written out, with its unit written out too.
pub(crate) fn with_unit(mut spec: ControllerSpec, steps_per_epoch: Option<u64>) -> ControllerSpec {
    if let Some(unit) = unit_of(&spec, steps_per_epoch) {
        spec.params_mut().insert(UNIT.to_owned(), serde_json::json!(unit));
    }
    spec
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_unit_is_epochs_where_they_are_known_and_the_metric_comes_at_each_step() {
        let unit = |kind: &str, params: serde_json::Value, steps_per_epoch| {
            let spec: ControllerSpec = serde_json::from_value(json!({ kind: params })).unwrap();
            unit_of(&crate::complete(&spec).unwrap(), steps_per_epoch)
        };
        for metric in ["loss", "grad_norm", "train_loss", "accuracy", "evaluated"] {
            assert_eq!(unit("keras_plateau", json!({"metric": metric}), Some(9)), Some(Unit::Epoch), "{metric}");
            assert_eq!(unit("keras_plateau", json!({"metric": metric}), None), Some(Unit::Step), "{metric}");
        }
        for metric in ["val_loss", "eval/accuracy", "Validation-top1", "imagenet_test_error"] {
            assert_eq!(unit("keras_plateau", json!({"metric": metric}), Some(9)), Some(Unit::Step), "{metric}");
        }
        assert_eq!(unit("keras_plateau", json!({"unit": "step"}), Some(9)), Some(Unit::Step));
        assert_eq!(unit("greedy", json!({}), Some(9)), Some(Unit::Step));
        assert_eq!(unit("optax_plateau", json!({}), Some(9)), Some(Unit::Epoch));
        assert_eq!(unit("optax_plateau", json!({"accumulation_size": 9}), Some(9)), Some(Unit::Step));
        assert_eq!(unit("auto", json!({}), Some(9)), None);
    }
}
