//! Down-sampling for charts that keeps the extremes of a series.

/// Down-samples a series of unknown length in bounded memory: keeps the smallest and the largest value of each bucket
/// of consecutive points. All buckets have the same size; when there are too many, neighbours are merged.
#[derive(Clone, Debug)]
pub struct Extremes {
    buckets: Vec<Bucket>,
    max_buckets: usize,
    bucket_size: usize,
    /// The first and the last point.
    ends: Option<[(u64, f64); 2]>,
}

/// Consecutive points: the lowest and the highest finite point, and the first point that is not finite.
#[derive(Clone, Copy, Debug, Default)]
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

    /// The points in step order, without repeats.
    fn points(&self) -> Vec<(u64, f64)> {
        let mut points: Vec<_> = [self.low, self.high, self.not_finite].into_iter().flatten().collect();
        points.sort_by_key(|(step, _)| *step);
        points.dedup_by_key(|(step, value)| (*step, value.to_bits()));
        points
    }
}

impl Extremes {
    /// A down-sampled series of about `max_points` points.
    #[must_use]
    pub fn new(max_points: usize) -> Self {
        Self { buckets: Vec::new(), max_buckets: (max_points / 2).max(1), bucket_size: 1, ends: None }
    }

    /// Takes the next point; steps must not fall.
    pub fn push(&mut self, step: u64, value: f64) {
        let first = self.ends.map_or((step, value), |[first, _]| first);
        self.ends = Some([first, (step, value)]);
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

    /// Steps and values as in [`Extremes::into_columns`], with the first and the last point added.
    #[must_use]
    pub fn into_line(self) -> (Vec<u64>, Vec<f64>) {
        let ends = self.ends;
        let (mut steps, mut values) = self.into_columns();
        if let Some([first, last]) = ends {
            if steps.first() != Some(&first.0) {
                steps.insert(0, first.0);
                values.insert(0, first.1);
            }
            if steps.last() != Some(&last.0) {
                steps.push(last.0);
                values.push(last.1);
            }
        }
        (steps, values)
    }

    /// The memory in use, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        size_of::<Self>() + self.buckets.capacity() * size_of::<Bucket>()
    }

    /// The steps and the values of the kept points.
    #[must_use]
    pub fn into_columns(mut self) -> (Vec<u64>, Vec<f64>) {
        // Buckets of one point need no merging: two points take the space of the extremes of one bucket.
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
    fn a_line_begins_with_the_first_point_and_ends_with_the_last() {
        let mut extremes = Extremes::new(4);
        (0..100_u32).for_each(|step| extremes.push(step.into(), f64::from((step * 37) % 100)));
        let (steps, values) = extremes.into_line();
        assert_eq!((steps[0], steps[steps.len() - 1]), (0, 99));
        assert_eq!((values[0], values[values.len() - 1]), (0.0, 63.0));
        assert!(steps.is_sorted() && steps.len() <= 8, "{steps:?}");
        assert_eq!(Extremes::new(4).into_line(), (vec![], vec![]));
    }

    #[test]
    fn few_points_come_back_as_they_are() {
        let (steps, values) = down_sampled([3.0, 1.0, 2.0], 100);
        assert_eq!((steps, values), (vec![0, 1, 2], vec![3.0, 1.0, 2.0]));
    }
}
