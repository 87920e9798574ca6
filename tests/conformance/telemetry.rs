//! Telemetry: bits, ranges, merging.

use std::{collections::BTreeMap, sync::Arc};

use lrs_model::{MAX_STEP, telemetry::Sample};
use lrs_store::{Chunk, Store, Write};

use super::{
    builders::{Random, append, chunk, done, sample, started_job},
    database::TestDatabase,
};

const VALUES: [f64; 9] =
    [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0, 0.0, 5e-324, -2.2e-310, f64::MAX, 0.1 + 0.2];

pub async fn every_sample_survives_with_every_bit(database: &TestDatabase) {
    let store = database.open().await;
    let job = started_job(&*store, "x").await;
    let mut samples = Vec::new();
    for (step, value) in (0..).zip(VALUES) {
        let mut all =
            Sample { loss: Some(value), grad_norm: Some(value), learning_rate: Some(value), ..Sample::new(step) };
        all.add_metric("größe/🦀".into(), value);
        all.add_metric("a \"b\"".into(), value);
        samples.push(all);
    }
    samples.push(Sample::new(100));
    samples.push(Sample { grad_norm: Some(f64::NAN), ..Sample::new(101) });
    samples.push(sample(MAX_STEP));
    let chunks = [
        Chunk { attempt: 1, rank: u32::MAX, seq: 0, through_step: Some(MAX_STEP), samples },
        Chunk { attempt: 1, rank: 0, seq: 1, through_step: None, samples: vec![Sample::new(0)] },
        Chunk { attempt: 1, rank: 0, seq: i64::MAX.cast_unsigned(), through_step: Some(0), samples: Vec::new() },
    ];

    done(&*store, &chunks.each_ref().map(|chunk| append(&job, chunk))).await;

    assert_eq!(store.telemetry(job.id, 1, 0, 10).await.unwrap(), chunks);
    let nan = store.telemetry(job.id, 1, 0, 1).await.unwrap()[0].samples[0].loss.unwrap();
    assert_eq!(nan.to_bits(), f64::NAN.to_bits());
}

pub async fn ten_thousand_samples_with_sixty_four_metrics_survive(database: &TestDatabase) {
    let store = database.open().await;
    let job = started_job(&*store, "x").await;
    let mut random = Random::new();
    let names: Vec<Arc<str>> = (0..64).map(|number| format!("metric_{number:02}").into()).collect();
    // Each column there or not: 8 chunks.
    for (seq, columns) in (0..8).enumerate() {
        let mut samples = Vec::new();
        for step in 0..10_000 {
            let mut sample = Sample::new(step * 3);
            let mut figure = |bit| (columns & bit != 0 && random.below(4) > 0).then(|| *random.one_of(&VALUES));
            (sample.loss, sample.grad_norm, sample.learning_rate) = (figure(1), figure(2), figure(4));
            for (number, name) in names.iter().enumerate() {
                if seq == 7 && random.below(number as u64 + 1) == 0 {
                    sample.add_metric(name.clone(), *random.one_of(&VALUES));
                }
            }
            samples.push(sample);
        }
        let chunk = Chunk { attempt: 1, rank: 0, seq: seq as u64, through_step: None, samples };

        done(&*store, &[append(&job, &chunk)]).await;

        let read = store.telemetry(job.id, 1, chunk.seq, 1).await.unwrap();
        assert!(read == [chunk], "columns {columns:#b}");
    }
}

pub async fn chunks_come_in_the_order_of_arrival(database: &TestDatabase) {
    let store = database.open().await;
    let job = started_job(&*store, "x").await;
    let mut of_second_attempt = chunk(1, 0, 0..2);
    of_second_attempt.attempt = 2;
    let chunks = [chunk(5, 0, 0..2), chunk(2, 1, 0..2), chunk(9, 0, 2..4)];
    done(&*store, &chunks.iter().chain([&of_second_attempt]).map(|c| append(&job, c)).collect::<Vec<_>>()).await;

    let seqs = async |from, limit| {
        let chunks = store.telemetry(job.id, 1, from, limit).await.unwrap();
        chunks.iter().map(|chunk| chunk.seq).collect::<Vec<_>>()
    };
    assert_eq!(seqs(0, 10).await, [2, 5, 9]);
    assert_eq!(seqs(0, 2).await, [2, 5]);
    assert_eq!(seqs(3, 2).await, [5, 9]);
    assert!(seqs(10, 2).await.is_empty());
    assert!(seqs(u64::MAX, 2).await.is_empty());
    assert_eq!(store.telemetry(job.id, 2, 0, 10).await.unwrap(), [of_second_attempt]);
}

