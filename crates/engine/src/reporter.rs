//! One rank's stream of telemetry, as the engine sees it.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};
use tracing::Span;

use super::{
    api::{Directive, Error, Receipt},
    cell::{Cell, Changes},
    commit::outcome,
    directory::Held,
    history::ChunkPages,
    pages,
    shard::{Accepted, Command, Context},
    tenure::Question,
};
use lrs_control::Status;
use lrs_model::{
    name::JobName,
    telemetry::{Agreement, Report, Sample},
};
use lrs_runtime::metrics::{self, families::TELEMETRY_LAG};

/// One rank's stream of telemetry. Dropping it loses nothing that was accepted.
pub struct Reporter {
    context: Context,
    shard: mpsc::Sender<Command>,
    /// The job stays in memory as long as the stream is open.
    entry: Held,
    cell: Arc<Cell>,
    changes: Changes,
    rank: u32,
    /// Directives below this have been handed out on this stream.
    told_end: u64,
    /// The controllers' statuses that have been told on this stream.
    told: Option<Arc<Vec<Status>>>,
}

impl Reporter {
    /// A reporter for `rank` of the attempt of `cell`; directives begin where the trainer is.
    #[must_use]
    pub(super) fn new(context: Context, shard: mpsc::Sender<Command>, entry: Held, cell: Arc<Cell>, rank: u32) -> Self {
        let told_end = cell.complete_end();
        Self { context, shard, entry, changes: cell.changes(), told_end, told: None, cell, rank }
    }

    /// The attempt that is reported for.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.cell.attempt
    }

    /// The job that is reported for.
    #[must_use]
    pub fn job(&self) -> &JobName {
        &self.entry.name
    }

    /// The ranks without which no further step is complete, in words; empty if no rank is missing.
    #[must_use]
    pub fn missing_ranks(&self) -> String {
        self.cell.missing_in_words(self.context.clock.monotonic())
    }

    /// What the trainer's log should say about the controllers, if that has changed: a sentence each.
    #[must_use]
    pub fn notices(&mut self) -> Vec<String> {
        let now = self.cell.statuses();
        if self.told.as_ref().is_some_and(|told| Arc::ptr_eq(told, &now)) {
            return Vec::new();
        }
        let timeline = self.cell.timeline();
        let named = (0..).map(|place| lrs_control::name(timeline.last_spec().spec(), place));
        let sentences = named.zip(now.iter()).flat_map(|(name, status)| {
            let notice = Some(&status.notice).filter(|notice| !notice.is_empty());
            let sentences = status.missing.iter().chain(notice);
            sentences.map(|sentence| format!("{name}: {sentence}")).collect::<Vec<_>>()
        });
        let sentences = sentences.collect();
        self.told = Some(now);
        sentences
    }

    /// Hands over a report; waits while the pipeline is full.
    ///
    /// A large report is accepted in pieces, so that others need not wait for all of it. If the call is cancelled or
    /// fails half-way, the pieces accepted so far stay, without a receipt: they may be reported again like everything
    /// without a receipt.
    ///
    /// # Errors
    /// If the report is wrong, the attempt over, or the job ended.
    pub async fn report(&self, report: Report) -> Result<PendingReceipt, Error> {
        let asked = self.context.tenure.ask();
        let begun = Instant::now();
        let mut accepted = Vec::with_capacity(1);
        for piece in report.into_pieces(self.context.settings.piece_values) {
            accepted.push(self.accept(piece).await?);
        }
        Ok(PendingReceipt {
            context: self.context.clone(),
            entry: self.entry.clone(),
            cell: self.cell.clone(),
            rank: self.rank,
            asked,
            begun,
            accepted,
        })
    }

    /// Hands over a piece, as a whole or not at all. Cancel safe.
    async fn accept(&self, report: Report) -> Result<Accepted, Error> {
        self.cell.check_open()?;
        let permit = self.context.pipeline.admit(&self.entry, report.value_count()).await?;
        let place = self.shard.reserve().await.map_err(|_| self.context.why_closed())?;
        let (reply, accepted) = oneshot::channel();
        let (id, attempt, rank) = (self.entry.id, self.cell.attempt, self.rank);
        let report = Command::Report { id, attempt, rank, report, permit, reply };
        place.send(Command::For(Span::current(), Box::new(report)));
        match accepted.await.map_err(|_| self.context.why_closed())? {
            // The job ended while the report was on its way.
            Err(Error::JobNotFound(_)) => {
                Err(self.cell.check_open().err().unwrap_or_else(|| self.context.why_closed()))
            }
            accepted => accepted,
        }
    }

    /// Waits until nothing more can be reported. Cancel safe.
    pub async fn over(&mut self) -> Error {
        loop {
            if let Err(why) = self.cell.check_open() {
                return why;
            }
            self.changes.next().await;
        }
    }

    /// Directives that became final since the last call, in step order without gaps; waits until there is one. Cancel
    /// safe.
    ///
    /// # Errors
    /// When the attempt is over or the job has ended.
    pub async fn next_directives(&mut self) -> Result<Vec<Directive>, Error> {
        loop {
            self.cell.check_open()?;
            let commit_ahead = self.entry.row().spec.commit_ahead;
            // The first step that is not complete is the one about to be trained.
            let end = self.cell.complete_end().saturating_add(1).saturating_add(self.cell.ahead(commit_ahead));
            let start = self.told_end.max(self.cell.complete_end());
            if start < end {
                let given = self.cell.give_out(end);
                if given > start {
                    let timeline = self.cell.timeline();
                    // The others go with the next answer.
                    let given =
                        given.min(start.saturating_add(pages::directives(timeline.last_spec().spec().groups.len())));
                    // The trainer may have gone on meanwhile, past what is still in memory.
                    let start = start.max(timeline.known_from());
                    let directives: Vec<_> = (start..given).map(|step| timeline.directive_at(step)).collect();
                    // Last of all: the process may have stood still since the steps were given out.
                    if self.cell.is_owned() {
                        self.told_end = given;
                        if !directives.is_empty() {
                            metrics::told(true, directives.len() as u64);
                            return Ok(directives);
                        }
                    }
                    continue;
                }
                if self.cell.reserved_end() < end {
                    let (id, attempt) = (self.entry.id, self.cell.attempt);
                    self.shard
                        .send(Command::Renew { id, attempt, end })
                        .await
                        .map_err(|_| self.context.why_closed())?;
                }
            }
            self.changes.next().await;
        }
    }
}

