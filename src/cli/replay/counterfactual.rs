//! The decisions and rates that another spec would have given on a recorded run, beside those of the run's own spec.

use std::path::Path;

use serde_json::{Value, json};

use super::{History, report::decision_line};
use crate::cli::{
    failure::{Exit, Failure},
    heart::{self, Counterfactual},
    jobfile, output,
    overlay::{object_of, overlay, spec_of},
    yaml,
};
use lrs_model::{decision::Decision, spec::Spec};

/// How many steps are shown in the text.
const SHOWN_STEPS: usize = 20;
/// How many steps are shown in the JSON.
const LISTED_STEPS: usize = 1000;

/// The result.
#[derive(Debug)]
pub(super) struct Other {
    /// The job or file that the history is of.
    title: String,
    attempt: u32,
    records: usize,
    /// The file of the other spec.
    file: String,
    found: Counterfactual,
}

/// Replays `history` under its own spec with the fields that the file has in their place.
pub(super) fn of(history: &History, file: &Path, listed: bool) -> Result<Other, Failure> {
    let name = file.display().to_string();
    let steps = if listed { LISTED_STEPS } else { SHOWN_STEPS };
    let other = other_spec(&history.initial_spec, file, &name)?;
    let decisions = history.decisions.as_deref().unwrap_or_default();
    let found = heart::counterfactual(
        [&history.initial_spec, &other],
        &history.attempts,
        decisions,
        &history.records,
        history.attempt,
        steps,
    )
    .map_err(|violations| {
        Failure::violated(format!("{} cannot be replayed with {name}:", history.title), &violations)
    })?;
    let (title, attempt, records) = (history.title.clone(), history.attempt, history.records.len());
    Ok(Other { title, attempt, records, file: name, found })
}

fn other_spec(own: &Spec, file: &Path, name: &str) -> Result<Spec, Failure> {
    let text = jobfile::read_text(file)?;
    // Read as a message for its errors, which name line and field; then as plain JSON, to know which fields are
    // written.
    if jobfile::parse(name, &text, &[])?.len() != 1 {
        return Err(Failure::invalid(format!("{name}: must have one document")));
    }
    let document = yaml::document(&text).map_err(|error| jobfile::explain(name, &error))?;
    let is_job = document.get("spec").is_some() || document.get("name").is_some();
    let written = if is_job { document.get("spec").unwrap_or(&Value::Null) } else { &document };
    let message = spec_of(&overlay(&object_of(&heart::message(own))?, written)?)?;
    heart::spec(message).map_err(|violations| Failure::violated(format!("{name} is refused:"), &violations))
}

/// For people.
pub(super) fn text(other: &Other) -> String {
    let Other { title, attempt, records, file, found } = other;
    let head = format!("{title}, attempt {attempt}: {records} records, replayed under its own spec and with {file}.\n");
    let rows = found.rates.iter().map(|rate| {
        let same = if rate.own.to_bits() == rate.other.to_bits() { "" } else { "*" };
        vec![rate.step.to_string(), output::number(rate.own), output::number(rate.other), same.to_owned()]
    });
    let rates = output::table(&["STEP", "OWN RATE", "WITH IT", ""], rows.collect());
    let own = decisions("under its own spec", &found.own);
    let other = decisions(&format!("with {file}"), &found.other);
    [head, rates, own, other, caveat(found) + "\n"].join("\n")
}

fn decisions(what: &str, decisions: &[Decision]) -> String {
    let end = if decisions.is_empty() { "." } else { ":" };
    let head = format!("{} decisions {what}{end}\n", decisions.len());
    head + &decisions.iter().map(decision_line).collect::<String>()
}

/// How far the result can be trusted.
fn caveat(found: &Counterfactual) -> String {
    let people = if found.left_out == 0 {
        String::new()
    } else {
        format!(
            " {} of people's decisions (overrides and changes of the spec) are left out of the other replay.",
            found.left_out
        )
    };
    let main = match found.first_difference {
        None => "Both give every step of this run the same rates, so this is what would have happened.".to_owned(),
        Some(step) => format!(
            "Before step {step} both give the same rates, so this is what would have happened. From there on it is not: with other rates the \
             loss would have differed from the recorded one, and so would everything a controller decides on it."
        ),
    };
    main + &people
}

/// For programs.
pub(super) fn document(other: &Other) -> Result<Value, Failure> {
    let unwritable = |error| Failure::new(Exit::Failed, format!("cannot write the finding: {error}"));
    let found = &other.found;
    let rates = found.rates.iter().map(|rate| json!({"step": rate.step, "own": rate.own, "other": rate.other}));
    Ok(json!({
        "history": other.title,
        "attempt": other.attempt,
        "records": other.records,
        "with": other.file,
        "first_difference_step": found.first_difference,
        "rates": rates.collect::<Vec<_>>(),
        "own_decisions": serde_json::to_value(&found.own).map_err(unwritable)?,
        "other_decisions": serde_json::to_value(&found.other).map_err(unwritable)?,
        "people_left_out": found.left_out,
        "caveat": caveat(found),
    }))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use lrs_model::telemetry::Sample;

    const SPEC: &str = "
groups: [{base_lr: 1}]
total_steps: 100
controllers: [{reduce_lr_on_plateau: {factor: 0.5, patience: 1}}]
";

    /// A run whose loss stands still.
    fn history() -> History {
        let record = |step| Sample { loss: Some(1.0), ..Sample::new(step) };
        History {
            title: "test".to_owned(),
            initial_spec: heart::spec(serde_saphyr::from_str(SPEC).unwrap()).unwrap(),
            attempts: Vec::new(),
            attempt: 1,
            records: (0..8).map(record).collect(),
            decisions: None,
        }
    }

    fn with(text: &str) -> Result<Other, Failure> {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), text).unwrap();
        of(&history(), file.path(), false)
    }

    #[test]
    fn another_controller_decides_otherwise_from_the_step_that_is_named() {
        let other = with("controllers: [{reduce_lr_on_plateau: {factor: 0.1, patience: 3}}]").unwrap();
        let found = &other.found;
        assert!(found.own.len() > found.other.len() && found.other.len() == 1, "{:?}", found.other);
        let first = found.own[0].effective_step;
        assert_eq!(found.first_difference, Some(first));
        let text = text(&other);
        assert!(text.contains(&format!("Before step {first} both give the same rates")), "{text}");
        assert!(text.contains("the loss would have differed"), "{text}");
        assert_eq!(document(&other).unwrap()["first_difference_step"], first);
    }

    #[test]
    fn the_same_controller_changes_nothing_and_the_rest_of_the_spec_stays() {
        let other = with(
            "name: namespaces/a/jobs/b\nspec: {controllers: [{reduce_lr_on_plateau: {factor: 0.5, patience: 1}}]}",
        )
        .unwrap();
        assert_eq!((other.found.first_difference, other.found.own.len()), (None, other.found.other.len()));
        assert!(text(&other).contains("this is what would have happened."));
        let cosine = with("schedule: {cosine: {}}").unwrap();
        assert_eq!(cosine.found.first_difference, Some(1));
    }

    #[test]
    fn a_wrong_spec_is_refused_with_its_place() {
        assert!(with("controllers: [{reduce_lr_on_plateu: {}}]").unwrap_err().message.contains(":1:"));
        let failure = with("groups: [{base_lr: -1}]").unwrap_err();
        assert!(failure.violations.iter().any(|(field, _)| field == "groups[0].base_lr"), "{failure}");
    }
}
