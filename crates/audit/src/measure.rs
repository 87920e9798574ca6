//! A figure that both arms have, compared pair by pair.

use super::{
    area::number,
    job::JobFigures,
    resample::{Interval, bootstrap, chance, sign_flip},
    verdict::{Verdict, sentence},
};
use lrs_model::{controller::Mode, spec::Objective, telemetry::LOSS};
use lrs_stats::linear::{mean, variance};

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// The final value of the objective's metric, or of the loss where there is no objective.
    FinalValue,
    /// The best value of that.
    BestValue,
    /// The mean training loss: the area under its curve over the steps it spans.
    MeanLoss,
    /// Steps trained until the target was first reached.
    StepsToTarget,
    /// Seconds until then.
    SecondsToTarget,
    /// GPU hours until then.
    GpuHoursToTarget,
}

/// A measure of two arms.
#[derive(Clone, Debug, PartialEq)]
pub struct MeasureFigures {
    /// What is compared.
    pub measure: Measure,
    /// In words, such as `final val_accuracy`.
    pub title: String,
    /// The unit, if it has one.
    pub unit: &'static str,
    /// Which direction is better.
    pub lower_is_better: bool,
    /// The values, by rising seed.
    pub pairs: Vec<MeasuredPair>,
    /// Pairs in which the scheduled arm is better. No value, or one that is not finite, is worse than any.
    pub better: u64,
    /// Pairs in which it is worse.
    pub worse: u64,
    /// Pairs in which both are equal.
    pub equal: u64,
    /// The difference over the pairs that have a finite value on both sides; `None` if there is none.
    pub difference: Option<Difference>,
    /// What that says.
    pub verdict: Verdict,
    /// The same in words.
    pub sentence: String,
}

/// The two values of a seed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MeasuredPair {
    /// The seed.
    pub seed: i64,
    /// The scheduled job's value, if it has one.
    pub scheduled: Option<f64>,
    /// The baseline job's.
    pub baseline: Option<f64>,
}

/// The difference of two arms, scheduled less baseline.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Difference {
    /// How many pairs it is of.
    pub pairs: usize,
    /// The mean of the scheduled arm.
    pub scheduled_mean: f64,
    /// The mean of the baseline.
    pub baseline_mean: f64,
    /// The mean of the differences.
    pub mean: f64,
    /// That over the baseline's mean; `None` where that is 0.
    pub relative: Option<f64>,
    /// That over the standard deviation of the differences (Cohen's d of pairs); `None` for one pair, or equal differences.
    pub effect_size: Option<f64>,
    /// The 95% interval of the mean: a percentile bootstrap over the pairs. `None` for one pair.
    pub interval: Option<Interval>,
    /// The share of sign flips that take the mean at least as far from zero. `None` for one pair.
    pub p_value: Option<f64>,
}

impl Measure {
    /// In the order of a report.
    pub const ALL: [Self; 6] = [
        Self::FinalValue,
        Self::BestValue,
        Self::MeanLoss,
        Self::StepsToTarget,
        Self::SecondsToTarget,
        Self::GpuHoursToTarget,
    ];

    /// Whether it is about the target.
    #[must_use]
    pub fn needs_target(self) -> bool {
        matches!(self, Self::StepsToTarget | Self::SecondsToTarget | Self::GpuHoursToTarget)
    }

    fn title(self, metric: &str) -> String {
        match self {
            Self::FinalValue => format!("final {metric}"),
            Self::BestValue => format!("best {metric}"),
            Self::MeanLoss => "mean training loss".to_owned(),
            Self::StepsToTarget => "steps to target".to_owned(),
            Self::SecondsToTarget => "wall time to target (estimated)".to_owned(),
            Self::GpuHoursToTarget => "GPU hours to target (estimated)".to_owned(),
        }
    }

