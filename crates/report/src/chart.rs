//! The charts of a report as data, which the page's script draws in the page's colours.

use serde_json::{Value, json};

use super::figures::{arm, short};
use lrs_proto::{Arm, ArmComparison, DecisionReport, JobReport, MeasureReport, TelemetrySeries, decision};

/// A chart.
#[derive(Clone, Debug)]
pub(super) struct Chart {
    /// Its title.
    pub(super) title: String,
    /// Its data for the script.
    pub(super) data: Value,
}

/// The most decisions that are marked in a chart.
const MAX_MARKS: usize = 40;
/// A positive series that spans more than this many times its least value gets a logarithmic scale.
const LOGARITHMIC: f64 = 30.0;

/// The curves of all jobs: a chart for each metric, the loss first and the rate last.
pub(super) fn curves(jobs: &[JobReport]) -> Vec<Chart> {
    let mut names: Vec<&str> = Vec::new();
    for curve in jobs.iter().flat_map(|job| &job.curves) {
        if curve.name != LOSS_MEAN && !names.contains(&curve.name.as_str()) {
            names.push(&curve.name);
        }
    }
    names.sort_by_key(|name| (*name == RATE, *name != LOSS));
    names.into_iter().map(|name| lines(name, jobs)).collect()
}

const LOSS: &str = "loss";
const LOSS_MEAN: &str = "loss_mean";
const RATE: &str = "learning_rate";

fn lines(name: &str, jobs: &[JobReport]) -> Chart {
    let series: Vec<(&JobReport, &TelemetrySeries)> =
        jobs.iter().filter_map(|job| Some((job, job.curves.iter().find(|curve| curve.name == name)?))).collect();
    let values = || series.iter().flat_map(|(_, curve)| curve.value.iter().copied()).filter(|value| value.is_finite());
    let (least, greatest) = (values().fold(f64::INFINITY, f64::min), values().fold(0.0, f64::max));
    let is_alone = jobs.len() == 1;
    let line = |(job, curve): &(&JobReport, &TelemetrySeries)| {
        let mean = job.curves.iter().find(|curve| name == LOSS && curve.name == LOSS_MEAN);
        json!({
            "name": short(&job.job),
            "group": group(job),
            "x": curve.step,
            "y": numbers(&curve.value),
            "mean": mean.map(|mean| json!({"x": mean.step, "y": numbers(&mean.value)})),
        })
    };
    let marks = if is_alone { jobs.first().map_or_else(Vec::new, marks) } else { Vec::new() };
    let bands = if is_alone && name == LOSS { jobs.first().map_or_else(Vec::new, bands) } else { Vec::new() };
    let title = match name {
        LOSS => "Training loss".to_owned(),
        RATE => "Learning rate as used".to_owned(),
        other => other.to_owned(),
    };
    Chart {
        data: json!({
            "kind": "lines",
            "y": name,
            "log": least > 0.0 && greatest > LOGARITHMIC * least,
            "series": series.iter().map(line).collect::<Vec<_>>(),
            "marks": marks,
            "bands": bands,
        }),
        title,
    }
}

fn group(job: &JobReport) -> &'static str {
    match job.arm() {
        Arm::Unspecified => "run",
        Arm::Scheduled | Arm::Baseline => arm(job),
    }
}

/// The changes of the rate.
fn marks(job: &JobReport) -> Vec<Value> {
    let decisions = job.decisions.iter().flat_map(|found| &found.decisions);
    let changes = decisions.filter_map(|DecisionReport { decision, .. }| decision.as_ref());
    let changes = changes.filter(|change| !matches!(change.effect, Some(decision::Effect::Advice(_))));
    let mark =
        |change: &lrs_proto::Decision| json!({"x": change.effective_step, "text": super::figures::effect(change)});
    changes.take(MAX_MARKS).map(mark).collect()
}

/// The plateaus of the loss.
fn bands(job: &JobReport) -> Vec<Value> {
    let plateau = job.loss.as_ref().and_then(|loss| loss.plateau.as_ref());
    let stretches = plateau.iter().flat_map(|plateau| &plateau.stretches);
    stretches.map(|stretch| json!([stretch.start_step, stretch.end_step])).collect()
}

/// The relative difference of each measure, with its interval.
pub(super) fn forest(comparison: &ArmComparison) -> Option<Chart> {
    let row = |measure: &MeasureReport| {
        let found = measure.difference.as_ref()?;
        let relative = found.relative?;
        let size = found.baseline_mean.abs();
        let (low, high) = found.low.zip(found.high).unwrap_or((found.mean, found.mean));
        let sign = if measure.lower_is_better { -1.0 } else { 1.0 };
        let ends = [sign * 100.0 * low / size, sign * 100.0 * high / size];
        Some(json!({
            "name": measure.title,
            "x": sign * 100.0 * relative,
            "low": ends[0].min(ends[1]),
            "high": ends[0].max(ends[1]),
        }))
    };
    let rows: Vec<Value> = comparison.measures.iter().filter_map(row).collect();
    (!rows.is_empty()).then(|| Chart {
        title: "How much better the scheduled arm is, in % of the baseline, with 95% intervals".to_owned(),
        data: json!({"kind": "forest", "rows": rows}),
    })
}

/// The two values of each seed of the first measure.
pub(super) fn pairs(comparison: &ArmComparison) -> Option<Chart> {
    let measure = comparison.measures.first()?;
    let both = |pair: &lrs_proto::MeasuredPair| {
        let finite = |value: Option<f64>| value.filter(|value| value.is_finite());
        let (baseline, scheduled) = (finite(pair.baseline)?, finite(pair.scheduled)?);
        Some(json!({"name": format!("seed {}", pair.seed), "baseline": baseline, "scheduled": scheduled}))
    };
    let rows: Vec<Value> = measure.pairs.iter().filter_map(both).collect();
    (!rows.is_empty()).then(|| Chart {
        title: format!("{}, seed by seed", measure.title),
        data: json!({"kind": "pairs", "y": measure.title, "rows": rows}),
    })
}

/// Numbers for a script; a value that is not finite becomes a gap.
fn numbers(values: &[f64]) -> Vec<Option<f64>> {
    values.iter().copied().map(|value| Some(value).filter(|value| value.is_finite())).collect()
}
