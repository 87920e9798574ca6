//! The result of a replay as text and as JSON.

use serde_json::{Value, json};

use super::{
    Finding,
    difference::{Difference, FieldDifference, WHOLE},
};
use crate::cli::{
    failure::{Exit, Failure},
    heart::Strayed,
    rate_move,
};
use lrs_model::decision::{Decision, Effect};

/// How many strayed steps are listed in the text.
const SHOWN_STEPS: usize = 10;

/// For people.
pub(super) fn text(finding: &Finding) -> String {
    let Finding { title, attempt, records, recomputed, differences } = finding;
    let count = recomputed.decisions.len();
    let head = format!("{title}, attempt {attempt}: {records} records, {count} decisions recomputed.\n");
    let decisions = match differences.as_deref() {
        None => recomputed.decisions.iter().map(decision_line).collect(),
        Some([]) => "All are those recorded.\n".to_owned(),
        Some(differences) => differences.iter().map(difference_lines).collect::<String>(),
    };
    head + &decisions + &strayed_lines(&recomputed.strayed)
}

fn strayed_lines(strayed: &[Strayed]) -> String {
    if strayed.is_empty() {
        return "Every step whose rate was reported was trained with its directive's.\n".to_owned();
    }
    let head = format!("{} steps were trained with another rate than their directive's:\n", strayed.len());
    let line =
        |step: &Strayed| format!("  step {}: used {}, directive {}\n", step.step, step.used_lr, step.directive_lr);
    let shown: String = strayed.iter().take(SHOWN_STEPS).map(line).collect();
    let rest = strayed.len().saturating_sub(SHOWN_STEPS);
    head + &shown + &if rest > 0 { format!("  … and {rest} more\n") } else { String::new() }
}

fn difference_lines(difference: &Difference) -> String {
    let fields = difference.fields.iter().map(|FieldDifference { field, recorded, recomputed }| {
        let name = if field == WHOLE { String::new() } else { format!("{field} ") };
        let side = |value: &Option<Value>| value.as_ref().map_or_else(|| "nothing".to_owned(), ToString::to_string);
        format!("  - recorded   {name}{}\n  + recomputed {name}{}\n", side(recorded), side(recomputed))
    });
    format!("step {}, decision {}:\n{}", difference.step, difference.decision, fields.collect::<String>())
}

/// For programs.
pub(super) fn document(finding: &Finding) -> Result<Value, Failure> {
    let unwritable = |error| Failure::new(Exit::Failed, format!("cannot write the finding: {error}"));
    let strayed = finding.recomputed.strayed.iter().map(|step| {
        json!({"step": step.step, "used_learning_rate": step.used_lr, "directive_learning_rate": step.directive_lr})
    });
    Ok(json!({
        "history": finding.title,
        "attempt": finding.attempt,
        "records": finding.records,
        "decisions": serde_json::to_value(&finding.recomputed.decisions).map_err(unwritable)?,
        "differences": serde_json::to_value(&finding.differences).map_err(unwritable)?,
        "strayed_steps": strayed.collect::<Vec<_>>(),
    }))
}

/// A decision as a line of text.
pub(super) fn decision_line(decision: &Decision) -> String {
    let effect = match &decision.effect {
        Effect::BaseRates(change) => {
            let groups = change.groups.iter().map(|group| (&*group.group, group.previous_base_lr, group.base_lr));
            rate_move::words(groups, change.shape, change.restore.as_deref())
        }
        Effect::Advice(_) => "advice".to_owned(),
        // These are people's.
        Effect::Override(_)
        | Effect::ClearOverride
        | Effect::Pause
        | Effect::Resume
        | Effect::Spec(_)
        | Effect::WithdrawAdvice(_) => String::new(),
    };
    format!("  step {}: {effect}, from step {} on ({})\n", decision.step, decision.effective_step, decision.reason)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::heart::{Recomputed, Strayed};

    fn finding(differences: Option<Vec<Difference>>, strayed_steps: u64) -> Finding {
        let strayed = (0..strayed_steps).map(|step| Strayed { step, used_lr: 1.0, directive_lr: 0.5 }).collect();
        let recomputed = Recomputed { decisions: Vec::new(), strayed };
        Finding { title: "cifar".to_owned(), attempt: 1, records: 9, recomputed, differences }
    }

    #[test]
    fn a_clean_replay_says_so_and_how_much_it_looked_at() {
        let text = text(&finding(Some(Vec::new()), 0));
        assert!(
            text.starts_with("cifar, attempt 1: 9 records, 0 decisions recomputed.\nAll are those recorded.\n"),
            "{text}"
        );
    }

    #[test]
    fn a_difference_shows_both_sides() {
        let field = FieldDifference {
            field: "effective_step".to_owned(),
            recorded: Some(4.into()),
            recomputed: Some(5.into()),
        };
        let difference = Difference { decision: "a1-s3-c0".to_owned(), step: 3, fields: vec![field] };
        let text = text(&finding(Some(vec![difference]), 0));
        assert!(text.contains("  - recorded   effective_step 4\n  + recomputed effective_step 5\n"), "{text}");
    }

    #[test]
    fn many_strayed_steps_are_counted_and_few_are_listed() {
        let text = text(&finding(None, 25));
        assert!(text.contains("25 steps were trained with another rate"), "{text}");
        assert!(text.contains("… and 15 more") && text.lines().count() < 15, "{text}");
    }

    #[test]
    fn a_program_gets_it_all() {
        let document = document(&finding(Some(Vec::new()), 25)).unwrap();
        assert_eq!(document["strayed_steps"].as_array().map(Vec::len), Some(25));
        assert_eq!(document["differences"], json!([]));
    }
}