/// Of two ranks, with gaps between 20 and 30 and within the last chunk.
async fn chunks_with_gaps(store: &dyn Store) -> (lrs_model::name::JobId, Vec<Chunk>) {
    let job = started_job(store, "x").await;
    let empty = Chunk { attempt: 1, rank: 0, seq: 2, through_step: Some(19), samples: Vec::new() };
    let chunks =
        vec![chunk(0, 0, 0..10), chunk(1, 1, 5..15), empty, chunk(3, 0, 10..20), chunk(4, 0, (30..60).step_by(10))];
    done(store, &chunks.iter().map(|chunk| append(&job, chunk)).collect::<Vec<_>>()).await;
    (job.id, chunks)
}

pub async fn ranges_of_steps_find_the_chunks_that_have_them(database: &TestDatabase) {
    let store = database.open().await;
    let (job, chunks) = chunks_with_gaps(&*store).await;
    for start in 0..62 {
        for end in [start, start + 1, start + 3, start + 15, u64::MAX] {
            let expected: Vec<_> = chunks
                .iter()
                .filter(|chunk| chunk.samples.iter().any(|sample| (start..end).contains(&sample.step)))
                .cloned()
                .collect();
            let found = store.telemetry_of_steps(job, 1, start..end, 0, 10).await.unwrap();
            assert_eq!(found, expected, "{start}..{end}");
            let mut paged = Vec::new();
            loop {
                let from_seq = paged.last().map_or(0, |chunk: &Chunk| chunk.seq + 1);
                let page = store.telemetry_of_steps(job, 1, start..end, from_seq, 2).await.unwrap();
                let is_last = page.len() < 2;
                paged.extend(page);
                if is_last {
                    break;
                }
            }
            assert_eq!(paged, expected, "{start}..{end} in pages");
        }
    }
    assert!(store.telemetry_of_steps(job, 2, 0..u64::MAX, 0, 10).await.unwrap().is_empty());
}

pub async fn the_next_step_is_the_next_that_can_be_read(database: &TestDatabase) {
    let store = database.open().await;
    let (job, _) = chunks_with_gaps(&*store).await;
    let expected =
        [(0, Some(0)), (7, Some(7)), (19, Some(19)), (20, Some(30)), (31, Some(31)), (50, Some(50)), (51, None)];
    for (from, next) in expected {
        assert_eq!(store.next_telemetry_step(job, 1, from).await.unwrap(), next, "from {from}");
    }
    assert_eq!(store.next_telemetry_step(job, 1, u64::MAX).await.unwrap(), None);
    assert_eq!(store.next_telemetry_step(job, 2, 0).await.unwrap(), None);
}

/// What a reader makes of the chunks of each rank: the first value of each figure, and the last that was said of steps.
fn contents(chunks: &[Chunk]) -> BTreeMap<u32, (BTreeMap<u64, Sample>, Option<u64>)> {
    let mut contents: BTreeMap<u32, (BTreeMap<u64, Sample>, Option<u64>)> = BTreeMap::new();
    for chunk in chunks {
        let (samples, through_step) = contents.entry(chunk.rank).or_default();
        *through_step = chunk.through_step;
        for sample in &chunk.samples {
            samples.entry(sample.step).or_insert_with(|| Sample::new(sample.step)).merge(sample);
        }
    }
    contents
}

