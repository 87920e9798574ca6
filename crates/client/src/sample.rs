//! The sample that a trainer reports for a step, and the message that consecutive samples share.

use std::collections::BTreeMap;

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
    /// Evaluations and other metrics, by name.
    pub metrics: BTreeMap<String, f64>,
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
        for (name, &value) in &sample.metrics {
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
    fn a_batch_ends_at_its_limit_and_where_a_column_would_have_a_gap() {
        let samples =
            [sample(0, Some(1.0), &[]), sample(1, Some(1.0), &[]), sample(2, None, &[]), sample(3, None, &[])];
        assert_eq!(batch_length(samples.iter(), 100), 2);
        assert_eq!(batch_length(samples.iter(), 1), 1);
        assert_eq!(batch_length(samples[2..].iter(), 100), 2);
        assert_eq!(batch_length(samples[4..].iter(), 100), 0);
    }
}
