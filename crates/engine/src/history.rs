//! A job's telemetry, read back: the complete records of an attempt's history, reduced over ranks.

use std::{
    collections::{BTreeMap, VecDeque},
    ops::Range,
};

use super::{
    api::{Error, TelemetryAmount, TelemetryAnswer, TelemetryQuery},
    lineage::Part,
};
use lrs_model::{
    name::JobId,
    telemetry::{Sample, reduce},
    violation::Violations,
};
use lrs_stats::extremes::Extremes;
use lrs_store as store;
use lrs_store::{Chunk, Store};

/// Steps read at once.
const WINDOW: u64 = 10_000;
/// The most values of an answer: a page ends before it has more.
const MAX_VALUES: usize = 1_000_000;

/// Records of a history, window by window.
pub struct Records<'a> {
    store: &'a dyn Store,
    job: JobId,
    parts: VecDeque<Part>,
    end: u64,
    next: u64,
}

impl<'a> Records<'a> {
    /// The records of `steps` of the history `parts`.
    #[must_use]
    pub fn new(store: &'a dyn Store, job: JobId, parts: Vec<Part>, steps: Range<u64>) -> Self {
        Self { store, job, parts: parts.into(), end: steps.end, next: steps.start }
    }

    /// The records of the next stretch of steps that has any, by rising step; `None` at the end.
    ///
    /// # Errors
    /// If the store is away, or what it has cannot be understood.
    pub async fn next_window(&mut self) -> Result<Option<Vec<Sample>>, Error> {
        while let Some(part) = self.parts.front().copied() {
            let end = part.end.min(self.end);
            let from = self.next.max(part.start);
            let found =
                if from < end { self.store.next_telemetry_step(self.job, part.attempt, from).await? } else { None };
            let Some(start) = found.filter(|start| *start < end) else {
                self.parts.pop_front();
                continue;
            };
            self.next = end.min(start.saturating_add(WINDOW));
            let steps = start..self.next;
            let mut ranks: BTreeMap<(u64, u32), Sample> = BTreeMap::new();
            let mut pages = ChunkPages::new(self.store, self.job, part.attempt, steps.clone());
            while let Some(chunks) = pages.next().await? {
                for chunk in chunks {
                    for sample in chunk.samples.into_iter().filter(|sample| steps.contains(&sample.step)) {
                        match ranks.get_mut(&(sample.step, chunk.rank)) {
                            Some(known) => known.merge(&sample),
                            None => drop(ranks.insert((sample.step, chunk.rank), sample)),
                        }
                    }
                }
            }
            let samples: Vec<Sample> = ranks.into_values().collect();
            let records = samples.chunk_by(|a, b| a.step == b.step).map(|ranks| {
                let ranks: Vec<&Sample> = ranks.iter().collect();
                reduce(ranks[0].step, &ranks)
            });
            return Ok(Some(records.collect()));
        }
        Ok(None)
    }
}

/// Chunks that are read at once.
const PAGE: u32 = 512;

/// The chunks of an attempt that have samples of some steps, a page at a time.
pub(super) struct ChunkPages<'a> {
    store: &'a dyn Store,
    job: JobId,
    attempt: u32,
    steps: Range<u64>,
    /// `None` at the end.
    next_seq: Option<u64>,
}

impl<'a> ChunkPages<'a> {
    pub(super) fn new(store: &'a dyn Store, job: JobId, attempt: u32, steps: Range<u64>) -> Self {
        Self { store, job, attempt, steps, next_seq: Some(0) }
    }

    /// The next page; `None` at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<Chunk>>, store::Error> {
        let Some(from_seq) = self.next_seq else { return Ok(None) };
        let chunks = self.store.telemetry_of_steps(self.job, self.attempt, self.steps.clone(), from_seq, PAGE).await?;
        self.next_seq = chunks.last().filter(|_| chunks.len() >= PAGE as usize).map(|last| last.seq + 1);
        Ok(Some(chunks))
    }
}

/// Answers `query` over `records`, with at most a million values.
///
/// # Errors
/// If the store is away, what it has cannot be understood, or the points of all metrics would be more than that.
pub async fn answer(mut records: Records<'_>, query: &TelemetryQuery) -> Result<TelemetryAnswer, Error> {
    let wanted = |name: &str| query.metrics.is_empty() || query.metrics.iter().any(|metric| metric == name);
    match query.amount {
        TelemetryAmount::Raw { limit } => {
            let mut answer = TelemetryAnswer::default();
            let (mut count, mut values_left) = (0, MAX_VALUES);
            while let Some(window) = records.next_window().await? {
                for record in window {
                    let taken = record.values().filter(|(name, _)| wanted(name)).count();
                    if count == limit || (count > 0 && taken > values_left) {
                        answer.next_step = Some(record.step);
                        return Ok(answer);
                    }
                    count += 1;
                    values_left = values_left.saturating_sub(taken);
                    for (name, bits) in record.values().filter(|(name, _)| wanted(name)) {
                        let (steps, values) = answer.series.entry(name.to_owned()).or_default();
                        steps.push(record.step);
                        values.push(f64::from_bits(bits));
                    }
                }
            }
            Ok(answer)
        }
        TelemetryAmount::DownSampled { max_points } => {
            let mut series: BTreeMap<String, Extremes> = BTreeMap::new();
            while let Some(window) = records.next_window().await? {
                for record in window {
                    for (name, bits) in record.values().filter(|(name, _)| wanted(name)) {
                        let value = f64::from_bits(bits);
                        // The series is almost always there, and then no owned name is needed.
                        if let Some(extremes) = series.get_mut(name) {
                            extremes.push(record.step, value);
                        } else {
                            let most = MAX_VALUES / (series.len() + 1);
                            if max_points > most {
                                let mut violations = Violations::new();
                                let allowed = format_args!("at most {most} for {} metrics", series.len() + 1);
                                violations.refuse("max_points", max_points, allowed);
                                return Err(Error::Invalid(violations));
                            }
                            let mut extremes = Extremes::new(max_points);
                            extremes.push(record.step, value);
                            series.insert(name.to_owned(), extremes);
                        }
                    }
                }
            }
            let series = series.into_iter().map(|(name, extremes)| (name, extremes.into_line()));
            Ok(TelemetryAnswer { series: series.collect(), next_step: None })
        }
    }
}
