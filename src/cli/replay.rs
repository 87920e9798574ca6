//! `lrs replay`: a job's decisions recomputed from its telemetry, and compared with the recorded ones.

use std::path::PathBuf;

use super::{
    connect::ConnectArgs,
    failure::{Exit, Failure},
    heart::{self, Recomputed},
    job_name::NamespaceArg,
    output,
    values::whole,
};
use lrs_model::{
    decision::{Author, Decision},
    job::AttemptRow,
    spec::Spec,
    telemetry::Sample,
};

mod counterfactual;
pub(super) mod decision;
mod difference;
mod files;
pub(super) mod remote;
mod report;

use difference::Difference;

/// Recompute a job's decisions and compare them with the recorded ones
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Exits with 6 if a recomputed decision differs from the recorded one, and says how.

With --spec and --telemetry no server is needed; the telemetry is what `lrs job telemetry` writes as jsonl or csv, and the
decisions what `lrs job decisions --json` writes.

Examples:
  lrs replay vision/cifar
  lrs replay vision/cifar --attempt 1 --json
  lrs replay --spec examples/plateau.yaml --telemetry losses.csv
  lrs replay --spec job.yaml --telemetry telemetry.jsonl --decisions decisions.json
  lrs replay vision/cifar --with other.yaml      what another spec would have decided on this run")]
pub struct Args {
    /// The job, read from the server
    #[arg(required_unless_present = "spec", conflicts_with_all = ["spec", "telemetry", "decisions"])]
    job: Option<String>,
    /// The attempt whose history to replay [default: the newest]
    #[arg(long, value_name = "N", conflicts_with = "spec", value_parser = whole(1..=u32::MAX))]
    attempt: Option<u32>,
    /// Job file or bare spec that the job was registered with
    #[arg(long, value_name = "FILE", requires = "telemetry")]
    spec: Option<PathBuf>,
    /// Telemetry, as JSON lines or CSV
    #[arg(long, value_name = "FILE", requires = "spec")]
    telemetry: Option<PathBuf>,
    /// Decisions to compare with; those by people are replayed
    #[arg(long, value_name = "FILE", requires = "spec")]
    decisions: Option<PathBuf>,
    /// Show what the run's spec with these fields replaced would have decided, as far as the record can tell
    #[arg(long, value_name = "FILE")]
    with: Option<PathBuf>,
    /// How to print the result
    #[command(flatten)]
    format: output::FormatArgs,
    #[command(flatten)]
    connect: ConnectArgs,
    #[command(flatten)]
    namespace: NamespaceArg,
}

/// A history to replay.
#[derive(Debug)]
struct History {
    /// The job or file that it is the history of, for people.
    title: String,
    initial_spec: Spec,
    attempts: Vec<AttemptRow>,
    attempt: u32,
    records: Vec<Sample>,
    /// The recorded decisions, by controllers and people; `None` if there are none to compare with.
    decisions: Option<Vec<Decision>>,
}

/// The result of a replay.
#[derive(Debug)]
struct Finding {
    title: String,
    attempt: u32,
    records: usize,
    recomputed: Recomputed,
    /// `None` if there were no recorded decisions to compare with.
    differences: Option<Vec<Difference>>,
}

/// Replays the history and prints the result.
///
/// # Errors
/// If the history cannot be read, or the recorded decisions differ from the recomputed ones.
pub async fn run(args: Args) -> Result<(), Failure> {
    let history = match (&args.job, &args.spec, &args.telemetry) {
        (Some(job), _, _) => remote::read(&args.connect, &args.namespace.resolve(job)?, args.attempt).await?,
        (None, Some(spec), Some(telemetry)) => files::read(spec, telemetry, args.decisions.as_deref())?,
        _ => return Err(Failure::invalid("give a JOB, or --spec and --telemetry")),
    };
    if let Some(file) = &args.with {
        let other = counterfactual::of(&history, file, args.format.format() != output::Format::Table)?;
        return args.format.print(&counterfactual::document(&other)?, || counterfactual::text(&other));
    }
    let finding = history.replay()?;
    args.format.print(&report::document(&finding)?, || report::text(&finding))?;
    match finding.differences.as_deref() {
        None | Some([]) => Ok(()),
        Some(differences) => {
            let count = differences.len();
            Err(Failure::new(Exit::Differs, format!("{count} decisions differ from those recorded")))
        }
    }
}