pub async fn merging_keeps_every_value(database: &TestDatabase) {
    let store = database.open().await;
    let job = started_job(&*store, "x").await;
    let mut random = Random::new();
    let mut chunks = Vec::new();
    for seq in 0..200 {
        let mut steps: Vec<_> = (0..random.below(6)).map(|_| random.below(300)).collect();
        steps.sort_unstable();
        steps.dedup();
        let rank = u32::try_from(random.below(3)).unwrap();
        let mut chunk = chunk(seq, rank, []);
        chunk.through_step = Some(seq);
        for step in steps {
            let mut sample = Sample::new(step);
            if random.below(2) == 0 {
                sample.loss = Some(*random.one_of(&VALUES));
            }
            sample.add_metric((*random.one_of(&["a", "b"])).into(), *random.one_of(&VALUES));
            chunk.samples.push(sample);
        }
        chunks.push(chunk);
    }
    done(&*store, &chunks.iter().map(|chunk| append(&job, chunk)).collect::<Vec<_>>()).await;

    let removed = store.merge_telemetry(job.id, 1, 1000, 50).await.unwrap();

    let merged = store.telemetry(job.id, 1, 0, 1000).await.unwrap();
    assert_eq!(merged.len() as u64 + removed, 200);
    assert!(removed > 150, "{removed}");
    assert!(merged.iter().all(|chunk| chunk.samples.len() <= 50));
    assert_eq!(contents(&merged), contents(&chunks));
    assert_eq!(store.merge_telemetry(job.id, 1, 1000, 50).await.unwrap_or(u64::MAX), repacked(&merged, 50));
    done(&*store, &[append(&job, &chunk(1000, 0, [301]))]).await;
}

/// How many rows a further merge removes: where samples of one step met, chunks came out smaller than was reckoned.
fn repacked(chunks: &[Chunk], target: usize) -> u64 {
    let mut removed = 0;
    for rank in 0..3 {
        let mut size = None;
        for chunk in chunks.iter().filter(|chunk| chunk.rank == rank) {
            let fits = size.is_some_and(|size| size + chunk.samples.len() <= target);
            removed += u64::from(fits);
            size = Some(chunk.samples.len() + if fits { size.unwrap_or(0) } else { 0 });
        }
    }
    removed
}

pub async fn merging_leaves_ranks_and_newer_chunks_apart(database: &TestDatabase) {
    let store = database.open().await;
    let job = started_job(&*store, "x").await;
    let mut silent = chunk(3, 0, 8..12);
    silent.through_step = None;
    let chunks = [
        chunk(0, 0, 0..4),
        chunk(1, 1, 0..4),
        chunk(2, 0, 4..8),
        silent,
        chunk(4, 0, 12..32),
        chunk(5, 0, 32..34),
        chunk(6, 0, 34..36),
    ];
    done(&*store, &chunks.each_ref().map(|chunk| append(&job, chunk))).await;

    assert_eq!(store.merge_telemetry(job.id, 1, 6, 12).await.unwrap(), 2);

    let whole = Chunk { seq: 3, through_step: None, ..chunk(0, 0, 0..12) };
    let [_, other_rank, _, _, large, small, newer] = chunks;
    assert_eq!(store.telemetry(job.id, 1, 0, 100).await.unwrap(), [other_rank, whole, large, small, newer]);
    assert_eq!(store.merge_telemetry(job.id, 2, 100, 12).await.unwrap(), 0);
    assert_eq!(store.next_telemetry_step(job.id, 1, 9).await.unwrap(), Some(9));
}

pub async fn merging_beside_appends_loses_nothing(database: &TestDatabase) {
    let store = database.open().await;
    let job = started_job(&*store, "x").await;
    let appending = async {
        for seq in 0..60 {
            done(&*store, &[append(&job, &chunk(seq, 0, [seq]))]).await;
        }
    };
    let merging = || async {
        for _ in 0..15 {
            store.merge_telemetry(job.id, 1, 1000, 16).await.unwrap();
        }
    };
    tokio::join!(appending, merging(), merging());

    let chunks = store.telemetry(job.id, 1, 0, 1000).await.unwrap();
    let steps: Vec<_> = chunks.iter().flat_map(|chunk| &chunk.samples).map(|sample| sample.step).collect();
    assert_eq!(steps, (0..60).collect::<Vec<_>>());
}

pub async fn many_chunks_go_in_together(database: &TestDatabase) {
    let store = database.open().await;
    let jobs = [started_job(&*store, "a").await, started_job(&*store, "b").await];
    // Not a round number, so that every way of grouping rows is taken.
    let writes: Vec<Write> =
        (0..333).flat_map(|seq| jobs.each_ref().map(|job| append(job, &chunk(seq, 0, [seq])))).collect();

    done(&*store, &writes).await;
    done(&*store, &writes).await;

    for job in jobs {
        let expected: Vec<_> = (0..333).map(|seq| chunk(seq, 0, [seq])).collect();
        assert_eq!(store.telemetry(job.id, 1, 0, 1000).await.unwrap(), expected);
    }
}
