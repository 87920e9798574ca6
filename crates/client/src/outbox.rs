//! Telemetry that is not durable yet: kept until it is acknowledged, and sent again on every new stream.
//!
//! A pure value. The service acknowledges messages and steps. Samples are in step order and each sample closes its
//! step, so both kinds of acknowledgement mean that everything up to some step is durable.
//!
//! The newest acknowledged samples are kept too. The service answers the opening of a stream with the step up to which
//! telemetry is durable; when its database has lost some, as after a failover, they are sent again.

use std::{collections::VecDeque, ops::RangeInclusive};

use super::{
    Error,
    sample::{Names, Sample, batch_length, message},
};
use lrs_proto::StreamTelemetryRequest;

/// The most samples in a message: few enough for the server's limit, and enough to catch up quickly.
const MESSAGE_SAMPLES: usize = 1000;
/// Acknowledged samples that are kept in case the service loses them.
const KEPT_SAMPLES: usize = 1024;

#[derive(Debug)]
pub(super) struct Outbox {
    waiting: VecDeque<Sample>,
    names: Names,
    left_out: u64,
    limit: usize,
    // How many of `waiting`, from the front, have been sent on this stream.
    sent: usize,
    // The last step of each message on this stream that is not known to be durable; `None` for the opening message.
    in_flight: VecDeque<Option<u64>>,
    // How many messages on this stream came before `in_flight`.
    durable_messages: u64,
    last_step: Option<u64>,
    // The newest samples that were acknowledged. They come before `waiting`.
    kept: VecDeque<Sample>,
    // Everything up to this step was acknowledged.
    durable: Option<u64>,
    // The opening of this stream has not been answered, and nothing more is sent before it is.
    is_opening: bool,
}

impl Outbox {
    /// An outbox for at most `limit` samples. It refuses steps before `resume_step`.
    pub(super) fn new(resume_step: u64, limit: usize) -> Self {
        Self {
            waiting: VecDeque::new(),
            names: Names::default(),
            left_out: 0,
            limit,
            sent: 0,
            in_flight: VecDeque::new(),
            durable_messages: 0,
            last_step: resume_step.checked_sub(1),
            kept: VecDeque::new(),
            durable: resume_step.checked_sub(1),
            is_opening: false,
        }
    }

    /// Adds a sample.
    ///
    /// # Errors
    /// If its step does not come after all earlier steps, or too many samples wait to be acknowledged. The sample is
    /// then not added.
    pub(super) fn push(&mut self, mut sample: Sample) -> Result<(), Error> {
        if self.last_step.is_some_and(|last| sample.step <= last) {
            return Err(Error::StepNotRising { step: sample.step, last: self.last_step.unwrap_or_default() });
        }
        if self.waiting.len() >= self.limit {
            return Err(Error::BacklogFull { limit: self.limit });
        }
        self.last_step = Some(sample.step);
        self.left_out += self.names.settle(&mut sample);
        self.waiting.push_back(sample);
        Ok(())
    }

    /// How many values of metrics were left out, because there are too many names or values of a step.
    pub(super) fn left_out(&self) -> u64 {
        self.left_out
    }

    /// Begins a new stream, opened with a message without samples. Every waiting sample is sent again.
    pub(super) fn begin_stream(&mut self) {
        self.sent = 0;
        self.durable_messages = 0;
        self.in_flight = VecDeque::from([None]);
        // Before anything was acknowledged, nothing can be lost.
        self.is_opening = !self.kept.is_empty();
    }

    /// Puts the samples after `through_step` that were acknowledged in front of all others, and returns the steps that
    /// are lost for good.
    fn resume(&mut self, through_step: Option<u64>) -> Option<RangeInclusive<u64>> {
        if through_step >= self.durable {
            return None;
        }
        let held = self.kept.iter().position(|sample| Some(sample.step) > through_step).unwrap_or(self.kept.len());
        let again = self.kept.split_off(held);
        let first_lost = through_step.map_or(0, |step| step + 1);
        let first_held = again.front().map_or_else(|| self.durable.map_or(0, |step| step + 1), |sample| sample.step);
        for sample in again.into_iter().rev() {
            self.waiting.push_front(sample);
        }
        self.durable = through_step;
        (first_lost < first_held).then(|| first_lost..=first_held - 1)
    }

    /// The next message for this stream; it counts as sent from now on.
    pub(super) fn next_message(&mut self) -> Option<StreamTelemetryRequest> {
        if self.is_opening {
            return None;
        }
        let length = batch_length(self.waiting.range(self.sent..), MESSAGE_SAMPLES);
        if length == 0 {
            return None;
        }
        let message = message(self.waiting.range(self.sent..self.sent + length));
        self.sent += length;
        self.in_flight.push_back(self.waiting.get(self.sent - 1).map(|sample| sample.step));
        Some(message)
    }

    /// Whether [`next_message`](Self::next_message) would return a message.
    pub(super) fn has_unsent(&self) -> bool {
        !self.is_opening && self.sent < self.waiting.len()
    }

