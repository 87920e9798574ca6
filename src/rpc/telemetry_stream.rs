//! `StreamTelemetry`: reports up, acknowledgements and directives down, on one stream.
//!
//! Nothing is spawned: the answer is a stream that works when it is polled. When either side ends the stream,
//! everything is dropped. Reports that the engine has accepted by then stay accepted, but their acknowledgements are
//! lost, so the client sends them again. While the maximum number of messages waits to become durable, the server reads
//! no more, which holds the client back. An acknowledgement is sent at once, or with the next directives if the client
//! lets it wait.

use crate::rpc::status;
use std::time::Duration;

use futures::{
    FutureExt as _, Stream, StreamExt as _, TryFutureExt as _,
    future::BoxFuture,
    stream::{self, FuturesOrdered},
};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::{
    convert::{self, directive, int64},
    door::Door,
    fields::{self, checked},
    traffic::code_name,
};
use lrs_engine::{Directive, Error, Receipt, Reporter};
use lrs_model::{MAX_STEP, name::JobName, telemetry::Report, violation::Violations};
use lrs_proto::{StreamTelemetryRequest, StreamTelemetryResponse};
use lrs_runtime::{heavy::in_place, metrics};

/// Reading a message of this many steps takes more than some hundred microseconds.
const MANY_STEPS: usize = 1000;

/// The answers to a stream of reports. When the stream cannot go on, it acknowledges everything that was accepted and
/// then ends with a status.
pub(super) fn answer<S>(
    door: Door,
    requests: S,
    max_pending: usize,
) -> impl Stream<Item = Result<StreamTelemetryResponse, Status>> + Send
where
    S: Stream<Item = Result<StreamTelemetryRequest, Status>> + Send + Unpin + 'static,
{
    let session = Session { door, requests, max_pending, phase: Phase::Opening };
    stream::unfold(session, |mut session| async move {
        let item = session.next().await?;
        Some((item, session))
    })
}

struct Session<S> {
    door: Door,
    requests: S,
    max_pending: usize,
    phase: Phase,
}

enum Phase {
    /// The first message has not arrived.
    Opening,
    Open(Box<Open>),
    /// The stream has answered with its end.
    Ended,
}

/// A stream whose first message was valid.
struct Open {
    reporter: Reporter,
    speaker: Speaker,
    wants_directives: bool,
    /// Messages that are not durable yet, with the time that each acknowledgement may wait.
    pending: FuturesOrdered<BoxFuture<'static, Result<(Receipt, Duration), Error>>>,
    sums: Sums,
    /// When an acknowledgement that waits for directives is sent without them; unset while none waits.
    tell_by: Option<Instant>,
    /// How the stream ends, once it reads no more messages; sent after every pending message has been acknowledged.
    ending: Option<Result<(), Status>>,
    counted: metrics::OpenStream,
}

enum Happening {
    Durable(Result<(Receipt, Duration), Error>),
    WaitedLongEnough,
    Requested(Option<Result<StreamTelemetryRequest, Status>>),
    Directives(Result<Vec<Directive>, Error>),
    Draining,
}

