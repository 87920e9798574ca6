//! Bodies of requests on their way in: bounded in memory and in time.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Interval};

use super::{
    budget::{Budget, Charge, UsedUp},
    call::Call,
    outbox::ticks,
    pressure::Pressure,
};

/// So much must arrive in each period of the time-out, unless the body ends before.
const PROGRESS: usize = 16 << 10;
/// A message in a stream begins with a byte of flags and four bytes with its length.
const PREFIX: usize = 5;

/// How the body of a request is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// As a whole, which is kept until the call is over.
    Whole,
    /// As a stream of gRPC's messages, each of which is over when it has arrived. The sender may pause between two.
    Messages,
}

/// Why no more of a request is read.
#[derive(Clone, Copy, Debug, thiserror::Error)]
pub enum Unread {
    /// The sender is too slow.
    #[error("less than {PROGRESS} bytes of the request arrived within {0:?} (read_timeout)")]
    TooSlow(Duration),
    /// There is no memory for it.
    #[error(transparent)]
    UsedUp(UsedUp),
    /// The process is about to end.
    #[error("the server is shutting down")]
    ShuttingDown,
    /// The connection broke.
    #[error("the connection broke while the request was sent")]
    Broken,
}

/// What the bodies of all requests share.
#[derive(Clone, Debug)]
pub(super) struct Terms {
    pub(super) budget: Budget,
    pub(super) pressure: Pressure,
    pub(super) read_timeout: Duration,
}

/// The body of a request.
pub struct RequestBody {
    inner: Incoming,
    meter: Meter,
    terms: Terms,
    call: Arc<Call>,
    /// The charge for a message that has begun.
    charge: Option<Charge>,
    /// When the server began to wait for more.
    asked: Option<Instant>,
    /// How long it has waited since the last progress.
    waited: Duration,
    ticks: Option<Interval>,
}

impl RequestBody {
    pub(super) fn new(inner: Incoming, reading: Reading, terms: Terms, call: Arc<Call>) -> Self {
        let meter = Meter::new(reading);
        Self { inner, meter, terms, call, charge: None, asked: None, waited: Duration::ZERO, ticks: None }
    }

    fn arrived(&mut self, data: &Bytes) -> Result<(), Unread> {
        self.waited += self.asked.take().map_or(Duration::ZERO, |asked| asked.elapsed());
        if self.meter.count(data) {
            self.waited = Duration::ZERO;
        }
        let charged = match self.meter.reading {
            Reading::Whole => self.call.charge(&self.terms.budget, self.meter.kept),
            Reading::Messages => self.terms.budget.adapt(&mut self.charge, self.meter.kept),
        };
        charged.map_err(Unread::UsedUp)
    }

    /// Looks at the time while the sender owes something.
    fn wait(&mut self, context: &mut Context<'_>) -> Poll<Unread> {
        let asked = *self.asked.get_or_insert_with(Instant::now);
        let ticks = self.ticks.get_or_insert_with(|| ticks(self.terms.read_timeout));
        while ticks.poll_tick(context).is_ready() {
            if self.terms.pressure.is_draining() {
                return Poll::Ready(Unread::ShuttingDown);
            }
            let patience = self.terms.pressure.patience(self.terms.read_timeout);
            if self.waited + asked.elapsed() > patience {
                return Poll::Ready(Unread::TooSlow(patience));
            }
        }
        Poll::Pending
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = Unread;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Unread>>> {
        let this = &mut *self;
        match Pin::new(&mut this.inner).poll_frame(context) {
            Poll::Ready(Some(Ok(frame))) => {
                let charged = frame.data_ref().map_or(Ok(()), |data| this.arrived(data));
                Poll::Ready(Some(charged.map(|()| frame)))
            }
            Poll::Ready(Some(Err(problem))) => {
                tracing::debug!(%problem, "A request was not read to its end");
                Poll::Ready(Some(Err(Unread::Broken)))
            }
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending if this.meter.is_owed() => this.wait(context).map(|unread| Some(Err(unread))),
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// Counts what has arrived.
#[derive(Debug)]
struct Meter {
    reading: Reading,
    /// The bytes that are in memory: of the whole, or of the message that has begun.
    kept: usize,
    /// The bytes since the last progress.
    fresh: usize,
    /// The first bytes of a message, before its length is known.
    prefix: Vec<u8>,
    /// What is still to come of a message.
    to_come: usize,
}

impl Meter {
    fn new(reading: Reading) -> Self {
        Self { reading, kept: 0, fresh: 0, prefix: Vec::new(), to_come: 0 }
    }

    /// Counts `data`. Whether that is progress: enough has arrived, or a message is complete.
    fn count(&mut self, mut data: &[u8]) -> bool {
        self.fresh += data.len();
        let mut is_progress = self.fresh >= PROGRESS;
        if self.reading == Reading::Whole {
            self.kept += data.len();
        } else {
            while !data.is_empty() {
                let missing = if self.to_come > 0 { self.to_come } else { PREFIX - self.prefix.len() };
                let (taken, rest) = data.split_at(missing.min(data.len()));
                data = rest;
                self.kept += taken.len();
                if self.to_come > 0 {
                    self.to_come -= taken.len();
                } else {
                    self.prefix.extend(taken);
                    let &[_, a, b, c, d] = self.prefix.as_slice() else { continue };
                    self.prefix.clear();
                    self.to_come = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX);
                }
                if self.to_come == 0 {
                    self.kept = 0;
                    is_progress = true;
                }
            }
        }
        if is_progress {
            self.fresh = 0;
        }
        is_progress
    }

    /// Whether the sender has to send more, and soon.
    fn is_owed(&self) -> bool {
        self.reading == Reading::Whole || self.kept > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(length: u32) -> Vec<u8> {
        let mut message = vec![0];
        message.extend(length.to_be_bytes());
        message.resize(PREFIX + length as usize, 7);
        message
    }

    #[test]
    fn a_message_is_owed_from_its_first_byte_to_its_last_however_it_is_cut() {
        let messages: Vec<u8> = [message(3), message(0), message(70_000)].concat();
        for size in [1, 4, 5, 6, 100, 1 << 20] {
            let mut meter = Meter::new(Reading::Messages);
            assert!(!meter.is_owed());
            let mut owed = 0;
            for piece in messages.chunks(size) {
                meter.count(piece);
                owed += usize::from(meter.is_owed());
            }
            assert!(!meter.is_owed(), "{size}");
            assert!(size > messages.len() || owed > 0, "{size}");
        }
    }

    #[test]
    fn a_trickle_is_no_progress() {
        let mut meter = Meter::new(Reading::Whole);
        let progress = (0..100_000).filter(|_| meter.count(&[7])).count();
        assert_eq!((progress, meter.kept, meter.is_owed()), (100_000 / PROGRESS, 100_000, true));
    }
}