    /// Drops durable samples: those in the first `messages` messages of this stream, and those up to `through_step`.
    /// Returns the steps that the service has lost and nobody holds any more.
    pub(super) fn acknowledge(&mut self, messages: u64, through_step: Option<u64>) -> Option<RangeInclusive<u64>> {
        let mut lost = None;
        if self.is_opening && messages > 0 {
            self.is_opening = false;
            lost = self.resume(through_step);
        }
        let mut durable = through_step;
        while self.durable_messages < messages
            && let Some(last_step) = self.in_flight.pop_front()
        {
            self.durable_messages += 1;
            durable = durable.max(last_step);
        }
        while self.waiting.front().is_some_and(|sample| Some(sample.step) <= durable) {
            if self.kept.len() == KEPT_SAMPLES {
                self.kept.pop_front();
            }
            self.kept.extend(self.waiting.pop_front());
            self.sent = self.sent.saturating_sub(1);
        }
        self.durable = self.durable.max(durable);
        lost
    }

    /// The number of samples that wait to be acknowledged.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(step: u64) -> Sample {
        Sample { step, loss: 1.0, grad_norm: None, learning_rate: 0.1, metrics: Vec::new() }
    }

    fn outbox_with(steps: std::ops::Range<u64>) -> Outbox {
        let mut outbox = Outbox::new(0, 100);
        outbox.begin_stream();
        for step in steps {
            outbox.push(sample(step)).unwrap();
        }
        outbox
    }

    fn sent_steps(outbox: &mut Outbox) -> Vec<i64> {
        std::iter::from_fn(|| outbox.next_message()).flat_map(|message| message.step).collect()
    }

    #[test]
    fn a_message_is_kept_until_it_is_acknowledged() {
        let mut outbox = outbox_with(0..2);
        assert_eq!(sent_steps(&mut outbox), [0, 1]);
        outbox.push(sample(2)).unwrap();
        assert_eq!(sent_steps(&mut outbox), [2]);
        outbox.acknowledge(1, None); // the opening message
        assert_eq!(outbox.len(), 3);
        outbox.acknowledge(2, None);
        assert_eq!(outbox.len(), 1);
        outbox.acknowledge(3, None);
        assert_eq!(outbox.len(), 0);
    }

    #[test]
    fn a_new_stream_carries_all_that_was_not_acknowledged() {
        let mut outbox = outbox_with(0..4);
        sent_steps(&mut outbox);
        outbox.acknowledge(0, Some(1));
        outbox.begin_stream();
        outbox.acknowledge(1, Some(1));
        assert_eq!(sent_steps(&mut outbox), [2, 3]);
    }

    #[test]
    fn a_step_found_durable_before_it_was_sent_again_is_not_sent() {
        let mut outbox = outbox_with(0..4);
        outbox.acknowledge(1, Some(2));
        assert_eq!(sent_steps(&mut outbox), [3]);
        outbox.acknowledge(2, None);
        assert_eq!(outbox.len(), 0);
    }

    #[test]
    fn an_acknowledgement_of_the_old_stream_does_not_count_for_the_new() {
        let mut outbox = outbox_with(0..2);
        sent_steps(&mut outbox);
        outbox.begin_stream();
        outbox.acknowledge(2, None);
        assert_eq!(outbox.len(), 2, "nothing with samples has been sent on this stream");
        assert_eq!(sent_steps(&mut outbox), [0, 1]);
    }

    #[test]
    fn acknowledged_samples_that_the_service_has_lost_are_sent_again_first() {
        let mut outbox = outbox_with(0..10);
        sent_steps(&mut outbox);
        outbox.acknowledge(0, Some(7));
        outbox.begin_stream();
        assert!(!outbox.has_unsent() && outbox.next_message().is_none());
        assert_eq!(outbox.acknowledge(1, Some(4)), None);
        assert_eq!(outbox.len(), 5);
        assert_eq!(sent_steps(&mut outbox), [5, 6, 7, 8, 9]);
        outbox.acknowledge(1, Some(9));
        outbox.begin_stream();
        assert_eq!(outbox.acknowledge(1, Some(9)), None);
        assert_eq!((outbox.len(), sent_steps(&mut outbox)), (0, vec![]));
    }

    #[test]
    fn steps_that_nobody_holds_any_more_are_named() {
        let mut outbox = Outbox::new(0, 5000);
        outbox.begin_stream();
        for step in 0..3000 {
            outbox.push(sample(step)).unwrap();
        }
        sent_steps(&mut outbox);
        outbox.acknowledge(0, Some(2999));
        outbox.begin_stream();
        let first_held = 3000 - KEPT_SAMPLES as u64;
        assert_eq!(outbox.acknowledge(1, Some(1000)), Some(1001..=first_held - 1));
        assert_eq!(sent_steps(&mut outbox)[0], first_held.cast_signed());
    }

    #[test]
    fn a_full_backlog_refuses_the_sample_and_takes_it_later() {
        let mut outbox = Outbox::new(5, 1);
        outbox.begin_stream();
        outbox.push(sample(5)).unwrap();
        assert!(matches!(outbox.push(sample(6)), Err(Error::BacklogFull { limit: 1 })));
        outbox.acknowledge(0, Some(5));
        outbox.push(sample(6)).unwrap();
    }

    #[test]
    fn steps_must_rise_from_the_resume_step_on() {
        let mut outbox = Outbox::new(5, 10);
        assert!(matches!(outbox.push(sample(4)), Err(Error::StepNotRising { step: 4, last: 4 })));
        outbox.push(sample(5)).unwrap();
        assert!(matches!(outbox.push(sample(5)), Err(Error::StepNotRising { step: 5, last: 5 })));
    }
}
