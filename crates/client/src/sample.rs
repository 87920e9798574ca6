//! The sample that a trainer reports for a step, and the message that consecutive samples share.

use std::collections::{BTreeMap, BTreeSet};

use lrs_model::telemetry::{GRAD_NORM, LEARNING_RATE, LOSS, MAX_METRIC_NAME_CHARS};
use lrs_proto::{MetricSeries, StreamTelemetryRequest};

/// The values that one rank reports for one step, including evaluations made at that step. Reporting the sample closes
/// the step.
///
/// Values that are not finite are ordinary data.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// The step.
    pub step: u64,
    /// The training loss.
    pub loss: f64,
    /// The norm of the whole gradient before clipping, if known.
    pub grad_norm: Option<f64>,
    /// The learning rate that the first group really used.
    pub learning_rate: f64,
    /// Evaluations and other metrics, by name, in the order they were measured; a name may repeat. Characters that a
    /// name may not hold are replaced by `_`, and what is beyond the service's limits is left out and counted.
    pub metrics: Vec<(String, f64)>,
}

/// The most names of metrics of an attempt: as many as the series of a message.
const MAX_NAMES: usize = 64;
/// The most values of a metric at a step.
const MAX_VALUES_AT_STEP: usize = 64;

/// The names of metrics of an attempt so far.
#[derive(Debug, Default)]
pub(super) struct Names(BTreeSet<String>);

impl Names {
    /// Makes the names of a sample those that the service takes, and leaves out what is beyond its limits. Returns how
    /// many values were left out.
    pub(super) fn settle(&mut self, sample: &mut Sample) -> u64 {
        let mut times: BTreeMap<String, usize> = BTreeMap::new();
        let all = std::mem::take(&mut sample.metrics);
        let count = all.len();
        for (name, value) in all {
            let name = allowed(&name);
            let times = times.entry(name.clone()).or_default();
            *times += 1;
            if *times > MAX_VALUES_AT_STEP || (!self.0.contains(&name) && self.0.len() >= MAX_NAMES) {
                continue;
            }
            self.0.insert(name.clone());
            sample.metrics.push((name, value));
        }
        (count - sample.metrics.len()) as u64
    }
}

/// The name that a metric of this name gets: the same, if the service takes it.
fn allowed(name: &str) -> String {
    let replaced = |c: char| if c.is_whitespace() || c.is_control() { '_' } else { c };
    let name: String = name.chars().take(MAX_METRIC_NAME_CHARS).map(replaced).collect();
    if name.is_empty() || [LOSS, GRAD_NORM, LEARNING_RATE].contains(&name.as_str()) { name + "_" } else { name }
}

/// How many samples, from the first on, can share a message of at most `limit` samples: a column must have a value for
/// every step or for none.
pub(super) fn batch_length<'a>(mut samples: impl Iterator<Item = &'a Sample>, limit: usize) -> usize {
    let Some(first) = samples.next() else { return 0 };
    let alike = |sample: &&Sample| sample.grad_norm.is_some() == first.grad_norm.is_some();
    1 + samples.take(limit.saturating_sub(1)).take_while(alike).count()
}

/// The samples as columns, closing the last of their steps. They must have the same columns, as [`batch_length`] makes
/// sure.
pub(super) fn message<'a>(samples: impl Iterator<Item = &'a Sample>) -> StreamTelemetryRequest {
    let mut message = StreamTelemetryRequest::default();
    let mut series: BTreeMap<&str, MetricSeries> = BTreeMap::new();
    for sample in samples {
        let step = wire_step(sample.step);
        message.step.push(step);
        message.loss.push(sample.loss);
        message.learning_rate.push(sample.learning_rate);
        message.grad_norm.extend(sample.grad_norm);
        message.through_step = Some(step);
        for &(ref name, value) in &sample.metrics {
            let column =
                series.entry(name).or_insert_with(|| MetricSeries { name: name.clone(), ..Default::default() });
            column.step.push(step);
            column.value.push(value);
        }
    }
    message.metrics = series.into_values().collect();
    message
}

/// A step on the wire. A step that is too large becomes the largest number, which the server refuses.
pub(super) fn wire_step(step: u64) -> i64 {
    i64::try_from(step).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(step: u64, grad_norm: Option<f64>, metrics: &[(&str, f64)]) -> Sample {
        let metrics = metrics.iter().map(|&(name, value)| (name.to_owned(), value)).collect();
        Sample { step, loss: 0.5, grad_norm, learning_rate: 0.1, metrics }
    }

    #[test]
    fn a_message_has_columns_of_one_length_and_closes_its_last_step() {
        let samples = [sample(3, Some(1.0), &[]), sample(4, Some(2.0), &[("val_loss", 0.25)])];
        let message = message(samples.iter());
        assert_eq!(message.step, [3, 4]);
        assert_eq!((message.loss.len(), message.learning_rate.len(), &message.grad_norm[..]), (2, 2, &[1.0, 2.0][..]));
        assert_eq!(message.through_step, Some(4));
        let evaluation = MetricSeries { name: "val_loss".to_owned(), step: vec![4], value: vec![0.25] };
        assert_eq!(message.metrics, [evaluation]);
    }

    #[test]
    fn what_is_measured_twice_is_sent_twice_and_names_are_made_to_fit() {
        let mut names = Names::default();
        let mut twice = sample(4, None, &[("val loss", 3.0), ("loss", 1.0), ("val loss", 2.0)]);
        assert_eq!(names.settle(&mut twice), 0);
        let series = |name: &str, step: &[i64], value: &[f64]| MetricSeries {
            name: name.to_owned(),
            step: step.to_vec(),
            value: value.to_vec(),
        };
        let expected = [series("loss_", &[4], &[1.0]), series("val_loss", &[4, 4], &[3.0, 2.0])];
        assert_eq!(message([twice].iter()).metrics, expected);
    }

    #[test]
    fn names_and_values_beyond_the_limits_are_left_out_and_counted() {
        let mut names = Names::default();
        let many: Vec<String> = (0..70).map(|i| format!("m{i}")).collect();
        let many: Vec<(&str, f64)> = many.iter().map(|name| (name.as_str(), 0.0)).collect();
        let mut first = sample(0, None, &many);
        assert_eq!((names.settle(&mut first), first.metrics.len()), (6, 64));
        let mut later = sample(1, None, &[("m0", 1.0), ("late", 1.0)]);
        assert_eq!((names.settle(&mut later), later.metrics.len()), (1, 1));
        let mut often = sample(2, None, &[("m1", 0.5); 65]);
        assert_eq!((names.settle(&mut often), often.metrics.len()), (1, 64));
    }

    #[test]
    fn a_batch_ends_at_its_limit_and_where_a_column_would_have_a_gap() {
        let samples =
            [sample(0, Some(1.0), &[]), sample(1, Some(1.0), &[]), sample(2, None, &[]), sample(3, None, &[])];
        assert_eq!(batch_length(samples.iter(), 100), 2);
        assert_eq!(batch_length(samples.iter(), 1), 1);
        assert_eq!(batch_length(samples[2..].iter(), 100), 2);
        assert_eq!(batch_length(samples[4..].iter(), 100), 0);
    }
}
