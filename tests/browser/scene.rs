//! Jobs to show on the pages: registered and fed over gRPC, as trainers do.

use lrs_proto::{JobSpec, MetricSeries, StreamTelemetryRequest};

use crate::server::{Server, Stream, spec_json};

/// A job that trains.
pub struct Training {
    /// `namespaces/test/jobs/…`.
    pub job: String,
    pub stream: Stream,
    next_step: i64,
}

/// A trainer's report of one step.
#[derive(Clone, Copy, Debug, Default)]
pub struct Report {
    pub loss: f64,
    pub grad_norm: Option<f64>,
    pub learning_rate: Option<f64>,
    pub val_loss: Option<f64>,
}

impl From<f64> for Report {
    fn from(loss: f64) -> Self {
        Self { loss, ..Self::default() }
    }
}

/// The page of a job in the namespace `test`.
pub fn page(id: &str) -> String {
    format!("/jobs/test/{id}")
}

/// A job with a spec in JSON, whose first attempt has begun.
pub async fn train(server: &Server, id: &str, spec: &str) -> Training {
    train_under(server, id, spec_json(spec)).await
}

/// A job with a spec, whose first attempt has begun.
pub async fn train_under(server: &Server, id: &str, spec: JobSpec) -> Training {
    let job = server.register(id, spec).await.name;
    Training::begin(server, job, "first", 0).await
}

impl Training {
    /// Begins an attempt.
    pub async fn begin(server: &Server, job: String, token: &str, resume_step: i64) -> Self {
        let attempt = server.start_attempt(&job, token, resume_step).await;
        let stream = server.stream(&job, attempt, 0).await;
        Self { job, stream, next_step: resume_step }
    }

    /// Reports the following steps, and waits until they are durable.
    pub async fn report<R: Into<Report>>(&mut self, reports: impl IntoIterator<Item = R>) {
        let reports: Vec<Report> = reports.into_iter().map(Into::into).collect();
        // A column is empty or has a value for each step.
        let alike = |a: &Report, b: &Report| a.learning_rate.is_some() == b.learning_rate.is_some();
        for batch in reports.chunk_by(alike).flat_map(|alike| alike.chunks(5000)) {
            let first = self.next_step;
            let steps = || first..;
            self.next_step += i64::try_from(batch.len()).unwrap();
            let column = |value: fn(&Report) -> Option<f64>| -> Vec<f64> { batch.iter().map_while(value).collect() };
            let (step, value) = steps().zip(batch).filter_map(|(step, report)| Some((step, report.val_loss?))).unzip();
            let val_loss = MetricSeries { name: "val_loss".to_owned(), step, value };
            let request = StreamTelemetryRequest {
                step: steps().take(batch.len()).collect(),
                loss: batch.iter().map(|report| report.loss).collect(),
                grad_norm: column(|report| report.grad_norm),
                learning_rate: column(|report| report.learning_rate),
                metrics: if val_loss.step.is_empty() { Vec::new() } else { vec![val_loss] },
                through_step: Some(self.next_step - 1),
                ..Default::default()
            };
            self.stream.send(request).await;
            self.stream.until_durable(self.next_step - 1).await;
        }
    }
}

/// Numbers that look like noise and are the same in every run, in (-1, 1).
pub fn noise(seed: u64, index: i64) -> f64 {
    use rand::{Rng as _, SeedableRng as _};
    let seed = seed.wrapping_mul(1_000_003).wrapping_add(index.unsigned_abs());
    rand_chacha::ChaCha8Rng::seed_from_u64(seed).random_range(-1.0..1.0)
}

/// A falling loss with noise: from 2.4 towards `floor`, with e-folds of `scale` steps.
pub fn falling(seed: u64, step: i64, scale: f64, floor: f64) -> f64 {
    let at = number(step);
    floor
        + (2.4 - floor) * libm::exp(-at / scale) * (1.0 + 0.12 * noise(seed, step))
        + 0.06 * floor * noise(seed + 1, step)
}

/// A step to calculate with.
pub fn number(step: i64) -> f64 {
    f64::from(i32::try_from(step).expect("steps of tests are small"))
}
