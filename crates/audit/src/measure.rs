//! A measure of both arms, compared pair by pair.

use std::cmp::Ordering;

use super::{
    difference::{Difference, MeasuredPair},
    job::JobFigures,
    verdict::Verdict,
};
use lrs_model::{controller::Mode, number::exact, spec::Objective, telemetry::LOSS};

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// The final value of the objective's metric, or of the loss where there is no objective.
    FinalValue,
    /// The best value of the objective's metric.
    BestValue,
    /// The mean training loss: the area under its curve over the steps it spans.
    MeanLoss,
    /// Steps trained until the target was first reached.
    StepsToTarget,
    /// Seconds until the target was first reached.
    SecondsToTarget,
    /// GPU hours until the target was first reached.
    GpuHoursToTarget,
}

/// A measure of two arms.
#[derive(Clone, Debug, PartialEq)]
pub struct MeasureFigures {
    /// What is compared.
    pub measure: Measure,
    /// The name for people, such as `final val_accuracy`.
    pub title: String,
    /// The unit, if it has one.
    pub unit: &'static str,
    /// Which direction is better.
    pub lower_is_better: bool,
    /// The values, by rising seed.
    pub pairs: Vec<MeasuredPair>,
    /// Pairs in which the scheduled arm is better. No value, or one that is not finite, is worse than any.
    pub better: u64,
    /// Pairs in which the scheduled arm is worse.
    pub worse: u64,
    /// Pairs in which both are equal.
    pub equal: u64,
    /// The difference over the pairs that have a finite value on both sides; `None` if there is none.
    pub difference: Option<Difference>,
    /// The verdict on the difference.
    pub verdict: Verdict,
    /// The verdict in words.
    pub sentence: String,
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

    /// Whether it depends on the target.
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
            Self::StepsToTarget => to_target.and_then(|found| found.steps_to_target).map(exact),
            Self::SecondsToTarget => to_target.and_then(|found| found.seconds_to_target),
            Self::GpuHoursToTarget => job.gpu_hours(to_target.and_then(|found| found.seconds_to_target)),
        }
    }

    /// The figures of this measure over `pairs`, by rising seed; `None` if no job has it. `text` seeds the resampling.
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
        let count = |wanted: Ordering| {
            let compared = pairs.iter().map(|pair| badness(pair.scheduled).total_cmp(&badness(pair.baseline)));
            compared.filter(|found| *found == wanted).count() as u64
        };
        let difference = Difference::of(&pairs, &format!("{text}\n{title}"));
        let (better, worse) = (count(Ordering::Less), count(Ordering::Greater));
        let verdict = Verdict::of(difference.as_ref(), lower_is_better);
        let sentence = match &difference {
            Some(difference) => verdict.sentence(difference, lower_is_better, self.unit()),
            None => nothing_to_compare(better, worse),
        };
        Some(MeasureFigures {
            measure: self,
            title,
            unit: self.unit(),
            lower_is_better,
            better,
            worse,
            equal: count(Ordering::Equal),
            verdict,
            difference,
            pairs,
            sentence,
        })
    }
}

/// The sentence of a measure that no pair has on both sides: the scheduled side alone has it in `better` pairs, the
/// baseline in `worse`.
fn nothing_to_compare(better: u64, worse: u64) -> String {
    if (better, worse) == (0, 0) {
        return "nothing to compare: no seed has a value in either arm".to_owned();
    }
    format!(
        "no difference can be taken, as no seed has a value in both arms: the scheduled arm alone has one with {better}, the \
         baseline alone with {worse}"
    )
}

/// The objective of a job without one: the loss.
pub(super) fn loss_objective() -> Objective {
    Objective::new(LOSS, Mode::Min)
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
        let accuracy = Objective::new("accuracy", Mode::Max);
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
