//! What a job's trainers reported, read back: the complete records of an attempt's history, reduced over ranks.

use std::collections::{BTreeMap, VecDeque};

use super::{
    api::{Error, TelemetryAmount, TelemetryAnswer, TelemetryQuery},
    recover::Part,
};
use crate::{
    model::{
        name::JobId,
        telemetry::{Sample, reduce},
    },
    store::Store,
};

/// Steps read at once.
const WINDOW: u64 = 10_000;

/// Records of a history, window by window.
pub struct Records<'a> {
    store: &'a dyn Store,
    job: JobId,
    parts: VecDeque<Part>,
    end: u64,
    next: u64,
}

impl<'a> Records<'a> {
    /// The records of steps in `start..end` of the history `parts`.
    #[must_use]
    pub fn new(store: &'a dyn Store, job: JobId, parts: Vec<Part>, start: u64, end: u64) -> Self {
        Self { store, job, parts: parts.into(), end, next: start }
    }

    /// The records of the next stretch of steps that has any, by rising step; `None` at the end.
    ///
    /// # Errors
    /// If the store is away, or what it has can not be understood.
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
            let chunks = self.store.telemetry_of_steps(self.job, part.attempt, start, self.next).await?;
            let mut ranks: BTreeMap<(u64, u32), Sample> = BTreeMap::new();
            for chunk in chunks {
                let wanted = chunk.samples.into_iter().filter(|sample| (start..self.next).contains(&sample.step));
                for sample in wanted {
                    match ranks.get_mut(&(sample.step, chunk.rank)) {
                        Some(known) => known.merge(&sample),
                        None => drop(ranks.insert((sample.step, chunk.rank), sample)),
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

/// Answers `query` over `records`.
///
/// # Errors
/// If the store is away, or what it has can not be understood.
pub async fn answer(mut records: Records<'_>, query: &TelemetryQuery) -> Result<TelemetryAnswer, Error> {
    let wanted = |name: &str| query.metrics.is_empty() || query.metrics.iter().any(|metric| metric == name);
    match query.amount {
        TelemetryAmount::Raw { limit } => {
            let mut answer = TelemetryAnswer::default();
            let mut count = 0;
            while let Some(window) = records.next_window().await? {
                for record in window {
                    if count == limit {
                        answer.next_step = Some(record.step);
                        return Ok(answer);
                    }
                    count += 1;
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
                        let extremes = series.entry(name.to_owned()).or_insert_with(|| Extremes::new(max_points));
                        extremes.push(record.step, f64::from_bits(bits));
                    }
                }
            }
            let series = series.into_iter().map(|(name, extremes)| (name, extremes.into_columns()));
            Ok(TelemetryAnswer { series: series.collect(), next_step: None })
        }
    }
}

/// Down-samples a series of unknown length in bounded memory: the smallest and the largest value of each bucket of consecutive
/// points, buckets of equal size. When there are too many buckets, neighbours are joined.
struct Extremes {
    buckets: Vec<Bucket>,
    max_buckets: usize,
    bucket_size: usize,
}

/// Consecutive points: the lowest and highest finite one, and the first that is not finite.
#[derive(Clone, Copy, Default)]
struct Bucket {
    count: usize,
    low: Option<(u64, f64)>,
    high: Option<(u64, f64)>,
    not_finite: Option<(u64, f64)>,
}

impl Bucket {
    fn push(&mut self, step: u64, value: f64) {
        self.count += 1;
        if !value.is_finite() {
            self.not_finite.get_or_insert((step, value));
            return;
        }
        if self.low.is_none_or(|(_, low)| value < low) {
            self.low = Some((step, value));
        }
        if self.high.is_none_or(|(_, high)| value > high) {
            self.high = Some((step, value));
        }
    }

    fn join(&mut self, later: &Self) {
        let count = self.count + later.count;
        for (step, value) in later.points() {
            self.push(step, value);
        }
        self.count = count;
    }

    /// By rising step, each once.
    fn points(&self) -> Vec<(u64, f64)> {
        let mut points: Vec<_> = [self.low, self.high, self.not_finite].into_iter().flatten().collect();
        points.sort_unstable_by_key(|(step, _)| *step);
        points.dedup_by_key(|(step, _)| *step);
        points
    }
}

impl Extremes {
    fn new(max_points: usize) -> Self {
        Self { buckets: Vec::new(), max_buckets: (max_points / 2).max(1), bucket_size: 1 }
    }

    fn push(&mut self, step: u64, value: f64) {
        let is_full = |bucket: &Bucket, size| bucket.count >= size;
        if self.buckets.len() == self.max_buckets * 2
            && self.buckets.last().is_some_and(|last| is_full(last, self.bucket_size))
        {
            self.halve();
        }
        if self.buckets.last().is_none_or(|last| is_full(last, self.bucket_size)) {
            self.buckets.push(Bucket::default());
        }
        if let Some(last) = self.buckets.last_mut() {
            last.push(step, value);
        }
    }

    fn halve(&mut self) {
        self.bucket_size *= 2;
        let joined = self.buckets.chunks(2).map(|pair| {
            let mut first = pair[0];
            pair[1..].iter().for_each(|later| first.join(later));
            first
        });
        self.buckets = joined.collect();
    }

    fn into_columns(mut self) -> (Vec<u64>, Vec<f64>) {
        // Single points need no halving: two of them take the place of one bucket's extremes.
        while self.bucket_size > 1 && self.buckets.len() > self.max_buckets {
            self.halve();
        }
        self.buckets.iter().flat_map(Bucket::points).unzip()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn down_sampled(values: impl IntoIterator<Item = f64>, max_points: usize) -> (Vec<u64>, Vec<f64>) {
        let mut extremes = Extremes::new(max_points);
        for (step, value) in (0..).zip(values) {
            extremes.push(step, value);
        }
        extremes.into_columns()
    }

    #[test]
    fn a_single_spike_in_a_million_points_is_kept() {
        let spike = 734_112;
        let (steps, values) = down_sampled((0..1_000_000).map(|i| if i == spike { 9.0 } else { 1.0 }), 200);

        assert!(steps.len() <= 300, "{} points", steps.len());
        assert!(steps.is_sorted());
        let place = steps.iter().position(|step| *step == u64::try_from(spike).unwrap()).expect("the spike");
        assert_eq!(values[place].to_bits(), 9.0f64.to_bits());
    }

    #[test]
    fn a_nan_is_kept_beside_the_extremes() {
        let (steps, values) = down_sampled((0..1000).map(|i| if i == 517 { f64::NAN } else { f64::from(i) }), 10);
        let place = steps.iter().position(|step| *step == 517).expect("the NaN");
        assert!(values[place].is_nan());
        assert_eq!((steps.first(), steps.last()), (Some(&0), Some(&999)));
    }

    #[test]
    fn few_points_come_back_as_they_are() {
        let (steps, values) = down_sampled([3.0, 1.0, 2.0], 100);
        assert_eq!((steps, values), (vec![0, 1, 2], vec![3.0, 1.0, 2.0]));
    }
}
