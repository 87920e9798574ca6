//! A stream of telemetry and the task that reads it.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use lrs_model::telemetry::Sample;
use lrs_proto::{
    MetricSeries, StreamTelemetryRequest, StreamTelemetryResponse,
    learning_rate_service_client::LearningRateServiceClient,
};
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::task::AbortOnDropHandle;
use tonic::{Status, Streaming, transport::Channel};

use crate::{ledger::Age, seen::Seen};

/// A stream of telemetry and the task that reads it.
pub struct Line {
    rank: i32,
    messages: mpsc::Sender<StreamTelemetryRequest>,
    _reader: AbortOnDropHandle<()>,
}

impl Line {
    /// Opens a stream. The receiver gets the step below which the service has all telemetry, with the first answer.
    pub async fn open(channel: Channel, seen: &Arc<Seen>, age: Age) -> Result<(Self, oneshot::Receiver<u64>), Status> {
        let (messages, queue) = mpsc::channel(64);
        let rank = i32::try_from(seen.rank).unwrap();
        let first = StreamTelemetryRequest {
            job: seen.job.name.to_string(),
            attempt: seen.attempt.into(),
            rank,
            want_directives: true,
            ..StreamTelemetryRequest::default()
        };
        messages.try_send(first).expect("a fresh channel has room");
        let mut client = LearningRateServiceClient::new(channel);
        let opening = client.stream_telemetry(ReceiverStream::new(queue));
        let answers = tokio::time::timeout(Duration::from_secs(3), opening)
            .await
            .map_err(|_| Status::deadline_exceeded("the stream does not open"))??
            .into_inner();
        let (opened, opening) = oneshot::channel();
        let reader = AbortOnDropHandle::new(tokio::spawn(read(answers, seen.clone(), age, opened)));
        Ok((Self { rank, messages, _reader: reader }, opening))
    }

    pub async fn send(&self, message: StreamTelemetryRequest) {
        let message = StreamTelemetryRequest { rank: self.rank, ..message };
        // A message that does not arrive is sent again on the next stream. A stream that is stuck is given up.
        let _ = tokio::time::timeout(Duration::from_secs(1), self.messages.send(message)).await;
    }
}

async fn read(
    mut answers: Streaming<StreamTelemetryResponse>,
    seen: Arc<Seen>,
    age: Age,
    opened: oneshot::Sender<u64>,
) {
    let mut opened = Some(opened);
    let status = loop {
        match answers.message().await {
            Ok(Some(answer)) => {
                // Answers with directives alone say nothing of telemetry.
                if let Some(opened) = opened.take_if(|_| answer.durable_messages > 0) {
                    let _ = opened.send(answer.durable_through_step.map_or(0, |through| through.cast_unsigned() + 1));
                }
                seen.told(&answer, age);
            }
            Ok(None) => break None,
            Err(status) => break Some(status),
        }
    };
    seen.is_broken.store(true, Ordering::SeqCst);
    match status {
        Some(status) => seen.failed(&status),
        None => seen.news.notify_one(),
    }
}

/// Samples with losses, in columns.
pub fn message(samples: &[Sample], through: Option<u64>) -> StreamTelemetryRequest {
    let int64 = |step: u64| i64::try_from(step).unwrap();
    let evaluated = samples.iter().filter_map(|sample| Some((int64(sample.step), sample.metric("val_loss")?)));
    let (step, value): (Vec<i64>, Vec<f64>) = evaluated.unzip();
    let evaluations = MetricSeries { name: "val_loss".to_owned(), step, value };
    StreamTelemetryRequest {
        step: samples.iter().map(|sample| int64(sample.step)).collect(),
        loss: samples.iter().filter_map(|sample| sample.loss).collect(),
        metrics: if evaluations.step.is_empty() { Vec::new() } else { vec![evaluations] },
        through_step: through.map(int64),
        ..StreamTelemetryRequest::default()
    }
}
