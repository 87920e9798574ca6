//! The outcome of one job, from the server's record.

use serde::Serialize;

use super::{
    error::Error,
    experiment::{Arm, Run, TARGET_ACCURACY, TOTAL_STEPS, VAL_ACCURACY, VAL_LOSS},
    operator::Operator,
};
use lrs_proto::TelemetrySeries;

/// The figures of a job.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct JobOutcome {
    /// Its whole name.
    pub name: String,
    /// Its side of the comparison.
    pub arm: Arm,
    /// Its random seed.
    pub seed: u64,
    /// The share of validation images recognised at the last evaluation.
    pub final_accuracy: f64,
    /// The mean cross entropy on the validation images at the last evaluation.
    pub final_loss: f64,
    /// How many steps had been trained when an evaluation first reached the target accuracy; `None` if none did.
    pub steps_to_target: Option<u64>,
    /// Decisions taken about its rate.
    pub decisions: usize,
}

impl JobOutcome {
    /// Reads a run's figures back from the server.
    pub async fn read(operator: &Operator, run: &Run) -> Result<Self, Error> {
        let series = operator.series(run, &[VAL_LOSS, VAL_ACCURACY]).await?;
        Self::from_record(run, &series, operator.decision_count(run).await?)
    }

    fn from_record(run: &Run, series: &[TelemetrySeries], decisions: usize) -> Result<Self, Error> {
        let accuracies = evaluations(series, VAL_ACCURACY);
        let losses = evaluations(series, VAL_LOSS);
        Ok(Self {
            name: run.job(),
            arm: run.arm,
            seed: run.seed,
            final_accuracy: final_value(run, &accuracies)?,
            final_loss: final_value(run, &losses)?,
            steps_to_target: steps_to(TARGET_ACCURACY, &accuracies),
            decisions,
        })
    }
}

fn evaluations(series: &[TelemetrySeries], metric: &str) -> Vec<(i64, f64)> {
    let of_metric = series.iter().filter(|series| series.name == metric);
    of_metric.flat_map(|series| series.step.iter().copied().zip(series.value.iter().copied())).collect()
}

/// The value at the run's last step, without which the record is not whole.
fn final_value(run: &Run, evaluations: &[(i64, f64)]) -> Result<f64, Error> {
    let expected = TOTAL_STEPS - 1;
    match evaluations.last() {
        Some(&(step, value)) if u64::try_from(step) == Ok(expected) => Ok(value),
        last => Err(Error::RecordIncomplete { job: run.job(), last: last.map(|&(step, _)| step), expected }),
    }
}

/// Steps trained at the first evaluation that reached the target: one more than the number of its step.
fn steps_to(target: f64, evaluations: &[(i64, f64)]) -> Option<u64> {
    let &(step, _) = evaluations.iter().find(|&&(_, value)| value >= target)?;
    u64::try_from(step).ok().map(|step| step + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment;

    const LAST: i64 = TOTAL_STEPS.cast_signed() - 1;

    fn record(accuracies: &[(i64, f64)]) -> Vec<TelemetrySeries> {
        let (step, value): (Vec<i64>, Vec<f64>) = accuracies.iter().copied().unzip();
        let losses = TelemetrySeries { name: VAL_LOSS.to_owned(), step: step.clone(), value: vec![0.5; step.len()] };
        vec![losses, TelemetrySeries { name: VAL_ACCURACY.to_owned(), step, value }]
    }

    fn outcome(accuracies: &[(i64, f64)]) -> Result<JobOutcome, Error> {
        let runs = experiment::runs(None);
        JobOutcome::from_record(runs.first().unwrap(), &record(accuracies), 3)
    }

    #[test]
    fn the_figures_are_those_of_the_record() {
        let outcome = outcome(&[(43, 0.5), (87, 0.98), (131, 0.9), (LAST, 0.96)]).unwrap();
        assert_eq!(outcome.steps_to_target, Some(88));
        assert_eq!((outcome.final_accuracy, outcome.final_loss, outcome.decisions), (0.96, 0.5, 3));
    }

    #[test]
    fn a_target_that_was_never_reached_has_no_steps() {
        assert_eq!(outcome(&[(43, f64::NAN), (LAST, 0.96)]).unwrap().steps_to_target, None);
    }

    #[test]
    fn a_record_without_the_last_step_is_an_error() {
        for incomplete in [&[][..], &[(43, 0.5)]] {
            assert!(matches!(outcome(incomplete), Err(Error::RecordIncomplete { .. })));
        }
    }
}
