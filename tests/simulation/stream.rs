//! A rank's stream of telemetry. Messages arrive in order, or from some point on not at all. A stream that its trainer
//! gave up may still deliver messages that were under way.

use std::{cell::Cell, rc::Rc, time::Duration};

use futures::{FutureExt as _, StreamExt as _, future::LocalBoxFuture, stream::FuturesOrdered};
use lrs_engine::{Error, Receipt, Reporter};
use lrs_model::telemetry::{Report, Sample};
use tokio::{sync::mpsc, task::AbortHandle};

use crate::{
    network::Failure,
    planted::Plant,
    process::Process,
    promises::Violation,
    trainer::{Group, Shared},
};

/// The most messages under way, as the server bounds them.
const MAX_PENDING: usize = 6;

/// A message on a stream.
#[derive(Clone, Debug)]
pub enum Message {
    /// A report; it may be a repeat.
    Report(Report),
    /// A durable sample, unchanged.
    Repeat(Sample),
    /// A durable sample with another loss.
    Conflict(Sample),
}

/// The trainer's end of a stream.
pub struct Stream {
    messages: mpsc::Sender<Message>,
    broken: Rc<Cell<bool>>,
    task: AbortHandle,
    /// Whether messages under way are lost when the stream is given up.
    dies: bool,
}

impl Drop for Stream {
    fn drop(&mut self) {
        if self.dies {
            self.task.abort();
        }
    }
}

impl Stream {
    /// Opens a stream. The service answers with the first step that is not durable. A trainer that did not wait for that
    /// would close steps that the service has lost.
    pub async fn open(group: &Rc<Group>, attempt: u32, rank: u32, shared: &Rc<Shared>) -> Result<(Self, u64), Failure> {
        let network = &group.network;
        network.world.pause().await;
        let (engine, process) = network.address.server(&network.seat).map_err(|_| Failure::Lost)?;
        let opening = async {
            process.thawed().await;
            let reporter = engine.reporter(&group.job, attempt.into(), rank).await?;
            let receipt = reporter.report(Report::default()).await?.receipt().await?;
            Ok::<_, Error>((reporter, receipt))
        };
        let opened = tokio::select! {
            biased;
            () = process.dead() => return Err(Failure::Lost),
            opened = opening => opened,
            () = tokio::time::sleep(Duration::from_secs(1)) => return Err(Failure::Lost),
        };
        let (reporter, receipt) = opened.map_err(|error| {
            network.address.move_on(&network.seat);
            Failure::Refused(error)
        })?;
        let (messages, queue) = mpsc::channel(64);
        let broken = Rc::new(Cell::new(false));
        let wants_directives = network.world.below(3) == 0;
        let lost_tails = network.world.history().counts.lost_tails;
        let end = End { group: group.clone(), attempt, rank, shared: shared.clone(), process, reporter, lost_tails };
        let (is_broken, dies) = (broken.clone(), network.world.below(2) == 0);
        let task = tokio::task::spawn_local(async move {
            end.run(queue, wants_directives).await;
            is_broken.set(true);
        });
        let end = receipt.durable_through_step.map_or(0, |step| step + 1);
        Ok((Self { messages, broken, task: task.abort_handle(), dies }, end))
    }

    pub fn is_broken(&self) -> bool {
        self.broken.get()
    }

    pub async fn send(&self, message: Message) {
        // A message that does not arrive is sent again on the next stream.
        let _ = self.messages.send(message).await;
    }
}

/// The server's end of a stream, and the wire.
struct End {
    group: Rc<Group>,
    attempt: u32,
    rank: u32,
    shared: Rc<Shared>,
    process: std::sync::Arc<Process>,
    reporter: Reporter,
    /// How often the data had gone back when the stream was opened.
    lost_tails: u64,
}

type Pending = FuturesOrdered<LocalBoxFuture<'static, (Message, Result<Receipt, Error>)>>;