impl<S> Session<S>
where
    S: Stream<Item = Result<StreamTelemetryRequest, Status>> + Send + Unpin,
{
    /// The next answer; `None` after the end.
    async fn next(&mut self) -> Option<Result<StreamTelemetryResponse, Status>> {
        if matches!(self.phase, Phase::Opening) {
            match self.open().await {
                Ok(Some(open)) => self.phase = Phase::Open(Box::new(open)),
                Ok(None) => self.phase = Phase::Ended,
                Err(status) => return Some(Err(self.end(status))),
            }
        }
        loop {
            let Phase::Open(open) = &mut self.phase else { return None };
            if open.ending.is_some() && open.pending.is_empty() && open.tell_by.is_some() {
                return Some(Ok(open.tell(&[])));
            }
            if open.pending.is_empty()
                && let Some(ending) = open.ending.take()
            {
                let Err(status) = ending else {
                    open.counted.end(code_name(tonic::Code::Ok));
                    self.phase = Phase::Ended;
                    return None;
                };
                return Some(Err(self.end(status)));
            }
            match open.happening(&mut self.requests, self.door.drain(), self.max_pending).await {
                Happening::Durable(outcome) => {
                    open.settle(outcome);
                    if open.tell_by.is_some_and(|by| by <= Instant::now()) {
                        return Some(Ok(open.tell(&[])));
                    }
                }
                Happening::WaitedLongEnough => return Some(Ok(open.tell(&[]))),
                Happening::Directives(Ok(directives)) => return Some(Ok(open.tell(&directives))),
                Happening::Directives(Err(error)) => open.ending = Some(Err(status::of(error))),
                Happening::Requested(None) => open.ending = Some(Ok(())),
                Happening::Requested(Some(Err(status))) => open.ending = Some(Err(status)),
                Happening::Requested(Some(Ok(request))) => {
                    if let Err(error) = open.report(&self.door, request).await {
                        open.ending = Some(Err(status::of(error)));
                    }
                }
                Happening::Draining => open.ending = Some(Err(status::of(Error::ShuttingDown))),
            }
        }
    }

    /// Reads the first message. `None` if the client left without sending one.
    async fn open(&mut self) -> Result<Option<Open>, Status> {
        let first = tokio::select! {
            () = self.door.drain().cancelled() => return Err(status::of(Error::ShuttingDown)),
            first = self.requests.next() => first,
        };
        let Some(first) = first.transpose()? else { return Ok(None) };
        let wants_directives = first.want_directives;
        let turn = self.door.turn_for_message(&first).await;
        let (speaker, message) = Speaker::introduce(first).map_err(status::of)?;
        drop(turn);
        let reporter =
            self.door.engine()?.reporter(&speaker.job, speaker.attempt, speaker.rank).await.map_err(status::of)?;
        let mut open = Open {
            reporter,
            speaker,
            wants_directives,
            pending: FuturesOrdered::new(),
            sums: Sums::default(),
            tell_by: None,
            ending: None,
            counted: metrics::OpenStream::new(),
        };
        open.accept(message).await.map_err(status::of)?;
        Ok(Some(open))
    }

    fn end(&mut self, status: Status) -> Status {
        let code = code_name(status.code());
        match &mut self.phase {
            Phase::Open(open) => open.counted.end(code),
            Phase::Opening | Phase::Ended => metrics::stream_ended(code),
        }
        self.phase = Phase::Ended;
        status
    }
}

impl Open {
    /// Waits for the next event. Cancel safe, because everything inside it is. Something always comes: when the stream
    /// reads no more messages, some message is pending.
    async fn happening<S>(&mut self, requests: &mut S, drain: &CancellationToken, max_pending: usize) -> Happening
    where
        S: Stream<Item = Result<StreamTelemetryRequest, Status>> + Unpin,
    {
        let is_open = self.ending.is_none();
        tokio::select! {
            // Durable messages come first, because the client may then forget them.
            biased;
            Some(outcome) = self.pending.next(), if !self.pending.is_empty() => Happening::Durable(outcome),
            directives = news(&mut self.reporter, self.wants_directives), if is_open => {
                Happening::Directives(directives)
            }
            () = sleep_until(self.tell_by.unwrap_or_else(Instant::now)), if self.tell_by.is_some() => {
                Happening::WaitedLongEnough
            }
            () = drain.cancelled(), if is_open => Happening::Draining,
            request = requests.next(), if is_open && self.pending.len() < max_pending => Happening::Requested(request),
        }
    }

    async fn report(&mut self, door: &Door, request: StreamTelemetryRequest) -> Result<(), Error> {
        let turn = door.turn_for_message(&request).await;
        let message = self.speaker.go_on(request);
        drop(turn);
        self.accept(message?).await
    }

    async fn accept(&mut self, Message { report, patience }: Message) -> Result<(), Error> {
        // Without directives, an acknowledgement has nothing to wait for.
        let patience = if self.wants_directives { patience } else { Duration::ZERO };
        let pending = self.reporter.report(report).await?;
        self.pending.push_back(pending.receipt().map_ok(move |receipt| (receipt, patience)).boxed());
        Ok(())
    }

