//! A rank of a job: asks for each step, trains it, reports it, and sends again every sample that was not acknowledged.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use lrs_model::telemetry::{Report, Sample};
use lrs_proto::{GetLearningRateRequest, StartAttemptRequest, learning_rate_service_client::LearningRateServiceClient};
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use tokio::time::Instant;
use tonic::transport::Channel;

use crate::{
    job::{Job, Stretch},
    ledger::Age,
    outbox::Outbox,
    seen::{Seen, final_steps},
    stream::{Line, message},
};

/// The most samples that a rank keeps unacknowledged.
const OUTBOX: usize = 500;
/// How long a rank waits to hear on a new stream how much telemetry the service has.
const OPENING: Duration = Duration::from_secs(2);
/// The most samples in a message.
const BATCH: usize = 100;
/// How long a rank waits for a directive on its stream before it asks by a call.
const PATIENCE: Duration = Duration::from_millis(200);
/// A report that is not durable after this time counts as lost.
const STUCK: Duration = Duration::from_secs(90);

/// A rank.
pub struct Rank {
    job: Arc<Job>,
    number: u32,
    random: ChaCha8Rng,
    /// The connection for calls, kept while it works.
    channel: Option<Channel>,
}

/// The end of a stretch.
enum Ended {
    /// Training is over, and all is durable.
    Closed,
    /// Another stretch has begun.
    Restarted,
}

impl Rank {
    pub fn new(job: Arc<Job>, number: u32, seed: u64) -> Self {
        Self { job, number, random: ChaCha8Rng::seed_from_u64(seed ^ (u64::from(number) << 32)), channel: None }
    }

    /// Trains stretch after stretch.
    pub async fn train(mut self) {
        let mut stretches = self.job.stretch.subscribe();
        loop {
            let stretch = stretches.borrow_and_update().clone();
            if let Ended::Closed = self.train_stretch(&stretch).await {
                return;
            }
        }
    }

    async fn train_stretch(&mut self, stretch: &Stretch) -> Ended {
        let Some((attempt, age)) = self.start(stretch).await else { return self.next_stretch(stretch).await };
        let seen = Arc::new(Seen {
            job: self.job.clone(),
            age,
            attempt,
            rank: self.number,
            durable_end: AtomicU64::new(stretch.resume_step),
            directed: std::sync::Mutex::default(),
            is_broken: AtomicBool::new(true),
            is_stale: AtomicBool::new(false),
            news: tokio::sync::Notify::new(),
        });
        let mut outbox = Outbox::default();
        let mut line: Option<Line> = None;
        let mut next = stretch.resume_step;
        let mut closing_since: Option<Instant> = None;
        loop {
            if *self.job.stretch.borrow() != *stretch {
                return Ended::Restarted;
            }
            if seen.is_stale.load(Ordering::SeqCst) {
                // Another rank has begun the next stretch already.
                return self.next_stretch(stretch).await;
            }
            let durable_end = seen.durable_end.load(Ordering::SeqCst);
            outbox.acknowledge(durable_end);
            let is_closing = self.job.closing.is_cancelled();
            if is_closing && outbox.waiting.is_empty() {
                return Ended::Closed;
            }
            if is_closing && closing_since.get_or_insert_with(Instant::now).elapsed() > STUCK {
                let waiting = outbox.waiting.len();
                let what =
                    format!("{}: {waiting} samples of rank {} do not become durable", self.job.name, self.number);
                self.job.ledger.broken(4, what);
                return Ended::Closed;
            }
            if seen.is_broken.load(Ordering::SeqCst) {
                line = self.open(&seen, &mut outbox).await;
                if line.is_none() {
                    tokio::time::sleep(Duration::from_millis(30)).await;
                    continue;
                }
            }
            if is_closing || outbox.waiting.len() >= OUTBOX {
                let _ = tokio::time::timeout(PATIENCE, seen.news.notified()).await;
                continue;
            }
            self.direct(&seen, next).await;
            // The time that a training step takes.
            tokio::time::sleep(Duration::from_millis(self.random.random_range(5..25))).await;
            if *self.job.stretch.borrow() != *stretch {
                return Ended::Restarted;
            }
            let sample = self.sample(next);
            let report = Report { samples: vec![sample.clone()], through_step: Some(next) };
            self.job.ledger.sending(&self.job.name, attempt, self.number, &report);
            outbox.waiting.push_back(sample.clone());
            next += 1;
            self.job.furthest.send_modify(|furthest| *furthest = next.max(*furthest));
            if let Some(line) = &line {
                line.send(message(std::slice::from_ref(&sample), Some(next - 1))).await;
                self.tease(line, &seen, stretch).await;
            }
        }
    }

