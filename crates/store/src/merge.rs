//! Merges small chunks of telemetry into larger ones.

use std::collections::BTreeMap;

use sqlx::{Encode, Executor, FromRow, IntoArguments, Pool, Type, query, query_as};
use uuid::Uuid;

use super::{
    Chunk, Error,
    arrival::{self, Arrived},
    dialect::Dialect,
    failure::{Failure, bounded},
    reading::ANSWER_TIMEOUT,
    rows::capped,
    statements,
    writer::Writer,
};
use lrs_model::{name::JobId, telemetry::Sample};

/// The chunks that may be merged.
#[derive(Clone, Copy)]
pub(super) struct Part {
    pub(super) job: JobId,
    pub(super) attempt: u32,
    /// Chunks from this `seq` on are left alone.
    pub(super) below_seq: u64,
}

/// How many chunks are looked at in one query.
const PAGE: u32 = 4096;

/// See [`Store::merge_telemetry`](super::Store::merge_telemetry). Each run is merged in a transaction of its own.
pub(super) async fn merge<DB, W>(pool: &Pool<DB>, writer: &W, part: Part, target: u32) -> Result<u64, Error>
where
    DB: Dialect,
    W: Writer<DB>,
    DB::Arguments: IntoArguments<DB>,
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
    for<'c> &'c Pool<DB>: Executor<'c, Database = DB>,
    for<'q> i64: Encode<'q, DB> + Type<DB>,
    for<'q> Option<i64>: Encode<'q, DB> + Type<DB>,
    for<'q> Uuid: Encode<'q, DB> + Type<DB>,
    for<'r> ChunkSize: FromRow<'r, DB::Row>,
    for<'r> DB::StoredChunk: FromRow<'r, DB::Row>,
{
    let work = async {
        let mut plan = Plan::new(target);
        let mut after = -1;
        let mut removed = 0;
        loop {
            let page = query_as(DB::CHUNK_SIZES)
                .bind(part.job.0)
                .bind(i64::from(part.attempt))
                .bind(after)
                .bind(capped(part.below_seq))
                .bind(i64::from(PAGE))
                .fetch_all(pool);
            let sizes: Vec<ChunkSize> = bounded(ANSWER_TIMEOUT, async { Ok(page.await?) }).await?;
            let Some(last) = sizes.last() else { break };
            after = last.seq;
            for run in sizes.into_iter().filter_map(|chunk| plan.add(chunk)) {
                removed += bounded(ANSWER_TIMEOUT, merge_run(writer, part, &run)).await?;
            }
        }
        for run in plan.end() {
            removed += bounded(ANSWER_TIMEOUT, merge_run(writer, part, &run)).await?;
        }
        Ok::<_, Failure>(removed)
    };
    work.await.map_err(|failure| DB::explain(failure, "to merge telemetry", "telemetry"))
}

/// Merges one run, unless it is no longer as it was. Returns how many rows went away.
async fn merge_run<DB, W>(writer: &W, part: Part, run: &Run) -> Result<u64, Failure>
where
    DB: Dialect,
    W: Writer<DB>,
    DB::Arguments: IntoArguments<DB>,
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
    for<'q> i64: Encode<'q, DB> + Type<DB>,
    for<'q> Option<i64>: Encode<'q, DB> + Type<DB>,
    for<'q> Uuid: Encode<'q, DB> + Type<DB>,
    for<'r> DB::StoredChunk: FromRow<'r, DB::Row>,
{
    let (Some(&first), Some(&last)) = (run.seqs.first(), run.seqs.last()) else { return Ok(0) };
    let (job, attempt) = (part.job, i64::from(part.attempt));
    let mut transaction = writer.begin().await?;
    DB::lock_jobs(&mut transaction, &[job.0]).await?;
    let rows: Vec<DB::StoredChunk> = query_as(DB::LOCK_CHUNKS)
        .bind(job.0)
        .bind(attempt)
        .bind(run.rank)
        .bind(first)
        .bind(last)
        .fetch_all(&mut *transaction)
        .await?;
    // A row that was not counted leaves the sum unknown.
    let arrivals = rows.iter().map(|row| DB::head(row).arrivals).sum::<Option<i64>>();
    let epoch = rows.iter().map(|row| DB::head(row).epoch).max().unwrap_or(0);
    let chunks = rows.into_iter().map(|row| DB::chunk(job, row)).collect::<Result<Vec<_>, _>>()?;
    if !run.is_made_of(&chunks) {
        return Ok(0);
    }
    let deleted = query(statements::DELETE_CHUNKS)
        .bind(job.0)
        .bind(attempt)
        .bind(run.rank)
        .bind(first)
        .bind(last)
        .execute(&mut *transaction)
        .await?;
    if let Some(whole) = merged(chunks) {
        arrival::insert::<DB>(&mut transaction, &[Arrived { job, chunk: &whole, arrivals, epoch }]).await?;
    }
    transaction.commit().await?;
    Ok(DB::rows_affected(&deleted).saturating_sub(1))
}

