//! Telemetry: columns on the wire, samples in the model.

use std::{collections::BTreeSet, sync::Arc};

use super::{int64, optional_whole, step};
use lrs_engine::TelemetryAnswer;
use lrs_model::{
    MAX_STEP,
    telemetry::{GRAD_NORM, LEARNING_RATE, LOSS, MAX_METRIC_NAME_CHARS, Report, Sample, is_metric_name},
    violation::Violations,
};
use lrs_proto as proto;

/// The most steps in a message.
pub const MAX_STEPS: usize = 10_000;
/// The most series of other metrics in a message.
pub const MAX_SERIES: usize = 64;
/// The most values of one series at one step.
pub const MAX_VALUES_AT_STEP: usize = 64;

/// The report in a message. The sample of each step has all values that the columns and series give for the step.
pub fn from_proto(message: proto::StreamTelemetryRequest, v: &mut Violations) -> Report {
    let through_step = optional_whole(v, "through_step", message.through_step, 0, MAX_STEP);
    let steps = v.within("step", |v| rising_steps(&message.step, 1, v));
    let step_count = message.step.len();
    for (name, column) in
        [(LOSS, &message.loss), (GRAD_NORM, &message.grad_norm), (LEARNING_RATE, &message.learning_rate)]
    {
        if !column.is_empty() && column.len() != step_count {
            v.refuse(name, count(column.len()), format_args!("empty or one a step: {step_count}"));
        }
    }
    let series = v.within("metrics", |v| all_series(message.metrics, v));
    let all_steps = union(&steps, &series);
    if all_steps.len() > MAX_STEPS {
        v.refuse("step", format_args!("{} steps, with those of `metrics`,", all_steps.len()), at_most(MAX_STEPS));
    }
    if !v.is_empty() {
        return Report::default();
    }
    let mut samples: Vec<Sample> = all_steps.into_iter().map(Sample::new).collect();
    fill(&mut samples, steps.iter().zip(message.loss), |sample, loss| sample.loss = Some(loss));
    fill(&mut samples, steps.iter().zip(message.grad_norm), |sample, norm| sample.grad_norm = Some(norm));
    fill(&mut samples, steps.iter().zip(message.learning_rate), |sample, rate| sample.learning_rate = Some(rate));
    for Series { name, steps, values } in &series {
        // The series come by rising name, so the metrics of each sample stay sorted.
        let mut at = 0;
        for (step, value) in steps.iter().zip(values) {
            at += samples[at..].partition_point(|sample| sample.step < *step);
            samples[at].metrics.push((name.clone(), *value));
        }
    }
    samples.iter_mut().for_each(Sample::canonicalise);
    Report { samples, through_step }
}

/// The complete record of a step.
#[must_use]
pub fn record_to_proto(sample: &Sample) -> proto::TelemetryRecord {
    proto::TelemetryRecord {
        step: int64(sample.step),
        loss: sample.loss,
        grad_norm: sample.grad_norm,
        learning_rate: sample.learning_rate,
        metrics: sample.metrics.iter().map(|(name, value)| (name.as_ref().to_owned(), *value)).collect(),
    }
}

/// A page of telemetry.
#[must_use]
pub fn answer_to_proto(answer: TelemetryAnswer, next_page_token: String) -> proto::QueryTelemetryResponse {
    let series = |(name, (steps, value)): (String, (Vec<u64>, Vec<f64>))| proto::TelemetrySeries {
        name,
        step: steps.into_iter().map(int64).collect(),
        value,
    };
    proto::QueryTelemetryResponse { series: answer.series.into_iter().map(series).collect(), next_page_token }
}

struct Series {
    name: Arc<str>,
    steps: Vec<u64>,
    values: Vec<f64>,
}

