//! The task behind a trainer: keeps one stream to the service, and opens a new stream when it breaks.

use std::{
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{Notify, mpsc},
    time::{Instant, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Response, Status,
    transport::{Channel, Endpoint},
};

use super::{
    Error, Options,
    error::{is_permanent, is_unknown_attempt},
    outbox::Outbox,
    rates::RateBook,
    sample::wire_step,
};
use lrs_proto::{
    GetLearningRateRequest, GetLearningRateResponse, StartAttemptRequest, StartAttemptResponse, StreamTelemetryRequest,
    StreamTelemetryResponse, learning_rate_service_client::LearningRateServiceClient,
};

/// The most messages that wait for the stream; further messages wait in the outbox.
const STREAM_MESSAGES: usize = 16;
/// How often a silent connection is probed, so that the client notices a vanished server.
const PROBE_INTERVAL: Duration = Duration::from_secs(5);
/// How long a probe may take.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);

/// The state that a trainer shares with its link.
#[derive(Debug)]
pub(super) struct Shared {
    ledger: Mutex<Ledger>,
    /// Wakes the link when there is something to send or to ask for.
    pub(super) work: Notify,
    /// Wakes the trainer when the ledger has changed.
    pub(super) news: Notify,
}

#[derive(Debug)]
pub(super) struct Ledger {
    pub(super) outbox: Outbox,
    pub(super) rates: RateBook,
    pub(super) counts: Counts,
    /// Set once the service has refused for good; the link has then ended.
    pub(super) refusal: Option<Status>,
    pub(super) last_failure: Option<String>,
}

/// The service's counts on the present stream.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub(super) repeated: u64,
    pub(super) conflicting: u64,
    pub(super) late: u64,
}

impl Shared {
    /// Locks the ledger for a moment; never hold it while waiting.
    pub(super) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) struct Link {
    client: LearningRateServiceClient<Channel>,
    job: String,
    start: StartAttemptRequest,
    attempt: i64,
    options: Options,
    shared: Arc<Shared>,
}

impl Link {
    /// Starts the attempt and asks for its first rates; repeats both until `start_timeout` is over.
    pub(super) async fn establish(
        endpoint: &str,
        job: &str,
        attempt_token: &str,
        resume_step: u64,
        options: &Options,
    ) -> Result<(Self, StartAttemptResponse), Error> {
        let client = LearningRateServiceClient::new(channel(endpoint, options)?);
        let start = StartAttemptRequest {
            job: job.to_owned(),
            attempt_token: attempt_token.to_owned(),
            resume_step: wire_step(resume_step),
            reporting_ranks: None,
        };
        let (attempt, answer) = until_answered(options, || {
            let (mut client, start) = (client.clone(), start.clone());
            async move {
                let attempt = bounded(options, client.start_attempt(start)).await?;
                let answer = ask_for_plan(&mut client, job, attempt.attempt, resume_step, options).await?;
                Ok((attempt, answer))
            }
        })
        .await?;
        let rates = RateBook::try_new(answer).ok_or_else(|| Error::NoRates { job: job.to_owned() })?;
        let ledger = Ledger {
            outbox: Outbox::new(resume_step, options.max_unacknowledged),
            rates,
            counts: Counts::default(),
            refusal: None,
            last_failure: None,
        };
        let shared = Arc::new(Shared { ledger: Mutex::new(ledger), work: Notify::new(), news: Notify::new() });
        let (job, options) = (job.to_owned(), options.clone());
        let link = Self { client, job, start, attempt: attempt.attempt, options, shared };
        Ok((link, attempt))
    }