    /// Notes the outcome of a message, and of all messages after it that have an outcome by now.
    fn settle(&mut self, outcome: Result<(Receipt, Duration), Error>) {
        let mut settled = Some(outcome);
        while let Some(outcome) = settled {
            match outcome {
                Ok((receipt, patience)) => {
                    self.sums.add(&receipt);
                    let by = Instant::now() + patience;
                    self.tell_by = Some(self.tell_by.map_or(by, |earlier| earlier.min(by)));
                }
                Err(error) => {
                    // Acknowledgements come in order, so the messages before this one are the last to be acknowledged.
                    self.pending.clear();
                    self.ending = Some(Err(status::of(error)));
                    return;
                }
            }
            settled = self.pending.next().now_or_never().flatten();
        }
    }

    /// The next answer, with all acknowledgements that wait and these directives.
    fn tell(&mut self, directives: &[Directive]) -> StreamTelemetryResponse {
        self.tell_by = None;
        let (missing_ranks, notices) = (self.reporter.missing_ranks(), self.reporter.notices());
        StreamTelemetryResponse { missing_ranks, notices, ..self.sums.tell(directives) }
    }
}

/// The next directives, if they are wanted, or why the stream is over. Cancel safe.
async fn news(reporter: &mut Reporter, wants_directives: bool) -> Result<Vec<Directive>, Error> {
    if wants_directives { reporter.next_directives().await } else { Err(reporter.over().await) }
}

/// A message of a stream after reading.
#[derive(Debug)]
struct Message {
    report: Report,
    /// How long its acknowledgement may wait to go with directives.
    patience: Duration,
}

impl Message {
    fn from_proto(message: StreamTelemetryRequest, v: &mut Violations) -> Self {
        let patience = fields::wait(v, "acknowledge_within", message.acknowledge_within.as_ref());
        let steps = message.metrics.iter().map(|series| series.step.len()).sum::<usize>() + message.step.len();
        let is_large = steps > MANY_STEPS;
        let read = |v: &mut Violations| convert::telemetry::from_proto(message, v);
        let report = if is_large { in_place(|| read(v)) } else { read(v) };
        Self { report, patience }
    }
}

/// The sender of a stream: named in the first message, and never changed.
#[derive(Debug)]
struct Speaker {
    job: JobName,
    attempt: u64,
    rank: u32,
}

impl Speaker {
    /// Reads a stream's first message.
    fn introduce(first: StreamTelemetryRequest) -> Result<(Self, Message), Error> {
        let mut v = Violations::new();
        let job = fields::job_name(&mut v, "job", &first.job);
        let attempt = convert::whole(&mut v, "attempt", first.attempt, 1, MAX_STEP);
        let rank = u32::try_from(first.rank).unwrap_or_else(|_| {
            v.refuse("rank", first.rank, "from 0 to reporting_ranks - 1");
            0
        });
        let message = Message::from_proto(first, &mut v);
        let job = checked(v, job)?;
        Ok((Self { job, attempt, rank }, message))
    }

    /// Reads a later message.
    fn go_on(&self, message: StreamTelemetryRequest) -> Result<Message, Error> {
        let mut v = Violations::new();
        if !message.job.is_empty() && message.job != self.job.as_str() {
            v.refuse("job", format_args!("{:?}", message.job), format_args!("empty, or {} as before", self.job));
        }
        if message.attempt != 0 && message.attempt != int64(self.attempt) {
            v.refuse("attempt", message.attempt, format_args!("0, or {} as before", self.attempt));
        }
        if i64::from(message.rank) != i64::from(self.rank) {
            v.refuse("rank", message.rank, format_args!("{}, as in the first message", self.rank));
        }
        let message = Message::from_proto(message, &mut v);
        v.into_result(message).map_err(Error::Invalid)
    }
}

/// Totals of a stream so far.
#[derive(Debug, Default)]
struct Sums {
    messages: u64,
    /// The receipts of all messages; a step in conflict is kept only until it is reported.
    receipt: Receipt,
}