/// The steps, if they rise, or each repeats at most `times`. Stops at the first wrong step, because a finding for every step would help nobody.
fn rising_steps(wire: &[i64], times: usize, v: &mut Violations) -> Vec<u64> {
    if wire.len() > MAX_STEPS {
        v.refuse("", count(wire.len()), at_most(MAX_STEPS));
        return Vec::new();
    }
    let found_before = v.len();
    let mut steps: Vec<u64> = Vec::with_capacity(wire.len());
    for (i, &value) in wire.iter().enumerate() {
        let at = step(v, format_args!("[{i}]"), value);
        if v.len() == found_before && steps.last().is_some_and(|&last| at < last || (times == 1 && at == last)) {
            let or_equal = if times > 1 { "at least" } else { "greater than" };
            v.refuse(format_args!("[{i}]"), value, format_args!("{or_equal} the step before it"));
        }
        if v.len() == found_before && i >= times && steps[i - times] == at {
            v.refuse(format_args!("[{i}]"), format_args!("{value} once more"), format_args!("at most {times} times"));
        }
        if v.len() > found_before {
            break;
        }
        steps.push(at);
    }
    steps
}

fn all_series(wire: Vec<proto::MetricSeries>, v: &mut Violations) -> Vec<Series> {
    if wire.len() > MAX_SERIES {
        v.refuse("", format_args!("{} series", wire.len()), at_most(MAX_SERIES));
        return Vec::new();
    }
    let mut names = BTreeSet::new();
    let mut all = Vec::with_capacity(wire.len());
    for (i, series) in wire.into_iter().enumerate() {
        v.within(format_args!("[{i}]"), |v| {
            check_metric_name("name", &series.name, v);
            if !names.insert(series.name.clone()) {
                v.refuse("name", format_args!("a second {:?}", series.name), "unique within a message");
            }
            let steps = v.within("step", |v| rising_steps(&series.step, MAX_VALUES_AT_STEP, v));
            if series.value.len() != series.step.len() {
                v.refuse("value", count(series.value.len()), format_args!("one a step: {}", series.step.len()));
            }
            all.push(Series { name: series.name.into(), steps, values: series.value });
        });
    }
    all.sort_by(|a, b| a.name.cmp(&b.name));
    all
}

fn check_metric_name(field: &str, name: &str, v: &mut Violations) {
    if !is_metric_name(name) {
        v.refuse(
            field,
            format_args!("{name:?}"),
            format_args!("1 to {MAX_METRIC_NAME_CHARS} characters without spaces"),
        );
    }
    if [LOSS, GRAD_NORM, LEARNING_RATE].contains(&name) {
        v.add(field, format_args!("{name:?} is not allowed: report it in the column of that name"));
    }
}

fn union(steps: &[u64], series: &[Series]) -> Vec<u64> {
    let mut all = steps.to_vec();
    let extra = series.iter().flat_map(|series| &series.steps).filter(|at| steps.binary_search(at).is_err());
    all.extend(extra);
    if all.len() > steps.len() {
        all.sort_unstable();
        all.dedup();
    }
    all
}

/// Sets the value of each step in a column. The samples and the column rise, and every step of the column has a sample.
fn fill<'a>(samples: &mut [Sample], column: impl Iterator<Item = (&'a u64, f64)>, set: impl Fn(&mut Sample, f64)) {
    let mut samples = samples.iter_mut();
    for (&at, value) in column {
        if let Some(sample) = samples.find(|sample| sample.step == at) {
            set(sample, value);
        }
    }
}

fn count(values: usize) -> String {
    format!("a column of {values} values")
}