    pub(super) fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.shared)
    }

    /// Streams until the service refuses for good, with a new stream whenever one breaks.
    pub(super) async fn run(mut self) {
        let mut waits = self.options.backoff.scattered();
        loop {
            let mut heard = false;
            let Err(mut status) = self.stream(&mut heard).await;
            let mut refused = is_permanent(&status);
            if is_unknown_attempt(&status) {
                match self.begin_again().await {
                    Ok(()) => refused = false,
                    Err(failure) => (refused, status) = (is_permanent(&failure), failure),
                }
            }
            {
                let mut ledger = self.shared.ledger();
                ledger.last_failure = Some(status.message().to_owned());
                ledger.refusal = refused.then_some(status);
            }
            self.shared.news.notify_one();
            if refused {
                return;
            }
            if heard {
                waits = self.options.backoff.scattered();
            }
            waits.sleep().await;
        }
    }

    /// Starts the attempt that the service has lost, as when a backup of its database is restored.
    async fn begin_again(&mut self) -> Result<(), Status> {
        let attempt = bounded(&self.options, self.client.start_attempt(self.start.clone())).await?.attempt;
        tracing::warn!(
            job.name = %self.job,
            attempt,
            "The service had lost this attempt of {}. It is attempt {attempt} now, and the service gets what this \
             trainer still holds of it",
            self.job
        );
        self.attempt = attempt;
        Ok(())
    }

    /// Runs one stream to its end. `heard` becomes true once the service has answered on it.
    async fn stream(&mut self, heard: &mut bool) -> Result<std::convert::Infallible, Status> {
        let (sender, receiver) = mpsc::channel(STREAM_MESSAGES);
        // The service may read the first message before it answers the call, so send that message first.
        sender.try_send(self.opening_message()).map_err(|_| Status::internal("a new channel is full"))?;
        self.shared.ledger().outbox.begin_stream();
        let call = self.client.stream_telemetry(ReceiverStream::new(receiver));
        let mut answers = bounded(&self.options, call).await?;
        // Directives that were lost with the last stream may not come again, and a decision may have changed the plan.
        let step = self.shared.ledger().rates.next_step();
        self.renew_plan(step).await?;
        loop {
            let unsent = self.shared.ledger().outbox.has_unsent();
            tokio::select! {
                answer = answers.message() => {
                    let answer = answer?.ok_or_else(|| Status::unavailable("the service ended the stream"))?;
                    *heard = true;
                    self.take(answer);
                }
                permit = sender.reserve(), if unsent => {
                    let permit = permit.map_err(|_| Status::unavailable("the stream is closed"))?;
                    if let Some(message) = self.shared.ledger().outbox.next_message() {
                        permit.send(message);
                    }
                }
                () = self.shared.work.notified() => {}
            }
            let wanted = self.shared.ledger().rates.wants_plan(u64::from(self.options.plan_steps / 4));
            if let Some(step) = wanted {
                self.renew_plan(step).await?;
            }
        }
    }

    fn opening_message(&self) -> StreamTelemetryRequest {
        StreamTelemetryRequest {
            job: self.job.clone(),
            attempt: self.attempt,
            rank: i32::try_from(self.options.rank).unwrap_or(i32::MAX),
            want_directives: true,
            ..Default::default()
        }
    }

    fn take(&self, answer: StreamTelemetryResponse) {
        let mut ledger = self.shared.ledger();
        let through_step = answer.durable_through_step.and_then(|step| u64::try_from(step).ok());
        if let Some(lost) = ledger.outbox.acknowledge(count(answer.durable_messages), through_step) {
            let (job, first, last) = (&self.job, lost.start(), lost.end());
            tracing::warn!(
                job.name = %job,
                "The service has lost the telemetry of steps {first} to {last} of {job}, which nobody holds any more"
            );
        }
        ledger.counts = Counts {
            repeated: count(answer.repeated_samples),
            conflicting: count(answer.conflicting_samples),
            late: count(answer.late_samples),
        };
        for directive in answer.directives {
            ledger.rates.take_final(directive);
        }
        drop(ledger);
        self.shared.news.notify_one();
    }

    async fn renew_plan(&mut self, step: u64) -> Result<(), Status> {
        let answer = ask_for_plan(&mut self.client, &self.job, self.attempt, step, &self.options).await?;
        self.shared.ledger().rates.take_plan(answer);
        self.shared.news.notify_one();
        Ok(())
    }
}

fn channel(endpoint: &str, options: &Options) -> Result<Channel, Error> {
    let parsed = Endpoint::from_shared(endpoint.to_owned())
        .and_then(|parsed| parsed.user_agent(concat!("lrs-trainer/", env!("CARGO_PKG_VERSION"))))
        .map_err(|source| Error::Endpoint { endpoint: endpoint.to_owned(), source })?;
    Ok(parsed
        .connect_timeout(options.call_timeout)
        .http2_keep_alive_interval(PROBE_INTERVAL)
        .keep_alive_timeout(PROBE_TIMEOUT)
        .connect_lazy())
}

async fn ask_for_plan(
    client: &mut LearningRateServiceClient<Channel>,
    job: &str,
    attempt: i64,
    step: u64,
    options: &Options,
) -> Result<GetLearningRateResponse, Status> {
    let request = GetLearningRateRequest {
        job: job.to_owned(),
        attempt,
        step: wire_step(step),
        plan_steps: i32::from(options.plan_steps),
        wait: None,
    };
    bounded(options, client.get_learning_rate(request)).await
}

/// A call's answer, within `call_timeout`.
async fn bounded<T>(options: &Options, call: impl Future<Output = Result<Response<T>, Status>>) -> Result<T, Status> {
    match timeout(options.call_timeout, call).await {
        Ok(answer) => answer.map(Response::into_inner),
        Err(_) => Err(Status::deadline_exceeded(format!("no answer within {:?}", options.call_timeout))),
    }
}

/// Repeats a call until it is answered or refused for good, or `start_timeout` is over.
async fn until_answered<T, F>(options: &Options, mut call: impl FnMut() -> F) -> Result<T, Error>
where
    F: Future<Output = Result<T, Status>>,
{
    let deadline = Instant::now() + options.start_timeout;
    let mut waits = options.backoff.scattered();
    loop {
        let status = match call().await {
            Ok(answer) => return Ok(answer),
            Err(status) if is_permanent(&status) => return Err(Error::Refused(status)),
            Err(status) => status,
        };
        if Instant::now() >= deadline {
            return Err(Error::Unreachable { waited: options.start_timeout, last: status });
        }
        waits.sleep().await;
    }
}

fn count(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}