    fn unit(self) -> &'static str {
        match self {
            Self::FinalValue | Self::BestValue | Self::MeanLoss => "",
            Self::StepsToTarget => "steps",
            Self::SecondsToTarget => "s",
            Self::GpuHoursToTarget => "GPU h",
        }
    }

    fn lower_is_better(self, objective: &Objective) -> bool {
        !matches!(self, Self::FinalValue | Self::BestValue) || objective.mode == Mode::Min
    }

    /// The value of a job, if it has one.
    #[must_use]
    pub fn of(self, job: &JobFigures, objective: &Objective) -> Option<f64> {
        let metric = || job.metrics.iter().find(|metric| metric.name == objective.metric);
        let to_target = job.objective.as_ref();
        match self {
            Self::FinalValue => metric().map(|metric| metric.final_value),
            Self::BestValue => metric().and_then(|metric| metric.best(objective.mode)).map(|(value, _)| value),
            Self::MeanLoss => job.loss.as_ref().and_then(|loss| loss.mean),
            Self::StepsToTarget => to_target.and_then(|found| found.steps_to_target).map(number),
            Self::SecondsToTarget => to_target.and_then(|found| found.seconds_to_target),
            Self::GpuHoursToTarget => job.gpu_hours(to_target.and_then(|found| found.seconds_to_target)),
        }
    }

    /// The figures of this measure over `pairs`, by rising seed; `None` if no job has it. `text` decides what chance does.
    pub(super) fn figures(self, objective: &Objective, pairs: Vec<MeasuredPair>, text: &str) -> Option<MeasureFigures> {
        if pairs.iter().all(|pair| pair.scheduled.is_none() && pair.baseline.is_none()) {
            return None;
        }
        let lower_is_better = self.lower_is_better(objective);
        let title = self.title(&objective.metric);
        let badness = |value: Option<f64>| match value.filter(|value| value.is_finite()) {
            Some(value) if lower_is_better => value,
            Some(value) => -value,
            None => f64::INFINITY,
        };
        let count = |wanted: std::cmp::Ordering| {
            let compared = pairs.iter().map(|pair| badness(pair.scheduled).total_cmp(&badness(pair.baseline)));
            compared.filter(|found| *found == wanted).count() as u64
        };
        let difference = difference(&pairs, &format!("{text}\n{title}"));
        let mut figures = MeasureFigures {
            measure: self,
            title,
            unit: self.unit(),
            lower_is_better,
            better: count(std::cmp::Ordering::Less),
            worse: count(std::cmp::Ordering::Greater),
            equal: count(std::cmp::Ordering::Equal),
            verdict: Verdict::of(difference.as_ref(), lower_is_better),
            difference,
            pairs,
            sentence: String::new(),
        };
        figures.sentence = sentence(&figures);
        Some(figures)
    }
}

/// The loss stands for an objective where there is none.
pub(super) fn loss_objective() -> Objective {
    Objective { metric: LOSS.to_owned(), mode: Mode::Min, target: None }
}