fn at_most(limit: usize) -> String {
    format!("at most {limit} in a message")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(name: &str, step: Vec<i64>, value: Vec<f64>) -> proto::MetricSeries {
        proto::MetricSeries { name: name.into(), step, value }
    }

    fn wrong(message: proto::StreamTelemetryRequest) -> Vec<String> {
        let mut violations = Violations::new();
        from_proto(message, &mut violations);
        violations.iter().map(|violation| violation.field.clone()).collect()
    }

    #[test]
    fn columns_and_series_become_one_sample_a_step() {
        let odd_nan = f64::from_bits(0xfff8_0000_0000_0001);
        let message = proto::StreamTelemetryRequest {
            step: vec![4, 6],
            loss: vec![odd_nan, 0.5],
            learning_rate: vec![0.1, 0.2],
            metrics: vec![series("val_loss", vec![5, 6], vec![1.0, 2.0]), series("acc", vec![6], vec![f64::INFINITY])],
            through_step: Some(6),
            ..Default::default()
        };
        let mut violations = Violations::new();

        let report = from_proto(message, &mut violations);

        assert!(violations.is_empty(), "{violations}");
        assert_eq!(report.through_step, Some(6));
        assert_eq!(report.samples.iter().map(|s| s.step).collect::<Vec<_>>(), [4, 5, 6]);
        assert_eq!(report.samples[0].loss.unwrap().to_bits(), f64::NAN.to_bits());
        assert_eq!((report.samples[1].loss, report.samples[1].metric("val_loss")), (None, Some(1.0)));
        assert_eq!(report.samples[2].metrics, [("acc".into(), f64::INFINITY), ("val_loss".into(), 2.0)]);
        assert_eq!(report.samples[2].learning_rate, Some(0.2));
    }

    #[test]
    fn a_message_may_say_nothing_but_how_far_it_is() {
        let mut violations = Violations::new();
        let message = proto::StreamTelemetryRequest { through_step: Some(9), ..Default::default() };
        let report = from_proto(message, &mut violations);
        assert!(violations.is_empty());
        assert_eq!(report, Report { samples: Vec::new(), through_step: Some(9) });
    }

    #[test]
    fn columns_of_other_lengths_are_refused_each() {
        let message = proto::StreamTelemetryRequest {
            step: vec![1, 2],
            loss: vec![1.0],
            grad_norm: vec![1.0, 2.0, 3.0],
            metrics: vec![series("a", vec![1], vec![])],
            through_step: Some(-1),
            ..Default::default()
        };
        assert_eq!(wrong(message), ["through_step", "loss", "grad_norm", "metrics[0].value"]);
    }

    #[test]
    fn steps_that_do_not_rise_or_are_out_of_range_are_refused_once_a_column() {
        let steps = |step| proto::StreamTelemetryRequest { step, ..Default::default() };
        assert_eq!(wrong(steps(vec![1, 1, 0])), ["step[1]"]);
        assert_eq!(wrong(steps(vec![-1, -2])), ["step[0]"]);
        assert_eq!(wrong(steps(vec![0, 1 << 53])), ["step[1]"]);
        assert_eq!(wrong(steps(vec![0, (1 << 53) - 1])), [""; 0]);
    }

    #[test]
    fn too_much_in_one_message_is_refused() {
        let many = i64::try_from(MAX_STEPS).unwrap() + 1;
        let too_long = proto::StreamTelemetryRequest { step: (0..many).collect(), ..Default::default() };
        assert_eq!(wrong(too_long), ["step"]);
        let scattered = proto::StreamTelemetryRequest {
            step: (0..many - 1).collect(),
            metrics: vec![series("a", vec![many], vec![1.0])],
            ..Default::default()
        };
        assert_eq!(wrong(scattered), ["step"]);
        let metrics = (0..=MAX_SERIES).map(|i| series(&format!("m{i}"), vec![], vec![])).collect();
        assert_eq!(wrong(proto::StreamTelemetryRequest { metrics, ..Default::default() }), ["metrics"]);
    }

    #[test]
    fn the_names_of_metrics_are_checked() {
        let metrics = ["", "a b", "loss", "fine", "fine"].map(|name| series(name, vec![], vec![])).to_vec();
        assert_eq!(
            wrong(proto::StreamTelemetryRequest { metrics, ..Default::default() }),
            ["metrics[0].name", "metrics[1].name", "metrics[2].name", "metrics[4].name"]
        );
    }
}