    /// Waits for the stretch that another rank has begun.
    async fn next_stretch(&self, stretch: &Stretch) -> Ended {
        let mut stretches = self.job.stretch.subscribe();
        let next = tokio::time::timeout(STUCK, stretches.wait_for(|next| next != stretch));
        tokio::select! {
            biased;
            found = next => if found.is_ok() { return Ended::Restarted },
            () = self.job.closing.cancelled() => return Ended::Closed,
        }
        let what = format!("{}: the attempt for {} is stale, and nobody began another", self.job.name, stretch.token);
        self.job.ledger.broken(1, what);
        Ended::Closed
    }

    /// Starts the attempt, which is the same for all ranks, and says in which age. `None` if the stretch is over.
    async fn start(&self, stretch: &Stretch) -> Option<(u32, Age)> {
        let name = self.job.name.to_string();
        let request = StartAttemptRequest {
            job: name.clone(),
            attempt_token: stretch.token.clone(),
            resume_step: i64::try_from(stretch.resume_step).unwrap(),
            reporting_ranks: None,
        };
        let mut age = self.job.ledger.age();
        let answer = self
            .job
            .way
            .insist(|channel| {
                age = self.job.ledger.age();
                let request = request.clone();
                async move { LearningRateServiceClient::new(channel).start_attempt(request).await }
            })
            .await;
        match answer {
            Ok(answer) => {
                let attempt = u32::try_from(answer.attempt).unwrap();
                self.job.ledger.attempt(age, &self.job.name, &stretch.token, attempt);
                self.job.attempt.store(attempt, Ordering::SeqCst);
                Some((attempt, age))
            }
            Err(_) if *self.job.stretch.borrow() != *stretch || !self.job.ledger.holds(age) => None,
            Err(status) => {
                self.job.ledger.broken(2, format!("{name}: {} cannot be started: {status:?}", stretch.token));
                None
            }
        }
    }

    /// Gets the directive of a step, or goes on without it: training never stops.
    async fn direct(&mut self, seen: &Arc<Seen>, step: u64) {
        let come = async {
            while !seen.directed().contains(&step) {
                seen.news.notified().await;
            }
        };
        if tokio::time::timeout(PATIENCE, come).await.is_ok() || self.random.random_bool(0.1) {
            return;
        }
        let kept = self.channel.take().filter(|_| self.random.random_bool(0.9));
        let age = self.job.ledger.age();
        let channel = match kept {
            Some(channel) => channel,
            None => match self.job.way.connect().await {
                Ok(channel) => channel,
                Err(_) => return,
            },
        };
        let request = GetLearningRateRequest {
            job: self.job.name.to_string(),
            attempt: seen.attempt.into(),
            step: i64::try_from(step).unwrap(),
            plan_steps: self.random.random_range(0..6),
            wait: Some(Duration::from_millis(self.random.random_range(0..300)).into()),
        };
        match LearningRateServiceClient::new(channel.clone()).get_learning_rate(request).await {
            Ok(answer) => {
                seen.given(final_steps(answer.get_ref()), age);
                self.channel = Some(channel);
            }
            Err(status) => seen.failed(&status),
        }
    }

    /// The sample of a trained step.
    fn sample(&mut self, step: u64) -> Sample {
        let loss = match self.random.random_range(0..20) {
            0 => f64::NAN,
            1 => f64::INFINITY,
            _ => 1.0 + f64::from(self.random.random_range(0..7)) / 10.0,
        };
        let mut sample = Sample { loss: Some(loss), ..Sample::new(step) };
        if self.random.random_bool(0.2) {
            sample.add_metric("val_loss".into(), f64::from(self.random.random_range(0..5)));
        }
        sample
    }

    /// Opens a stream, and sends again the samples that are not known to be durable, or are durable no more.
    async fn open(&self, seen: &Arc<Seen>, outbox: &mut Outbox) -> Option<Line> {
        let age = self.job.ledger.age();
        let channel = self.job.way.connect_for_long().await.ok()?;
        seen.is_broken.store(false, Ordering::SeqCst);
        let (line, opening) = match Line::open(channel, seen, age).await {
            Ok(opened) => opened,
            Err(status) => {
                seen.is_broken.store(true, Ordering::SeqCst);
                seen.failed(&status);
                return None;
            }
        };
        if let Ok(Ok(durable_end)) = tokio::time::timeout(OPENING, opening).await {
            outbox.resume(durable_end);
            seen.durable_end.store(durable_end, Ordering::SeqCst);
        }
        let samples: Vec<Sample> = outbox.waiting.iter().cloned().collect();
        for batch in samples.chunks(BATCH) {
            line.send(message(batch, batch.last().map(|sample| sample.step))).await;
        }
        Some(line)
    }

    /// Sends a durable sample once more, unchanged or with another loss: neither may change anything.
    async fn tease(&mut self, line: &Line, seen: &Arc<Seen>, stretch: &Stretch) {
        let durable_end = seen.durable_end.load(Ordering::SeqCst);
        if durable_end > stretch.resume_step && self.random.random_bool(0.05) {
            let step = self.random.random_range(stretch.resume_step..durable_end);
            line.send(message(&[Sample { loss: Some(12345.0), ..Sample::new(step) }], None)).await;
        }
    }
}
