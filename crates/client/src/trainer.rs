//! The trainer of one attempt of a job.

use std::sync::Arc;

use tokio::time::{Instant, timeout_at};
use tokio_util::task::AbortOnDropHandle;

use super::{
    Directive, Error, FallbackSteps, Options, Sample,
    link::{Link, Shared},
};
use lrs_proto::StartAttemptResponse;

/// One attempt of a job, as its trainer sees it.
///
/// Dropping a trainer loses the samples that are not durable yet; [`finish`](Self::finish) waits for them.
#[derive(Debug)]
pub struct Trainer {
    attempt: StartAttemptResponse,
    options: Options,
    shared: Arc<Shared>,
    fallback: FallbackSteps,
    reported: u64,
    _link: AbortOnDropHandle<()>,
}

/// The counts of an attempt whose samples are all durable.
#[derive(Clone, Debug, PartialEq)]
pub struct Totals {
    /// Samples reported.
    pub reported: u64,
    /// Samples that the service received more than once on the last stream. Harmless.
    pub repeated: u64,
    /// Samples that contradicted an earlier one on the last stream; the service kept the earlier values.
    pub conflicting: u64,
    /// Samples on the last stream that the service refused because their step was closed.
    pub late: u64,
    /// Values of metrics that were left out: an attempt may have 64 names of metrics, and a step 64 values of each.
    pub left_out: u64,
    /// The steps that were trained without a final directive.
    pub fallback: FallbackSteps,
}

impl Trainer {
    /// Begins an attempt of `job` (`namespaces/{namespace}/jobs/{job}`) at `resume_step`, and gets its first rates.
    ///
    /// `attempt_token` must be the same for all ranks of an attempt, and different for each restart. After this call, a
    /// broken connection is renewed in the background.
    ///
    /// # Errors
    /// If `endpoint` is not a URL, or the service refuses the attempt or cannot be reached within
    /// `options.start_timeout`.
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

    /// The attempt and its job, as the service described them at the start.
    #[must_use]
    pub fn attempt(&self) -> &StartAttemptResponse {
        &self.attempt
    }

    /// The rates for `step`; ask for steps in rising order.
    ///
    /// Waits for final rates at most until the deadline. Cancel safe.
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
        // The plan may run out while no answer arrives to wake the link.
        self.shared.work.notify_one();
        directive
    }

    /// Reports the values of a step and closes the step. Does not wait.
    ///
    /// # Errors
    /// If the service has refused the attempt for good, the step does not come after the last reported step, or
    /// `max_unacknowledged` samples already wait to become durable. The sample is then not taken.
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

    /// The number of samples that may not be durable yet.
    #[must_use]
    pub fn unacknowledged(&self) -> usize {
        self.shared.ledger().outbox.len()
    }

    /// The steps that were trained without a final directive so far.
    #[must_use]
    pub fn fallback_steps(&self) -> &FallbackSteps {
        &self.fallback
    }

    /// Waits at most `finish_timeout` until all reported samples are durable.
    ///
    /// # Errors
    /// If the service refused the attempt for good, or did not acknowledge everything within `finish_timeout`.
    pub async fn finish(self) -> Result<Totals, Error> {
        let deadline = Instant::now() + self.options.finish_timeout;
        loop {
            {
                let ledger = self.shared.ledger();
                if ledger.outbox.len() == 0 {
                    let counts = &ledger.counts;
                    return Ok(Totals {
                        reported: self.reported,
                        repeated: counts.repeated,
                        conflicting: counts.conflicting,
                        late: counts.late,
                        left_out: ledger.outbox.left_out(),
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
