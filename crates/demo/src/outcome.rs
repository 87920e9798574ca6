//! The figures of all jobs and both arms, as `--format json` prints them.

use serde::Serialize;

use super::{experiment::Arm, job::JobOutcome};
use lrs_model::number::exact;

/// The demo's result.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Outcome {
    /// The jobs, the scheduled ones first, by seed.
    pub jobs: Vec<JobOutcome>,
    /// Both arms.
    pub arms: Arms,
}

/// Both arms.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Arms {
    /// With a schedule.
    pub scheduled: ArmOutcome,
    /// Without.
    pub baseline: ArmOutcome,
}

/// An arm's figures over its seeds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ArmOutcome {
    /// How many jobs it has.
    pub jobs: usize,
    /// Over all jobs.
    pub final_accuracy: Option<Spread>,
    /// Over all jobs.
    pub final_loss: Option<Spread>,
    /// How many jobs reached the target accuracy.
    pub reached_target: usize,
    /// Over the jobs that reached the target.
    pub steps_to_target: Option<Spread>,
    /// Decisions of all jobs together.
    pub decisions: usize,
}

/// A mean and how far the values lie from it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// The mean.
    pub mean: f64,
    /// The sample standard deviation (divided by one less than there are values); 0 for a single value.
    pub standard_deviation: f64,
}

impl Spread {
    /// `None` for no values.
    pub fn of(values: &[f64]) -> Option<Self> {
        let count = f64::from(u32::try_from(values.len()).ok().filter(|&count| count > 0)?);
        let mean = values.iter().sum::<f64>() / count;
        let squares: f64 = values.iter().map(|value| (value - mean) * (value - mean)).sum();
        let standard_deviation = if values.len() == 1 { 0.0 } else { libm::sqrt(squares / (count - 1.0)) };
        Some(Self { mean, standard_deviation })
    }
}

impl Outcome {
    /// Of the jobs of both arms.
    pub fn of(jobs: Vec<JobOutcome>) -> Self {
        let arms = Arms { scheduled: arm(Arm::Scheduled, &jobs), baseline: arm(Arm::Baseline, &jobs) };
        Self { jobs, arms }
    }

    /// By how much the scheduled job of each seed is more accurate at the end than the baseline job of the same seed.
    pub fn accuracy_gains(&self) -> Vec<f64> {
        let of_arm = |arm| self.jobs.iter().filter(move |job| job.arm == arm);
        let pairs = of_arm(Arm::Scheduled).filter_map(|scheduled| {
            of_arm(Arm::Baseline).find(|baseline| baseline.seed == scheduled.seed).map(|baseline| (scheduled, baseline))
        });
        pairs.map(|(scheduled, baseline)| scheduled.final_accuracy - baseline.final_accuracy).collect()
    }
}

fn arm(arm: Arm, jobs: &[JobOutcome]) -> ArmOutcome {
    let jobs: Vec<&JobOutcome> = jobs.iter().filter(|job| job.arm == arm).collect();
    let of_all = |figure: fn(&JobOutcome) -> f64| jobs.iter().map(|job| figure(job)).collect::<Vec<f64>>();
    let steps: Vec<f64> = jobs.iter().filter_map(|job| job.steps_to_target).map(exact).collect();
    ArmOutcome {
        jobs: jobs.len(),
        final_accuracy: Spread::of(&of_all(|job| job.final_accuracy)),
        final_loss: Spread::of(&of_all(|job| job.final_loss)),
        reached_target: steps.len(),
        steps_to_target: Spread::of(&steps),
        decisions: jobs.iter().map(|job| job.decisions).sum(),
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// Three jobs an arm with round figures.
    pub fn fixture() -> Outcome {
        let job = |arm, seed: u64, final_accuracy, steps_to_target| JobOutcome {
            name: format!("namespaces/demo/jobs/digits-{arm}-{seed}"),
            arm,
            seed,
            final_accuracy,
            final_loss: 0.25,
            steps_to_target,
            decisions: if arm == Arm::Scheduled { 4 } else { 0 },
        };
        Outcome::of(vec![
            job(Arm::Scheduled, 0, 0.96, Some(100)),
            job(Arm::Scheduled, 1, 0.98, Some(300)),
            job(Arm::Scheduled, 2, 1.0, Some(200)),
            job(Arm::Baseline, 0, 0.75, None),
            job(Arm::Baseline, 1, 0.99, Some(400)),
            job(Arm::Baseline, 2, 0.5, None),
        ])
    }

    fn assert_spread(spread: Option<Spread>, mean: f64, standard_deviation: f64) {
        let spread = spread.unwrap();
        assert!((spread.mean - mean).abs() < 1e-12, "{spread:?}");
        assert!((spread.standard_deviation - standard_deviation).abs() < 1e-12, "{spread:?}");
    }

    #[test]
    fn an_arm_has_the_mean_and_spread_of_its_jobs() {
        let arms = fixture().arms;
        assert_spread(arms.scheduled.final_accuracy, 0.98, 0.02);
        assert_spread(arms.scheduled.final_loss, 0.25, 0.0);
        assert_spread(arms.scheduled.steps_to_target, 200.0, 100.0);
        assert_eq!((arms.scheduled.jobs, arms.scheduled.reached_target, arms.scheduled.decisions), (3, 3, 12));
    }

    #[test]
    fn jobs_that_never_reached_the_target_are_counted_and_not_averaged() {
        let baseline = fixture().arms.baseline;
        assert_eq!((baseline.jobs, baseline.reached_target), (3, 1));
        assert_spread(baseline.steps_to_target, 400.0, 0.0);
        assert_eq!(Spread::of(&[]), None);
    }

    #[test]
    fn gains_are_paired_by_seed() {
        let gains = fixture().accuracy_gains();
        assert_eq!(gains.len(), 3);
        for (gain, expected) in gains.iter().zip([0.21, -0.01, 0.5]) {
            assert!((gain - expected).abs() < 1e-12, "{gains:?}");
        }
    }

    #[test]
    fn the_json_document_has_the_documented_keys() {
        let document = serde_json::to_value(fixture()).unwrap();
        let keys = |value: &serde_json::Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        assert_eq!(keys(&document), ["arms", "jobs"]);
        assert_eq!(keys(&document["arms"]), ["baseline", "scheduled"]);
        let mut job = keys(&document["jobs"][0]);
        job.sort_unstable();
        let expected = ["arm", "decisions", "final_accuracy", "final_loss", "name", "seed", "steps_to_target"];
        assert_eq!(job, expected);
        assert_eq!(document["jobs"][0]["arm"], "scheduled");
        assert_eq!(document["jobs"][3]["steps_to_target"], serde_json::Value::Null);
    }
}
