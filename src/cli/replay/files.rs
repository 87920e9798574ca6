//! A history from files: no server needed.

use std::{collections::BTreeSet, path::Path};

use super::{History, decision};
use crate::cli::{failure::Failure, heart, jobfile, telemetry};
use lrs_model::decision::{Decision, DecisionId};
use lrs_proto::ListDecisionsResponse;

/// The history of one attempt from step 0.
pub(super) fn read(spec: &Path, telemetry_file: &Path, decisions: Option<&Path>) -> Result<History, Failure> {
    let mut jobs = jobfile::read(spec, &[])?;
    let (Some(job), true) = (jobs.pop(), jobs.is_empty()) else {
        return Err(Failure::invalid(format!("{}: must have one document", spec.display())));
    };
    let refused = |violations| Failure::violated(format!("{} is refused:", spec.display()), &violations);
    let initial_spec = heart::spec(job.spec.unwrap_or_default()).map_err(refused)?;
    let name = telemetry_file.display().to_string();
    let records = telemetry::parse(&name, &jobfile::read_text(telemetry_file)?)?;
    let decisions = decisions.map(read_decisions).transpose()?;
    let attempt = decisions.as_deref().map_or(Ok(1), only_attempt)?;
    Ok(History { title: name, initial_spec, attempts: Vec::new(), attempt, records, decisions })
}

fn read_decisions(path: &Path) -> Result<Vec<Decision>, Failure> {
    let wrong = |error| Failure::invalid(format!("{}: {error}", path.display()));
    let list: ListDecisionsResponse = serde_json::from_str(&jobfile::read_text(path)?).map_err(|error| {
        wrong(error.to_string()).with_hint("this file is what `lrs job decisions JOB --json` writes")
    })?;
    list.decisions.into_iter().map(decision::from_proto).collect()
}

/// The attempt of the controllers' decisions. Files do not say how several attempts are connected.
fn only_attempt(decisions: &[Decision]) -> Result<u32, Failure> {
    let attempts: BTreeSet<u32> = decisions
        .iter()
        .filter_map(|decision| match decision.id {
            DecisionId::Controller { attempt, .. } => Some(attempt),
            DecisionId::Person { .. } => None,
        })
        .collect();
    match attempts.len() {
        0 => Ok(1),
        1 => Ok(attempts.into_iter().next().unwrap_or(1)),
        _ => {
            Err(Failure::invalid("the decisions are of several attempts, and files do not say how these are connected")
                .with_hint("`lrs replay JOB` reads the whole history from the server"))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_history_is_read_from_files() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::write(&path, text).unwrap();
            path
        };
        let spec = file("spec.yaml", "{groups: [{base_lr: 1}]}");
        let losses = file("t.csv", "step,loss\n0,1\n1,NaN\n");
        let decisions = file(
            "d.json",
            r#"{"decisions":[{"name":"a3-s1-c0","attempt":"3","step":"1","controller":"0/x","base_rate_change":{}}]}"#,
        );

        let history = read(&spec, &losses, Some(&decisions)).unwrap();

        assert_eq!((history.records.len(), history.attempt, history.decisions.unwrap().len()), (2, 3, 1));
        assert!(read(&spec, &losses, None).unwrap().decisions.is_none());
        let failure = read(&spec, &losses, Some(&losses)).unwrap_err();
        assert!(failure.hint.unwrap().contains("lrs job decisions"));
    }
}