/// A chunk's place and size.
#[derive(Clone, Copy, Debug, FromRow)]
pub(super) struct ChunkSize {
    pub(super) rank: i64,
    pub(super) seq: i64,
    pub(super) sample_count: i64,
}

/// Chunks of one rank, each next to the other, to be replaced by one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Run {
    /// Whose they are.
    pub(super) rank: i64,
    /// Their places, rising.
    pub(super) seqs: Vec<i64>,
}

impl Run {
    fn has_several(&self) -> bool {
        self.seqs.len() > 1
    }

    /// Whether these are the run's chunks, all of them and no others.
    pub(super) fn is_made_of(&self, chunks: &[Chunk]) -> bool {
        let seqs = chunks.iter().map(|chunk| i64::try_from(chunk.seq).ok());
        seqs.eq(self.seqs.iter().copied().map(Some))
    }
}

/// Finds the runs of neighbouring chunks of a rank that have up to `target` samples together. Chunks are added by
/// rising `seq`, so that no more of them are in memory than may still become longer runs.
struct Plan {
    target: i64,
    /// By rank, with the number of samples.
    open: BTreeMap<i64, (Run, i64)>,
}

/// The most chunks that one run has, however few samples they have.
const LONGEST_RUN: usize = 4096;

impl Plan {
    fn new(target: u32) -> Self {
        Self { target: target.into(), open: BTreeMap::new() }
    }

    /// Adds a chunk. Returns the run of its rank before it if the chunk does not fit into that.
    fn add(&mut self, chunk: ChunkSize) -> Option<Run> {
        let ChunkSize { rank, seq, sample_count } = chunk;
        let (run, samples) = self.open.entry(rank).or_insert_with(|| (Run { rank, seqs: Vec::new() }, 0));
        let fits = *samples + sample_count <= self.target && run.seqs.len() < LONGEST_RUN;
        let ended = (!fits).then(|| Run { rank, seqs: std::mem::take(&mut run.seqs) });
        *samples = if fits { *samples + sample_count } else { sample_count };
        run.seqs.push(seq);
        ended.filter(Run::has_several)
    }

    /// The last run of each rank.
    fn end(self) -> impl Iterator<Item = Run> {
        self.open.into_values().map(|(run, _)| run).filter(Run::has_several)
    }
}

/// One chunk with the samples of all: of two values for the same figure of a step, the one that came first. `None` if
/// there are no chunks.
pub(super) fn merged(chunks: Vec<Chunk>) -> Option<Chunk> {
    let last = chunks.last()?;
    let mut whole = Chunk { samples: Vec::new(), ..*last };
    let mut samples: BTreeMap<u64, Sample> = BTreeMap::new();
    for sample in chunks.into_iter().flat_map(|chunk| chunk.samples) {
        if let Some(known) = samples.get_mut(&sample.step) {
            known.merge(&sample);
        } else {
            samples.insert(sample.step, sample);
        }
    }
    whole.samples = samples.into_values().collect();
    Some(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes(chunks: &[(i64, i64)]) -> Vec<ChunkSize> {
        (0..).zip(chunks).map(|(seq, &(rank, sample_count))| ChunkSize { rank, seq, sample_count }).collect()
    }

    /// The runs of all chunks, in the order of their ranks and places.
    fn runs(chunks: &[ChunkSize], target: u32) -> Vec<Run> {
        let mut plan = Plan::new(target);
        let mut runs: Vec<_> = chunks.iter().filter_map(|chunk| plan.add(*chunk)).collect();
        runs.extend(plan.end());
        runs.sort_by_key(|run| (run.rank, run.seqs[0]));
        runs
    }

    #[test]
    fn neighbours_of_one_rank_are_packed_up_to_the_target() {
        let chunks = sizes(&[(0, 4), (1, 4), (0, 4), (0, 4), (1, 9), (0, 0), (0, 11), (0, 1)]);
        assert_eq!(runs(&chunks, 10), [Run { rank: 0, seqs: vec![0, 2] }, Run { rank: 0, seqs: vec![3, 5] }]);
    }

    #[test]
    fn nothing_is_left_to_merge_after_merging() {
        let chunks = sizes(&[(0, 5), (0, 5), (0, 10), (0, 3)]);
        assert_eq!(runs(&chunks, 10), [Run { rank: 0, seqs: vec![0, 1] }]);
        assert!(runs(&sizes(&[(0, 10), (0, 10), (0, 3)]), 10).is_empty());
    }

    #[test]
    fn chunks_without_samples_do_not_make_a_run_of_any_length() {
        let chunks = sizes(&vec![(0, 0); 3 * LONGEST_RUN]);
        let runs = runs(&chunks, 10);
        assert!(runs.len() == 3 && runs.iter().all(|run| run.seqs.len() == LONGEST_RUN));
    }
}
