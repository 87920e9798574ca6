//! Messages of the largest kind.

use lrs_proto::{MetricSeries, StreamTelemetryRequest};

/// A message of the largest kind: ten thousand steps with eight metrics each.
pub fn large(first_step: i64) -> StreamTelemetryRequest {
    let step: Vec<i64> = (first_step..first_step + 10_000).collect();
    let metric = |number: u32| MetricSeries {
        name: format!("m{number}"),
        step: step.clone(),
        value: vec![f64::from(number); 10_000],
    };
    StreamTelemetryRequest {
        loss: vec![1.0; 10_000],
        through_step: step.last().copied(),
        metrics: (0..8).map(metric).collect(),
        step: step.clone(),
        ..StreamTelemetryRequest::default()
    }
}
