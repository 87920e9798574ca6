//! Audit reports on the wire.

use super::{decision, int64, job, spec, time};
use lrs_audit::{
    Audit, Comparison, Curve, DecisionFigures, Decisions, Difference, JobFigures, LeftOut, LossFigures, Measure,
    MeasureFigures, MeasuredPair, MetricFigures, ObjectiveFigures, Pair, PlateauFigures, Savings, Slope, SlopeChange,
    StabilityFigures, Subject, Verdict,
};
use lrs_proto as proto;
use lrs_proto::{
    decision_report::SlopeChange as WireChange,
    measure_report::{Measure as WireMeasure, Verdict as WireVerdict},
};

/// A report on the wire.
#[must_use]
pub fn to_proto(audit: &Audit) -> proto::AuditReport {
    proto::AuditReport {
        name: match &audit.subject {
            Subject::Job(name) => name.clone(),
            Subject::Experiment { namespace, experiment } => experiment_name(namespace, experiment),
        },
        jobs: audit.jobs.iter().map(job_to_proto).collect(),
        comparison: audit.comparison.as_ref().map(comparison_to_proto),
    }
}

/// The resource name of an experiment.
#[must_use]
pub fn experiment_name(namespace: &str, experiment: &str) -> String {
    format!("namespaces/{namespace}/experiments/{experiment}")
}

/// The namespace and the experiment in the resource name of an experiment; `None` for any other text.
#[must_use]
pub fn experiment_from_name(name: &str) -> Option<(&str, &str)> {
    let (namespace, experiment) = name.strip_prefix("namespaces/")?.split_once('/')?;
    Some((namespace, experiment.strip_prefix("experiments/").filter(|experiment| !experiment.is_empty())?))
}

fn job_to_proto(figures: &JobFigures) -> proto::JobReport {
    let facts = &figures.facts;
    let row = &facts.row;
    let (first_step, last_step) = figures.steps.unzip();
    proto::JobReport {
        job: row.name.to_string(),
        display_name: row.spec.display_name.clone(),
        state: job::state_to_proto(row.state, facts.idle).into(),
        arm: spec::arm_to_proto(row.spec.arm).into(),
        seed: row.spec.seed,
        attempt: facts.attempt.into(),
        total_steps: row.spec.total_steps.map(int64),
        records: int64(figures.records),
        first_step: first_step.map(int64),
        last_step: last_step.map(int64),
        objective: figures.objective.as_ref().map(|objective| objective_to_proto(objective, figures)),
        loss: figures.loss.as_ref().map(|loss| loss_to_proto(loss, figures)),
        metrics: figures.metrics.iter().map(metric_to_proto).collect(),
        metrics_left_out: int64(figures.metrics_left_out),
        decisions: Some(decisions_to_proto(&figures.decisions, figures)),
        gpus: figures.gpus,
        wall_seconds: figures.wall_seconds,
        gpu_hours: figures.gpu_hours(figures.wall_seconds),
        curves: figures.curves.iter().map(curve_to_proto).collect(),
        notes: figures.notes.clone(),
        start_time: facts.stretches.first().map(|stretch| time::to_proto(stretch.start_time)),
        end_time: row.end_time.map(time::to_proto),
    }
}

fn objective_to_proto(found: &ObjectiveFigures, figures: &JobFigures) -> proto::ObjectiveReport {
    let (best_value, best_step) = found.metric.best(found.objective.mode).unzip();
    proto::ObjectiveReport {
        objective: Some(spec::objective_to_proto(&found.objective)),
        best_value,
        best_step: best_step.map(int64),
        final_value: found.metric.final_value,
        steps_to_target: found.steps_to_target.map(int64),
        seconds_to_target: found.seconds_to_target,
        gpu_hours_to_target: figures.gpu_hours(found.seconds_to_target),
    }
}

fn metric_to_proto(found: &MetricFigures) -> proto::MetricReport {
    let ((min_value, min_step), (max_value, max_step)) = (found.min.unzip(), found.max.unzip());
    proto::MetricReport {
        name: found.name.clone(),
        count: int64(found.count),
        not_finite: int64(found.not_finite),
        last_value: found.last,
        last_step: int64(found.last_step),
        final_value: found.final_value,
        min_value,
        min_step: min_step.map(int64),
        max_value,
        max_step: max_step.map(int64),
    }
}

fn loss_to_proto(found: &LossFigures, figures: &JobFigures) -> proto::LossReport {
    proto::LossReport {
        area: found.area,
        mean: found.mean,
        stability: Some(stability_to_proto(&found.stability)),
        plateau: found.plateau.as_ref().map(|plateau| plateau_to_proto(plateau, figures)),
    }
}

fn stability_to_proto(found: &StabilityFigures) -> proto::Stability {
    proto::Stability {
        not_finite: int64(found.not_finite),
        first_not_finite_step: found.first_not_finite_step.map(int64),
        spikes: int64(found.spikes),
        first_spike_step: found.first_spike_step.map(int64),
        divergences: int64(found.divergences),
        first_divergence_step: found.first_divergence_step.map(int64),
        ended_diverged: found.ended_diverged,
    }
}