impl History {
    fn replay(self) -> Result<Finding, Failure> {
        let all = self.decisions.as_deref().unwrap_or_default();
        let people: Vec<Decision> = all.iter().filter(|d| matches!(d.author, Author::Person(_))).cloned().collect();
        let recomputed = heart::replay(&self.initial_spec, &self.attempts, &people, &self.records, self.attempt)
            .map_err(|violations| Failure::violated(format!("{} cannot be replayed:", self.title), &violations))?;
        // Decisions about steps after the last record read belong to telemetry that arrived later.
        let last_step = self.records.last().map(|record| record.step);
        let recorded: Vec<&Decision> = heart::recorded(all, &self.attempts, self.attempt)
            .into_iter()
            .filter(|decision| Some(decision.step) <= last_step)
            .collect();
        let differences = self.decisions.as_ref().map(|_| difference::between(&recorded, &recomputed.decisions));
        let (title, attempt, records) = (self.title, self.attempt, self.records.len());
        Ok(Finding { title, attempt, records, recomputed, differences })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPEC: &str = "
groups: [{base_lr: 1}]
controllers: [{reduce_lr_on_plateau: {factor: 0.5, patience: 1}}]
";

    /// A history whose loss stands still, with the decisions it leads to as recorded ones.
    fn plateau() -> History {
        let record = |step| Sample { loss: Some(1.0), learning_rate: Some(1.0), ..Sample::new(step) };
        let message = serde_saphyr::from_str(SPEC).unwrap();
        let mut history = History {
            title: "test".to_owned(),
            initial_spec: heart::spec(message).unwrap(),
            attempts: Vec::new(),
            attempt: 1,
            records: (0..8).map(record).collect(),
            decisions: None,
        };
        let replayed = heart::replay(&history.initial_spec, &[], &[], &history.records, 1).unwrap();
        history.decisions = Some(replayed.decisions);
        history
    }

    #[test]
    fn a_history_replays_to_its_own_decisions() {
        let finding = plateau().replay().unwrap();
        assert!(finding.recomputed.decisions.len() >= 2, "{:?}", finding.recomputed.decisions);
        assert_eq!(finding.differences.unwrap().len(), 0);
    }

    #[test]
    fn a_decision_that_was_tampered_with_is_found() {
        let mut history = plateau();
        history.decisions.as_mut().unwrap()[0].effective_step += 1;
        history.decisions.as_mut().unwrap().pop();
        assert_eq!(history.replay().unwrap().differences.unwrap().len(), 2);
    }

    #[test]
    fn steps_trained_with_another_rate_are_counted() {
        let strayed = plateau().replay().unwrap().recomputed.strayed;
        assert_eq!(strayed.first().map(|s| (s.used_lr, s.directive_lr)), Some((1.0, 0.5)));
    }

    #[test]
    fn decisions_that_came_after_the_telemetry_was_read_are_no_difference() {
        let mut history = plateau();
        let last = history.decisions.as_ref().unwrap().last().unwrap().step;
        history.records.retain(|record| record.step < last);
        assert_eq!(history.replay().unwrap().differences.unwrap().len(), 0);
    }

    #[test]
    fn without_recorded_decisions_nothing_is_compared() {
        let finding = History { decisions: None, ..plateau() }.replay().unwrap();
        assert!(finding.differences.is_none() && !finding.recomputed.decisions.is_empty());
    }
}
