//! Metrics that are looked at from the wrong side, to judge by their names.

use lrs_model::{
    controller::{Mode, ThresholdMode},
    spec::Spec,
};

use super::Controller;

/// Words in the names of metrics of which more is better.
const MORE_IS_BETTER: [&str; 19] = [
    "acc",
    "accuracy",
    "auc",
    "auroc",
    "bleu",
    "dice",
    "elbo",
    "f1",
    "iou",
    "map",
    "ndcg",
    "precision",
    "psnr",
    "r2",
    "recall",
    "reward",
    "rewards",
    "rouge",
    "ssim",
];
/// Words in the names of metrics of which less is better.
const LESS_IS_BETTER: [&str; 12] =
    ["cer", "error", "fid", "loss", "mae", "mse", "nll", "perplexity", "ppl", "rmse", "wer", "bpb"];
/// Words in the names of metrics that are often negative.
const OFTEN_NEGATIVE: [&str; 13] = [
    "advantage",
    "critic",
    "elbo",
    "energy",
    "likelihood",
    "loglik",
    "loglikelihood",
    "logp",
    "logprob",
    "return",
    "returns",
    "reward",
    "rewards",
];

fn has_word(metric: &str, words: &[&str]) -> bool {
    let mut found = metric.split(|c: char| !c.is_alphanumeric()).map(str::to_lowercase);
    found.any(|word| words.contains(&word.as_str()) || words.contains(&word.trim_end_matches(char::is_numeric)))
}

/// Why `mode` is probably the wrong direction of `metric`.
fn doubt(metric: &str, mode: Mode) -> Option<String> {
    let (is_more, is_less) = (has_word(metric, &MORE_IS_BETTER), has_word(metric, &LESS_IS_BETTER));
    match (mode, is_more, is_less) {
        (Mode::Min, true, false) => {
            Some(format!("takes lower values of {metric} for better: set mode to MODE_MAX if higher is better"))
        }
        (Mode::Max, false, true) => {
            Some(format!("takes higher values of {metric} for better: set mode to MODE_MIN if lower is better"))
        }
        _ => None,
    }
}

/// A direction that is not the usual one of the metric.
pub(super) fn other_direction(spec: &Spec, found: &mut Vec<String>) {
    if let Some(objective) = &spec.objective {
        found.extend(doubt(&objective.metric, objective.mode).map(|doubt| format!("objective {doubt}")));
    }
    for controller in Controller::all(spec) {
        let Some(metric) = controller.param::<String>("metric") else { continue };
        // The others have no mode, because lower is always better for them.
        let mode = match controller.native.kind() {
            "optax_plateau" | "statistical_plateau" => Some(Mode::Min),
            _ => controller.param("mode"),
        };
        let doubt = mode.and_then(|mode| doubt(&metric, mode));
        found.extend(doubt.map(|doubt| format!("{} {doubt}", controller.title)));
    }
}

/// A threshold relative to a value that is probably negative.
pub(super) fn relative_to_a_negative(spec: &Spec, found: &mut Vec<String>) {
    for controller in Controller::all(spec) {
        let threshold = |name: &str| controller.param::<f64>(name).is_some_and(|threshold| threshold > 0.0);
        let is_relative = match controller.native.kind() {
            "optax_plateau" => threshold("rtol") && !threshold("atol"),
            _ => controller.param("threshold_mode") == Some(ThresholdMode::Rel) && threshold("threshold"),
        };
        let Some(metric) = controller.param::<String>("metric").filter(|_| is_relative) else { continue };
        let objective = spec.objective.as_ref().filter(|objective| objective.metric == metric);
        let aims_below = objective.and_then(|objective| objective.target).is_some_and(|target| target < 0.0);
        if aims_below || has_word(&metric, &OFTEN_NEGATIVE) {
            found.push(format!(
                "{} has a threshold relative to the best value of {metric}, which may be negative: there a value that is \
                 no better counts as an improvement, and the rate is not cut; use an absolute threshold",
                controller.title
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::with;
    use lrs_model::spec::Objective;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_direction_that_is_not_the_usual_one_is_named() {
        let found = with(json!({"reduce_lr_on_plateau": {"metric": "val/acc1"}}), |_| {});
        assert_eq!(
            found,
            [
                "controllers[0] (reduce_lr_on_plateau) takes lower values of val/acc1 for better: set mode to MODE_MAX if \
              higher is better"
            ]
        );
        let found = with(json!("auto"), |spec| spec.objective = Some(Objective::new("val_loss", Mode::Max)));
        assert!(found[0].starts_with("objective takes higher values of val_loss for better"), "{found:?}");
        let found = with(json!("auto"), |spec| spec.objective = Some(Objective::new("val_F1", Mode::Min)));
        assert_eq!(found.len(), 1);
        assert_eq!(with(json!({"statistical_plateau": {"metric": "reward"}}), |_| {}).len(), 1);
        for metric in ["accuracy_loss", "val_loss", "mapping", "x"] {
            assert_eq!(with(json!({"keras_plateau": {"metric": metric, "unit": "step"}}), |_| {}), [""; 0], "{metric}");
        }
    }

    #[test]
    fn a_relative_threshold_on_what_may_be_negative_is_named() {
        let plateau = |mode: &str| {
            json!({"reduce_lr_on_plateau":
                {"metric": "val_log_likelihood", "mode": "max", "threshold_mode": mode}})
        };
        let found = with(plateau("rel"), |_| {});
        assert!(found[0].contains("has a threshold relative to the best value of val_log_likelihood"), "{found:?}");
        assert_eq!(with(plateau("abs"), |_| {}), [""; 0]);
        let aimed = |spec: &mut Spec| {
            spec.objective = Some(Objective { target: Some(-3.0), ..Objective::new("val_gap", Mode::Min) });
        };
        assert_eq!(with(json!({"optax_plateau": {"metric": "val_gap"}}), aimed).len(), 1);
        assert_eq!(with(json!({"keras_plateau": {"metric": "val_gap"}}), aimed), [""; 0]);
    }
}