fn plateau_to_proto(found: &PlateauFigures, figures: &JobFigures) -> proto::Plateau {
    let range = |&(start, end): &(u64, u64)| proto::StepRange { start_step: int64(start), end_step: int64(end) };
    proto::Plateau {
        steps: int64(found.steps),
        share: found.share,
        seconds: figures.plateau_seconds,
        gpu_hours: figures.gpu_hours(figures.plateau_seconds),
        stretches: found.stretches.iter().map(range).collect(),
    }
}

fn decisions_to_proto(found: &Decisions, figures: &JobFigures) -> proto::DecisionsReport {
    let decision = |shown: &DecisionFigures| proto::DecisionReport {
        decision: Some(decision::to_proto(&figures.facts.row.name, &shown.decision)),
        before: shown.before.as_ref().map(slope_to_proto),
        after: shown.after.as_ref().map(slope_to_proto),
        change: match shown.change {
            None => WireChange::Unspecified,
            Some(SlopeChange::Faster) => WireChange::Faster,
            Some(SlopeChange::Slower) => WireChange::Slower,
            Some(SlopeChange::Unclear) => WireChange::Unclear,
            Some(SlopeChange::TooFew) => WireChange::TooFew,
        }
        .into(),
    };
    proto::DecisionsReport {
        by_controllers: int64(found.by_controllers),
        by_people: int64(found.by_people),
        advice: int64(found.advice),
        decisions: found.shown.iter().map(decision).collect(),
    }
}

fn slope_to_proto(found: &Slope) -> proto::LossSlope {
    let Slope { count, median, slope, low, high } = *found;
    proto::LossSlope { count: int64(count), median, slope, low, high }
}

fn curve_to_proto(curve: &Curve) -> proto::TelemetrySeries {
    let step = curve.steps.iter().copied().map(int64).collect();
    proto::TelemetrySeries { name: curve.name.clone(), step, value: curve.values.clone() }
}

fn comparison_to_proto(found: &Comparison) -> proto::ArmComparison {
    let pair = |Pair { seed, scheduled, baseline }: &Pair| proto::JobPair {
        seed: *seed,
        scheduled: scheduled.clone(),
        baseline: baseline.clone(),
    };
    let left_out =
        |LeftOut { subject, reason }: &LeftOut| proto::LeftOut { subject: subject.clone(), reason: reason.clone() };
    let Savings { pairs, steps, seconds, gpu_hours, sentence } = &found.savings;
    proto::ArmComparison {
        objective: Some(spec::objective_to_proto(&found.objective)),
        pairs: found.pairs.iter().map(pair).collect(),
        measures: found.measures.iter().map(measure_to_proto).collect(),
        savings: Some(proto::Savings {
            pairs: int64(*pairs),
            steps: *steps,
            seconds: *seconds,
            gpu_hours: *gpu_hours,
            sentence: sentence.clone(),
        }),
        left_out: found.left_out.iter().map(left_out).collect(),
        verdict: found.verdict.clone(),
    }
}

fn measure_to_proto(found: &MeasureFigures) -> proto::MeasureReport {
    let pair =
        |&MeasuredPair { seed, scheduled, baseline }: &MeasuredPair| proto::MeasuredPair { seed, scheduled, baseline };
    proto::MeasureReport {
        measure: match found.measure {
            Measure::FinalValue => WireMeasure::FinalValue,
            Measure::BestValue => WireMeasure::BestValue,
            Measure::MeanLoss => WireMeasure::MeanLoss,
            Measure::StepsToTarget => WireMeasure::StepsToTarget,
            Measure::SecondsToTarget => WireMeasure::SecondsToTarget,
            Measure::GpuHoursToTarget => WireMeasure::GpuHoursToTarget,
        }
        .into(),
        title: found.title.clone(),
        unit: found.unit.to_owned(),
        lower_is_better: found.lower_is_better,
        pairs: found.pairs.iter().map(pair).collect(),
        better: int64(found.better),
        worse: int64(found.worse),
        equal: int64(found.equal),
        difference: found.difference.as_ref().map(difference_to_proto),
        verdict: match found.verdict {
            Verdict::NothingToCompare => WireVerdict::NothingToCompare,
            Verdict::OnePair => WireVerdict::OnePair,
            Verdict::NoEvidence => WireVerdict::NoEvidence,
            Verdict::Hint => WireVerdict::Hint,
            Verdict::Better => WireVerdict::Better,
            Verdict::Worse => WireVerdict::Worse,
        }
        .into(),
        sentence: found.sentence.clone(),
    }
}

fn difference_to_proto(found: &Difference) -> proto::ArmDifference {
    proto::ArmDifference {
        pairs: int64(found.pairs as u64),
        scheduled_mean: found.scheduled_mean,
        baseline_mean: found.baseline_mean,
        mean: found.mean,
        relative: found.relative,
        effect_size: found.effect_size,
        low: found.interval.map(|interval| interval.low),
        high: found.interval.map(|interval| interval.high),
        p_value: found.p_value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_experiment_may_be_named_anything() {
        for (namespace, experiment) in [("a", "digits"), ("größe", "a/experiments/b: c")] {
            assert_eq!(experiment_from_name(&experiment_name(namespace, experiment)), Some((namespace, experiment)));
        }
        for wrong in ["digits", "namespaces/a", "namespaces/a/jobs/b", "namespaces/a/experiments/"] {
            assert_eq!(experiment_from_name(wrong), None, "{wrong}");
        }
    }
}
