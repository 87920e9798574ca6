//! Merging small chunks of telemetry: which, and what comes of them.

use std::collections::BTreeMap;

use sqlx::{Encode, Executor, FromRow, IntoArguments, Pool, Type, query, query_as};
use uuid::Uuid;

use super::{
    Chunk, Error,
    dialect::{Arrived, Dialect},
    failure::{Failure, bounded},
    reading::ANSWER_TIMEOUT,
    rows::{capped, chunk},
    statements,
};
use lrs_model::{name::JobId, telemetry::Sample};

/// See [`Store::merge_telemetry`](super::Store::merge_telemetry). Each run is merged in a transaction of its own.
pub(super) async fn merge<DB>(
    pool: &Pool<DB>,
    job: JobId,
    attempt: u32,
    below_seq: u64,
    target: u32,
) -> Result<u64, Error>
where
    DB: Dialect,
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
        let sizes: Vec<ChunkSize> = query_as(DB::CHUNK_SIZES)
            .bind(job.0)
            .bind(i64::from(attempt))
            .bind(capped(below_seq))
            .fetch_all(pool)
            .await?;
        let mut removed = 0;
        for run in plan(&sizes, target) {
            removed += bounded(ANSWER_TIMEOUT, merge_run(pool, job, attempt, &run)).await?;
        }
        Ok::<_, Failure>(removed)
    };
    work.await.map_err(|failure| failure.into_error::<DB>("to merge telemetry", "telemetry"))
}

/// Merges one run, unless it is no longer as it was. Returns how many rows went away.
async fn merge_run<DB>(pool: &Pool<DB>, job: JobId, attempt: u32, run: &Run) -> Result<u64, Failure>
where
    DB: Dialect,
    DB::Arguments: IntoArguments<DB>,
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
    for<'q> i64: Encode<'q, DB> + Type<DB>,
    for<'q> Option<i64>: Encode<'q, DB> + Type<DB>,
    for<'q> Uuid: Encode<'q, DB> + Type<DB>,
    for<'r> DB::StoredChunk: FromRow<'r, DB::Row>,
{
    let (Some(&first), Some(&last)) = (run.seqs.first(), run.seqs.last()) else { return Ok(0) };
    let attempt = i64::from(attempt);
    let mut transaction = pool.begin().await?;
    DB::lock_jobs(&mut transaction, &[job.0]).await?;
    let rows: Vec<DB::StoredChunk> = query_as(DB::LOCK_CHUNKS)
        .bind(job.0)
        .bind(attempt)
        .bind(run.rank)
        .bind(first)
        .bind(last)
        .fetch_all(&mut *transaction)
        .await?;
    // One that was not counted leaves the sum unknown.
    let arrivals = rows.iter().map(DB::arrivals).sum::<Option<i64>>();
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
        chunk::insert::<DB>(&mut transaction, &[Arrived { job, chunk: &whole, arrivals }]).await?;
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
    /// Their places, rising; at least two.
    pub(super) seqs: Vec<i64>,
}

impl Run {
    /// Whether these are the run's chunks, all of them and no others.
    pub(super) fn is_made_of(&self, chunks: &[Chunk]) -> bool {
        let seqs = chunks.iter().map(|chunk| i64::try_from(chunk.seq).ok());
        seqs.eq(self.seqs.iter().copied().map(Some))
    }
}

/// The runs of neighbouring chunks of a rank that have up to `target` samples together. `chunks` come by rising `seq`.
pub(super) fn plan(chunks: &[ChunkSize], target: u32) -> Vec<Run> {
    let mut by_rank: BTreeMap<i64, Vec<ChunkSize>> = BTreeMap::new();
    for chunk in chunks {
        by_rank.entry(chunk.rank).or_default().push(*chunk);
    }
    let mut runs = Vec::new();
    for (rank, chunks) in by_rank {
        let mut rest = chunks.as_slice();
        while !rest.is_empty() {
            let taken = fitting(rest, target.into()).max(1);
            if taken > 1 {
                runs.push(Run { rank, seqs: rest[..taken].iter().map(|chunk| chunk.seq).collect() });
            }
            rest = &rest[taken..];
        }
    }
    runs
}

/// How many of the first chunks have up to `target` samples together.
fn fitting(chunks: &[ChunkSize], target: i64) -> usize {
    let mut samples = 0;
    chunks
        .iter()
        .take_while(|chunk| {
            samples += chunk.sample_count;
            samples <= target
        })
        .count()
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

    #[test]
    fn neighbours_of_one_rank_are_packed_up_to_the_target() {
        let chunks = sizes(&[(0, 4), (1, 4), (0, 4), (0, 4), (1, 9), (0, 0), (0, 11), (0, 1)]);
        let runs = plan(&chunks, 10);
        assert_eq!(runs, [Run { rank: 0, seqs: vec![0, 2] }, Run { rank: 0, seqs: vec![3, 5] }]);
    }

    #[test]
    fn nothing_is_left_to_merge_after_merging() {
        let chunks = sizes(&[(0, 5), (0, 5), (0, 10), (0, 3)]);
        assert_eq!(plan(&chunks, 10), [Run { rank: 0, seqs: vec![0, 1] }]);
        assert!(plan(&sizes(&[(0, 10), (0, 10), (0, 3)]), 10).is_empty());
    }
}