impl End {
    async fn run(mut self, mut queue: mpsc::Receiver<Message>, wants_directives: bool) {
        let world = self.group.network.world.clone();
        let mut pending = Pending::new();
        loop {
            tokio::select! {
                biased;
                () = self.process.dead() => return,
                () = self.process.thawed() => {}
            }
            let goes_on = tokio::select! {
                biased;
                () = self.process.dead() => false,
                Some((message, receipt)) = pending.next(), if !pending.is_empty() => self.acknowledge(&message, receipt).await,
                directives = self.reporter.next_directives(), if wants_directives => match directives {
                    Ok(mut directives) => {
                        if world.plant == Some(Plant::AdviseOne) && self.rank > 0 {
                            for directive in &mut directives {
                                directive.told.stop_advice = None;
                            }
                        }
                        for directive in &directives {
                            self.group.check_lease(&self.process, directive.step);
                        }
                        self.group.note(self.attempt, &directives);
                        let directives = directives.into_iter().map(|directive| (directive.step, directive));
                        self.shared.directed.borrow_mut().extend(directives);
                        true
                    }
                    Err(error) => self.bear(error),
                },
                message = queue.recv(), if pending.len() < MAX_PENDING => match message {
                    Some(message) => {
                        world.pause().await;
                        self.deliver(message, &mut pending).await
                    }
                    None => return self.drain(pending).await,
                },
            };
            if !goes_on {
                return;
            }
            if world.chance(world.profile.slow) {
                // The reader is slow.
                tokio::time::sleep(Duration::from_millis(world.below(3000))).await;
            }
        }
    }

    /// Delivers the messages under way after the trainer has left.
    async fn drain(&self, mut pending: Pending) {
        loop {
            let goes_on = tokio::select! {
                biased;
                () = self.process.dead() => false,
                next = pending.next() => match next {
                    Some((message, receipt)) => self.acknowledge(&message, receipt).await,
                    None => false,
                },
            };
            if !goes_on {
                return;
            }
        }
    }

    async fn deliver(&self, message: Message, pending: &mut Pending) -> bool {
        let report = match &message {
            Message::Report(report) => report.clone(),
            Message::Repeat(sample) | Message::Conflict(sample) => {
                Report { samples: vec![sample.clone()], through_step: None }
            }
        };
        let accepted = tokio::select! {
            biased;
            () = self.process.dead() => return false,
            accepted = self.reporter.report(report) => accepted,
        };
        match accepted {
            Ok(receipt) => {
                pending.push_back(async move { (message, receipt.receipt().await) }.boxed_local());
                true
            }
            Err(error) => self.bear(error),
        }
    }

    /// Sends an acknowledgement. It is a promise from here on, whether it arrives or not.
    async fn acknowledge(&self, message: &Message, receipt: Result<Receipt, Error>) -> bool {
        let receipt = match receipt {
            Ok(receipt) => receipt,
            Err(error) => return self.bear(error),
        };
        let world = &self.group.network.world;
        let (job, attempt, rank) = (&self.group.job, self.attempt, self.rank);
        world.log(|| format!("{job} acknowledged {attempt} of rank {rank}: {receipt:?}"));
        if self.lost_tails != world.history().counts.lost_tails {
            // The data has gone back since, which nobody can know yet.
            if let Some(through) = receipt.durable_through_step {
                self.shared.acknowledged.set(self.shared.acknowledged.get().max(through + 1));
            }
            return true;
        }
        let found = [receipt.repeated, receipt.conflicting, receipt.late];
        let expected = match message {
            Message::Report(_) => found,
            Message::Repeat(_) => [1, 0, 0],
            Message::Conflict(_) => [0, 1, 0],
        };
        if found != expected && !world.history().is_ended(job) {
            let what = format!("{job}: {message:?} of rank {rank} in attempt {attempt} was counted as {receipt:?}");
            world.fail(Violation { promise: 2, what });
        }
        if let (Message::Conflict(sample), Some(Plant::ApplyConflict)) = (message, world.plant) {
            world.durable().overwrite(job, attempt, rank, sample);
        }
        let Some(through) = receipt.durable_through_step else { return true };
        world.check_job(job, |history, stored| history.acknowledged(job, attempt, rank, through, stored));
        world.pause().await;
        if world.chance(world.profile.lost) {
            return false;
        }
        self.shared.acknowledged.set(self.shared.acknowledged.get().max(through + 1));
        true
    }

    fn bear(&self, error: Error) -> bool {
        if self.group.bear(Failure::Refused(error)).is_err() {
            self.shared.over.set(true);
        }
        false
    }
}
