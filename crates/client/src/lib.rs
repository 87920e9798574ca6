//! A trainer's side of the service: reports telemetry and gets the learning rate of each step.
//!
//! Training never stops because of the service: [`Trainer::directive`] takes no longer than its deadline and goes on with the
//! plan while the service is away. What was reported is kept until the service has said that it is durable, and is sent again
//! on every new connection.

mod backoff;
mod error;
mod fallback;
mod link;
mod outbox;
mod rates;
mod sample;

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, timeout_at};
use tokio_util::task::AbortOnDropHandle;

use self::link::{Link, Shared};
pub use self::{
    backoff::Backoff,
    error::Error,
    fallback::FallbackSteps,
    rates::{Directive, Standing},
    sample::Sample,
};
use lrs_proto::StartAttemptResponse;

/// A trainer's bounds and habits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The reporting rank.
    pub rank: u32,
    /// The longest that [`Trainer::directive`] waits for the last word on a step.
    pub deadline: Duration,
    /// How many steps ahead to keep a plan for, at least 1.
    pub plan_steps: u16,
    /// How many samples may wait to become durable; [`Trainer::report`] refuses more.
    pub max_unacknowledged: usize,
    /// The longest that [`Trainer::connect`] tries to reach the service.
    pub start_timeout: Duration,
    /// The longest that [`Trainer::finish`] waits for everything to become durable.
    pub finish_timeout: Duration,
    /// The longest that a single call may take.
    pub call_timeout: Duration,
    /// The waits between attempts to reach the service.
    pub backoff: Backoff,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            rank: 0,
            deadline: Duration::from_millis(50),
            plan_steps: 4096,
            max_unacknowledged: 100_000,
            start_timeout: Duration::from_secs(30),
            finish_timeout: Duration::from_secs(30),
            call_timeout: Duration::from_secs(5),
            backoff: Backoff::default(),
        }
    }
}

/// One attempt of a job, as its trainer sees it.
///
/// Dropping it drops what is not durable yet; [`finish`](Self::finish) waits for it.
#[derive(Debug)]
pub struct Trainer {
    attempt: StartAttemptResponse,
    options: Options,
    shared: Arc<Shared>,
    fallback: FallbackSteps,
    reported: u64,
    _link: AbortOnDropHandle<()>,
}

/// What came of an attempt, all of it durable.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// Samples reported.
    pub reported: u64,
    /// Samples that reached the service more than once, as far as this connection knows. Harmless.
    pub repeated: u64,
    /// Samples that the service had with other values, as far as this connection knows; the first ones stand.
    pub conflicting: u64,
    /// Samples that the service refused because their step was closed, as far as this connection knows.
    pub late: u64,
    /// Steps that were trained without the service's last word.
    pub fallback: FallbackSteps,
}

impl Trainer {
    /// Begins an attempt of `job` (`namespaces/{namespace}/jobs/{job}`) at `resume_step`, and learns its first rates.
    ///
    /// `attempt_token` is the same for all ranks of one attempt and different for each restart. After this, the connection is
    /// made again whenever it breaks.
    ///
    /// # Errors
    /// If `endpoint` is no URL, the service refuses the attempt, or can not be reached within `options.start_timeout`.
    pub async fn connect(
        endpoint: &str,
        job: &str,
        attempt_token: &str,
        resume_step: u64,
        options: Options,
    ) -> Result<Self, Error> {
        let (link, attempt) = Link::establish(endpoint, job, attempt_token, resume_step, &options).await?;
        let shared = link.shared();
        let link = AbortOnDropHandle::new(tokio::spawn(link.run()));
        Ok(Self { attempt, options, shared, fallback: FallbackSteps::default(), reported: 0, _link: link })
    }

    /// The attempt, and what the service says about the job.
    #[must_use]
    pub fn attempt(&self) -> &StartAttemptResponse {
        &self.attempt
    }

    /// What to train `step` at; steps are asked for in rising order.
    ///
    /// Waits for the service's last word no longer than the deadline. Cancel safe.
    pub async fn directive(&mut self, step: u64) -> Directive {
        let deadline = Instant::now() + self.options.deadline;
        loop {
            {
                let mut ledger = self.shared.ledger();
                if let Some(directive) = ledger.rates.take_directive(step) {
                    return directive;
                }
                if ledger.refusal.is_some() {
                    break;
                }
            }
            if timeout_at(deadline, self.shared.news.notified()).await.is_err() {
                break;
            }
        }
        let directive = self.shared.ledger().rates.fall_back(step);
        self.fallback.record(step);
        // The plan may be running out, and nothing may be coming in that would wake the link.
        self.shared.work.notify_one();
        directive
    }

    /// Hands over what was measured at a step, and closes the step. Does not wait.
    ///
    /// # Errors
    /// If the service has refused the attempt for good, the step does not come after those before it, or
    /// `max_unacknowledged` samples wait to become durable: then this one was not taken.
    pub fn report(&mut self, sample: Sample) -> Result<(), Error> {
        let mut ledger = self.shared.ledger();
        if let Some(refusal) = &ledger.refusal {
            return Err(Error::Refused(refusal.clone()));
        }
        ledger.outbox.push(sample)?;
        self.reported += 1;
        self.shared.work.notify_one();
        Ok(())
    }

    /// How many samples are not known to be durable yet.
    #[must_use]
    pub fn unacknowledged(&self) -> usize {
        self.shared.ledger().outbox.len()
    }

    /// Steps that were trained without the service's last word so far.
    #[must_use]
    pub fn fallback_steps(&self) -> &FallbackSteps {
        &self.fallback
    }

    /// Waits until all that was reported is durable, no longer than `finish_timeout`.
    ///
    /// # Errors
    /// If the service refused the rest for good, or did not acknowledge it within `finish_timeout`.
    pub async fn finish(self) -> Result<Summary, Error> {
        let deadline = Instant::now() + self.options.finish_timeout;
        loop {
            {
                let ledger = self.shared.ledger();
                if ledger.outbox.len() == 0 {
                    let counts = &ledger.counts;
                    return Ok(Summary {
                        reported: self.reported,
                        repeated: counts.repeated,
                        conflicting: counts.conflicting,
                        late: counts.late,
                        fallback: self.fallback.clone(),
                    });
                }
                if let Some(refusal) = &ledger.refusal {
                    return Err(Error::Refused(refusal.clone()));
                }
            }
            if timeout_at(deadline, self.shared.news.notified()).await.is_err() {
                let ledger = self.shared.ledger();
                return Err(Error::NotDurable {
                    unacknowledged: ledger.outbox.len(),
                    waited: self.options.finish_timeout,
                    last_failure: ledger.last_failure.clone(),
                });
            }
        }
    }
}