fn difference(pairs: &[MeasuredPair], text: &str) -> Option<Difference> {
    let finite = |value: Option<f64>| value.filter(|value| value.is_finite());
    let both: Vec<(f64, f64)> =
        pairs.iter().filter_map(|pair| Some((finite(pair.scheduled)?, finite(pair.baseline)?))).collect();
    if both.is_empty() {
        return None;
    }
    let (scheduled, baseline): (Vec<f64>, Vec<f64>) = both.iter().copied().unzip();
    let differences: Vec<f64> = both.iter().map(|(scheduled, baseline)| scheduled - baseline).collect();
    let (scheduled_mean, baseline_mean, mean) = (mean(&scheduled), mean(&baseline), mean(&differences));
    let deviation = variance(&differences, mean).sqrt();
    let mut chance = chance(text);
    let interval = bootstrap(&differences, &mut chance);
    Some(Difference {
        pairs: both.len(),
        scheduled_mean,
        baseline_mean,
        mean,
        relative: (baseline_mean != 0.0).then(|| mean / baseline_mean.abs()),
        effect_size: (deviation > 0.0).then(|| mean / deviation),
        p_value: interval.and_then(|_| sign_flip(&differences, &mut chance)),
        interval,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compared(measure: Measure, values: &[(Option<f64>, Option<f64>)]) -> MeasureFigures {
        let pair = |(seed, &(scheduled, baseline))| MeasuredPair { seed, scheduled, baseline };
        let pairs = (0..).zip(values).map(pair).collect();
        measure.figures(&loss_objective(), pairs, "test").unwrap()
    }

    fn both(values: &[(f64, f64)]) -> MeasureFigures {
        let values: Vec<_> = values.iter().map(|&(scheduled, baseline)| (Some(scheduled), Some(baseline))).collect();
        compared(Measure::FinalValue, &values)
    }

    #[test]
    fn three_seeds_that_do_not_agree_are_no_evidence() {
        let found = both(&[(1.0, 1.2), (1.3, 1.1), (0.9, 1.0)]);
        assert_eq!((found.verdict, found.better, found.worse), (Verdict::NoEvidence, 2, 1));
        assert_eq!(found.sentence, "no evidence of a difference with 3 seeds: the interval covers zero");
    }

    #[test]
    fn three_seeds_that_agree_are_a_hint_and_no_more() {
        let found = both(&[(1.0, 2.0), (1.1, 2.2), (0.9, 2.0)]);
        assert_eq!(found.verdict, Verdict::Hint);
        assert!(
            found.sentence.contains("sign-flip p = 0.25") && found.sentence.contains("at least 6 seeds"),
            "{}",
            found.sentence
        );
    }

    #[test]
    fn eight_seeds_that_agree_are_evidence_in_either_direction() {
        let values: Vec<(f64, f64)> = (0..8).map(|i| (1.0 + 0.01 * f64::from(i), 2.0)).collect();
        let found = both(&values);
        assert_eq!(found.verdict, Verdict::Better);
        assert!(
            found.sentence.starts_with("evidence that the scheduled arm is better with 8 seeds: by 0.965 "),
            "{}",
            found.sentence
        );
        let turned: Vec<(f64, f64)> = values.iter().map(|&(a, b)| (b, a)).collect();
        assert_eq!(both(&turned).verdict, Verdict::Worse);
    }

    #[test]
    fn what_is_better_depends_on_the_objective() {
        let accuracy = Objective { metric: "accuracy".to_owned(), mode: Mode::Max, target: None };
        let pairs: Vec<_> =
            (0..8).map(|seed| MeasuredPair { seed, scheduled: Some(0.9), baseline: Some(0.8) }).collect();
        let found = Measure::FinalValue.figures(&accuracy, pairs.clone(), "").unwrap();
        assert_eq!((found.verdict, found.better, found.title.as_str()), (Verdict::Better, 8, "final accuracy"));
        assert_eq!(Measure::MeanLoss.figures(&accuracy, pairs, "").unwrap().verdict, Verdict::Worse);
    }

    #[test]
    fn a_run_that_diverged_counts_as_worse_and_has_no_difference() {
        let found = compared(
            Measure::FinalValue,
            &[
                (Some(1.0), Some(f64::NAN)),
                (Some(1.0), None),
                (Some(f64::INFINITY), Some(1.0)),
                (Some(f64::NAN), None),
                (Some(1.0), Some(3.0)),
            ],
        );
        assert_eq!((found.better, found.worse, found.equal), (3, 1, 1));
        assert_eq!((found.difference.unwrap().pairs, found.verdict), (1, Verdict::OnePair));
    }

    #[test]
    fn only_one_arm_that_reaches_the_target_is_said() {
        let found = compared(Measure::StepsToTarget, &[(Some(100.0), None), (Some(90.0), None)]);
        assert_eq!(found.verdict, Verdict::NothingToCompare);
        assert!(found.sentence.contains("the scheduled arm alone has one with 2"), "{}", found.sentence);
        assert_eq!(Measure::StepsToTarget.figures(&loss_objective(), Vec::new(), ""), None);
    }

    #[test]
    fn equal_differences_have_no_effect_size_and_a_zero_baseline_no_ratio() {
        let found = both(&[(1.0, 0.0), (1.0, 0.0)]).difference.unwrap();
        assert_eq!((found.effect_size, found.relative, found.mean), (None, None, 1.0));
    }
}