impl Sums {
    fn add(&mut self, receipt: &Receipt) {
        self.messages += 1;
        self.receipt.add(receipt);
    }

    /// The directives of a reporter are final. A conflict is reported once.
    fn tell(&mut self, directives: &[Directive]) -> StreamTelemetryResponse {
        let told = self.receipt.clone();
        self.receipt.conflict_step = None;
        StreamTelemetryResponse {
            durable_through_step: told.durable_through_step.map(int64),
            durable_messages: int64(self.messages),
            repeated_samples: int64(told.repeated),
            conflicting_samples: int64(told.conflicting),
            late_samples: int64(told.late),
            conflict_step: told.conflict_step.map(int64),
            directives: directives.iter().map(|each| directive::to_proto(each, true)).collect(),
            missing_ranks: String::new(),
            notices: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first() -> StreamTelemetryRequest {
        StreamTelemetryRequest {
            job: "namespaces/a/jobs/b".into(),
            attempt: 2,
            rank: 1,
            step: vec![0],
            loss: vec![1.0],
            ..Default::default()
        }
    }

    fn wrong<T: std::fmt::Debug>(result: Result<T, Error>) -> Vec<String> {
        match result {
            Err(Error::Invalid(violations)) => violations.iter().map(|violation| violation.field.clone()).collect(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_first_message_says_who_speaks() {
        let (speaker, Message { report, patience }) = Speaker::introduce(first()).unwrap();
        assert_eq!((speaker.job.as_str(), speaker.attempt, speaker.rank), ("namespaces/a/jobs/b", 2, 1));
        assert_eq!((report.samples.len(), patience), (1, Duration::ZERO));
        let nobody = StreamTelemetryRequest { rank: -1, loss: vec![1.0], ..Default::default() };
        assert_eq!(wrong(Speaker::introduce(nobody)), ["job", "attempt", "rank", "loss"]);
    }

    #[test]
    fn a_later_message_may_leave_out_who_speaks_but_not_change_it() {
        let (speaker, _) = Speaker::introduce(first()).unwrap();
        assert!(speaker.go_on(first()).is_ok());
        let short = StreamTelemetryRequest { rank: 1, through_step: Some(3), ..Default::default() };
        assert_eq!(speaker.go_on(short).unwrap().report.through_step, Some(3));
        let other = StreamTelemetryRequest { job: "namespaces/a/jobs/c".into(), attempt: 3, ..Default::default() };
        assert_eq!(wrong(speaker.go_on(other)), ["job", "attempt", "rank"]);
    }

    #[test]
    fn an_acknowledgement_may_wait_for_a_minute_at_most() {
        let waiting = |seconds| {
            let acknowledge_within = Some(pbjson_types::Duration { seconds, nanos: 0 });
            Speaker::introduce(StreamTelemetryRequest { acknowledge_within, ..first() }).map(|(_, message)| message)
        };
        assert_eq!(waiting(60).unwrap().patience, Duration::from_mins(1));
        assert_eq!(wrong(waiting(61)), ["acknowledge_within"]);
        assert_eq!(wrong(waiting(-1)), ["acknowledge_within"]);
    }

    #[test]
    fn counts_are_sums_over_the_stream_and_a_conflict_is_the_lowest() {
        let mut sums = Sums::default();
        sums.add(&Receipt { durable_through_step: Some(9), repeated: 2, ..Receipt::default() });
        sums.add(&Receipt { conflicting: 1, conflict_step: Some(7), ..Receipt::default() });
        sums.add(&Receipt { conflicting: 2, conflict_step: Some(5), late: 1, ..Receipt::default() });
        let response = sums.tell(&[]);
        assert_eq!((response.durable_through_step, response.durable_messages), (Some(9), 3));
        assert_eq!((response.repeated_samples, response.conflicting_samples, response.late_samples), (2, 3, 1));
        assert_eq!(response.conflict_step, Some(5));
        assert_eq!(sums.tell(&[]).conflict_step, None, "told once");
    }
}