/// A receipt to come.
pub struct PendingReceipt {
    context: Context,
    entry: Held,
    cell: Arc<Cell>,
    rank: u32,
    /// When the report came.
    asked: Question,
    /// When the report was handed over.
    begun: Instant,
    /// Of each piece.
    accepted: Vec<Accepted>,
}

impl PendingReceipt {
    /// Waits until the report is durable.
    ///
    /// # Errors
    /// If the database refused it, or the server shuts down first.
    pub async fn receipt(self) -> Result<Receipt, Error> {
        let mut receipt = Receipt::default();
        for Accepted { committed, through_step, repeated, conflicting, conflict_step, closed } in self.accepted {
            outcome(committed).await?;
            TELEMETRY_LAG.histogram([]).record(self.begun.elapsed().as_secs_f64());
            receipt.add(&Receipt { durable_through_step: through_step, repeated, conflicting, late: 0, conflict_step });
            let (Some(first), Some(last)) = (closed.first(), closed.last()) else { continue };
            let (start, end) = (first.step, last.step.saturating_add(1));
            let wanted: HashSet<u64> = closed.iter().map(|sample| sample.step).collect();
            // Only what is asked for stays in memory, however far apart the steps are.
            let mut stored = BTreeMap::new();
            let mut pages = ChunkPages::new(&*self.context.store, self.entry.id, self.cell.attempt, start..end);
            while let Some(chunks) = pages.next().await? {
                let own = chunks.into_iter().filter(|chunk| chunk.rank == self.rank).flat_map(|chunk| chunk.samples);
                for sample in own.filter(|sample| wanted.contains(&sample.step)) {
                    match stored.get_mut(&sample.step) {
                        Some(first) => Sample::merge(first, &sample),
                        None => drop(stored.insert(sample.step, sample)),
                    }
                }
            }
            let compared = compare(&closed, &stored);
            self.cell.count(compared.repeated, compared.conflicting, compared.late);
            receipt.add(&compared);
        }
        // What says nothing new is not written, so no commit has proven that what is known of it is still there.
        if !self.context.tenure.proven_since(self.asked).await {
            return Err(Error::Deposed);
        }
        Ok(receipt)
    }
}

/// Compares samples of closed steps with the stored ones.
fn compare(closed: &[Sample], stored: &BTreeMap<u64, Sample>) -> Receipt {
    let mut receipt = Receipt::default();
    for sample in closed {
        match stored.get(&sample.step).map(|known| known.agreement(sample)) {
            Some(Agreement::Repeat) => receipt.repeated += 1,
            Some(Agreement::Conflict) => {
                receipt.conflicting += 1;
                // Steps rise.
                receipt.conflict_step.get_or_insert(sample.step);
            }
            Some(Agreement::More) | None => receipt.late += 1,
        }
    }
    receipt
}
