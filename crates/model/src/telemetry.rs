//! Telemetry: the reports of trainers.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The name of a step's training loss among the metrics.
pub const LOSS: &str = "loss";
/// The name of a step's gradient norm among the metrics.
pub const GRAD_NORM: &str = "grad_norm";
/// The name of the rate used at a step among the metrics.
pub const LEARNING_RATE: &str = "learning_rate";

/// The metric that marks a step whose update the trainer left out, as a `GradScaler` does; its value says why.
pub const SKIPPED: &str = "lrs_skipped";

/// The most characters in a metric's name.
pub const MAX_METRIC_NAME_CHARS: usize = 100;

/// Whether `name` is allowed for a metric: 1 to [`MAX_METRIC_NAME_CHARS`] characters, no spaces or control characters.
#[must_use]
pub fn is_metric_name(name: &str) -> bool {
    let is_allowed = |c: char| !c.is_whitespace() && !c.is_control();
    (1..=MAX_METRIC_NAME_CHARS).contains(&name.chars().count()) && name.chars().all(is_allowed)
}

/// The values of one step, reported by one rank or reduced over all ranks.
///
/// `None` is "not reported"; NaN and infinities are ordinary values. Every NaN has the bit pattern of [`f64::NAN`], so
/// that samples compare by bits.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Sample {
    /// The optimizer step.
    pub step: u64,
    /// Training loss.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "super::number::option")]
    pub loss: Option<f64>,
    /// Norm of the whole gradient, before clipping.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "super::number::option")]
    pub grad_norm: Option<f64>,
    /// The learning rate that the first group really used.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "super::number::option")]
    pub learning_rate: Option<f64>,
    /// Other metrics, by rising name. The values of a name that was measured more than once, such as two evaluations
    /// between two steps, follow one another in the order they were measured.
    #[serde(default, skip_serializing_if = "Vec::is_empty", with = "super::number::named")]
    pub metrics: Vec<(Arc<str>, f64)>,
}

impl PartialEq for Sample {
    /// Whether the samples are equal in every bit.
    fn eq(&self, other: &Self) -> bool {
        self.step == other.step && self.values().eq(other.values())
    }
}

/// How a new sample relates to what is already known of its step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Agreement {
    /// Nothing in it is new.
    Repeat,
    /// It adds values and contradicts none.
    More,
    /// It contradicts a known value.
    Conflict,
}

impl Sample {
    /// A sample of `step` that reports nothing yet.
    #[must_use]
    pub fn new(step: u64) -> Self {
        Self { step, ..Self::default() }
    }

    /// The value of a metric by name, including [`LOSS`], [`GRAD_NORM`] and [`LEARNING_RATE`]; the last one, if it was
    /// measured more than once.
    #[must_use]
    pub fn metric(&self, name: &str) -> Option<f64> {
        match name {
            LOSS => self.loss,
            GRAD_NORM => self.grad_norm,
            LEARNING_RATE => self.learning_rate,
            _ => self.measured(name).last().map(|(_, value)| *value),
        }
    }

    /// Whether the trainer left the update of this step out.
    #[must_use]
    pub fn is_skipped(&self) -> bool {
        self.metric(SKIPPED).is_some_and(|why| why != 0.0)
    }

    /// The values of one of [`Sample::metrics`], in the order they were measured.
    fn measured(&self, name: &str) -> &[(Arc<str>, f64)] {
        let from = self.metrics.partition_point(|(n, _)| **n < *name);
        let length = self.metrics[from..].partition_point(|(n, _)| **n == *name);
        &self.metrics[from..from + length]
    }

    /// All values of a metric by name, in the order they were measured.
    pub fn values_of(&self, name: &str) -> impl Iterator<Item = f64> {
        let single = match name {
            LOSS | GRAD_NORM | LEARNING_RATE => self.metric(name),
            _ => None,
        };
        single.into_iter().chain(self.measured(name).iter().map(|(_, value)| *value))
    }

    /// Adds a value to [`Sample::metrics`], after those of the same name.
    pub fn add_metric(&mut self, name: Arc<str>, value: f64) {
        let place = self.metrics.partition_point(|(n, _)| *n <= name);
        self.metrics.insert(place, (name, value));
    }

    /// The sample as one observation after another: the first has the first value of each metric, and each later one
    /// has the next value of those metrics alone that were measured once more.
    #[must_use]
    pub fn observations(&self) -> Vec<Self> {
        let mut observations = vec![Self { metrics: Vec::new(), ..self.clone() }];
        for values in self.metrics.chunk_by(|(a, _), (b, _)| a == b) {
            for (turn, value) in values.iter().enumerate() {
                if turn == observations.len() {
                    observations.push(Self::new(self.step));
                }
                observations[turn].metrics.push(value.clone());
            }
        }
        observations
    }

    /// Whether a metric was measured more than once.
    #[must_use]
    pub fn has_repeats(&self) -> bool {
        self.metrics.windows(2).any(|pair| pair[0].0 == pair[1].0)
    }

    /// Replaces every NaN by [`f64::NAN`], so that samples compare by bits.
    pub fn canonicalise(&mut self) {
        let fields = [&mut self.loss, &mut self.grad_norm, &mut self.learning_rate].into_iter().flatten();
        for value in fields.chain(self.metrics.iter_mut().map(|(_, v)| v)) {
            if value.is_nan() {
                *value = f64::NAN;
            }
        }
    }

    /// The number of values to hold in memory: the step, loss, norm and rate, and the metrics.
    #[must_use]
    pub fn value_count(&self) -> usize {
        4 + self.metrics.len()
    }

    /// Every value by name, with its bits.
    pub fn values(&self) -> impl Iterator<Item = (&str, u64)> {
        [(LOSS, self.loss), (GRAD_NORM, self.grad_norm), (LEARNING_RATE, self.learning_rate)]
            .into_iter()
            .filter_map(|(name, value)| value.map(|v| (name, v.to_bits())))
            .chain(self.metrics.iter().map(|(name, value)| (&**name, value.to_bits())))
    }

    /// How `other`, a sample of the same step, relates to this one.
    #[must_use]
    pub fn agreement(&self, other: &Self) -> Agreement {
        let mut agreement = Agreement::Repeat;
        let figures = |sample: &Self| [sample.loss, sample.grad_norm, sample.learning_rate];
        for (known, value) in figures(self).into_iter().zip(figures(other)) {
            match (known, value) {
                (Some(known), Some(value)) if known.to_bits() != value.to_bits() => return Agreement::Conflict,
                (None, Some(_)) => agreement = Agreement::More,
                _ => {}
            }
        }
        for values in other.metrics.chunk_by(|(a, _), (b, _)| a == b) {
            let known = self.measured(&values[0].0);
            let bits = |values: &[(Arc<str>, f64)]| values.iter().map(|(_, value)| value.to_bits()).collect::<Vec<_>>();
            if known.is_empty() {
                agreement = Agreement::More;
            } else if bits(known) != bits(values) {
                return Agreement::Conflict;
            }
        }
        agreement
    }

    /// Adds the values that only `other`, a sample of the same step, has.
    pub fn merge(&mut self, other: &Self) {
        self.loss = self.loss.or(other.loss);
        self.grad_norm = self.grad_norm.or(other.grad_norm);
        self.learning_rate = self.learning_rate.or(other.learning_rate);
        for values in other.metrics.chunk_by(|(a, _), (b, _)| a == b) {
            if self.measured(&values[0].0).is_empty() {
                for (name, value) in values {
                    self.add_metric(name.clone(), *value);
                }
            }
        }
    }
}

/// Reduces the samples of a step's ranks to the record of the step.
///
/// Each figure is the mean over the ranks that reported it, summed from the lowest rank up and divided once. The rate
/// is that of the lowest rank that reported a rate. Of a metric that was measured more than once, the first values are
/// reduced to the first, and so on. `ranks` holds samples of the same step by rising rank.
#[must_use]
pub fn reduce(step: u64, ranks: &[&Sample]) -> Sample {
    if let [only] = ranks {
        return (*only).clone();
    }
    let mean = |of: &dyn Fn(&Sample) -> Option<f64>| {
        let mut sum = None;
        let mut count = 0.0;
        for value in ranks.iter().filter_map(|sample| of(sample)) {
            sum = Some(sum.map_or(value, |s: f64| s + value));
            count += 1.0;
        }
        sum.map(|sum| sum / count)
    };
    let mut names: Vec<&Arc<str>> = ranks.iter().flat_map(|s| s.metrics.iter().map(|(name, _)| name)).collect();
    names.sort_unstable();
    names.dedup();
    let mut metrics = Vec::with_capacity(names.len());
    for name in names {
        let turns = ranks.iter().map(|sample| sample.measured(name).len()).max().unwrap_or_default();
        for turn in 0..turns {
            let value = mean(&|sample| sample.measured(name).get(turn).map(|(_, value)| *value));
            metrics.extend(value.map(|value| (name.clone(), value)));
        }
    }
    let mut record = Sample {
        step,
        loss: mean(&|s| s.loss),
        grad_norm: mean(&|s| s.grad_norm),
        learning_rate: ranks.iter().find_map(|s| s.learning_rate),
        metrics,
    };
    record.canonicalise();
    record
}

/// A checked message from one rank: its steps rise, and no step is above [`crate::MAX_STEP`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// By rising step, each step once.
    pub samples: Vec<Sample>,
    /// The rank will report no more steps at or below this one.
    pub through_step: Option<u64>,
}

impl Report {
    /// The number of values in all samples, to hold in memory.
    #[must_use]
    pub fn value_count(&self) -> usize {
        self.samples.iter().map(Sample::value_count).sum()
    }

    /// Splits the report into pieces with at most `max_values` values or a single sample, to take one after another.
    /// Each piece closes the steps that it can close.
    #[must_use]
    pub fn into_pieces(self, max_values: usize) -> Vec<Self> {
        if self.value_count() <= max_values {
            return vec![self];
        }
        let mut pieces: Vec<Self> = Vec::new();
        let mut room = 0;
        for sample in self.samples {
            let values = sample.value_count();
            if let Some(piece) = pieces.last_mut().filter(|_| values <= room) {
                piece.samples.push(sample);
            } else {
                room = max_values.max(values);
                pieces.push(Self { samples: vec![sample], through_step: None });
            }
            room -= values;
        }
        for piece in &mut pieces {
            let last = piece.samples.last().map(|sample| sample.step);
            piece.through_step = self.through_step.min(last);
        }
        if let Some(piece) = pieces.last_mut() {
            piece.through_step = self.through_step;
        }
        pieces
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(step: u64, loss: f64) -> Sample {
        Sample { loss: Some(loss), ..Sample::new(step) }
    }

    #[test]
    fn a_nan_agrees_with_a_nan_and_a_number_with_itself_only() {
        let mut nan = sample(3, f64::from_bits(0x7ff8_0000_dead_beef));
        nan.canonicalise();
        assert_eq!(nan.agreement(&sample(3, f64::NAN)), Agreement::Repeat);
        assert_eq!(nan.agreement(&sample(3, 1.0)), Agreement::Conflict);
        assert_eq!(sample(3, 0.0).agreement(&sample(3, -0.0)), Agreement::Conflict);
    }

    #[test]
    fn a_sample_may_come_in_pieces() {
        let mut known = sample(3, 1.0);
        let mut piece = Sample::new(3);
        piece.add_metric("val_loss".into(), 2.0);
        assert_eq!(known.agreement(&piece), Agreement::More);

        known.merge(&piece);

        assert_eq!(known.metric("val_loss"), Some(2.0));
        assert_eq!(known.agreement(&piece), Agreement::Repeat);
    }

    #[test]
    fn a_sample_survives_json_with_its_nan() {
        let mut known = sample(7, f64::NAN);
        known.add_metric("val_loss".into(), f64::INFINITY);
        let text = serde_json::to_string(&known).unwrap();
        assert_eq!(text, r#"{"step":7,"loss":"NaN","metrics":{"val_loss":"Infinity"}}"#);
        assert_eq!(serde_json::from_str::<Sample>(&text).unwrap(), known);
    }

    /// A sample in which `val_loss` was measured as often as there are values.
    fn measured(step: u64, values: &[f64]) -> Sample {
        let mut sample = sample(step, 1.0);
        for value in values {
            sample.add_metric("val_loss".into(), *value);
        }
        sample.add_metric("acc".into(), 0.5);
        sample
    }

    #[test]
    fn what_is_measured_twice_is_kept_twice_in_order() {
        let twice = measured(3, &[3.0, 2.0]);
        assert!(twice.has_repeats() && !measured(3, &[3.0]).has_repeats());
        assert_eq!(twice.metric("val_loss"), Some(2.0));
        let text = serde_json::to_string(&twice).unwrap();
        assert_eq!(text, r#"{"step":3,"loss":1.0,"metrics":{"acc":0.5,"val_loss":[3.0,2.0]}}"#);
        assert_eq!(serde_json::from_str::<Sample>(&text).unwrap(), twice);
        let mut known = sample(3, 1.0);
        known.merge(&twice);
        assert_eq!(known, twice);
        assert_eq!(twice.agreement(&known), Agreement::Repeat);
        for other in [&[3.0][..], &[2.0, 3.0], &[3.0, 2.0, 1.0]] {
            assert_eq!(twice.agreement(&measured(3, other)), Agreement::Conflict, "{other:?}");
        }
    }

    #[test]
    fn ranks_that_measure_twice_are_reduced_value_by_value() {
        let record = reduce(3, &[&measured(3, &[1.0, 2.0]), &measured(3, &[3.0, 6.0, 9.0])]);
        let values: Vec<f64> = record.measured("val_loss").iter().map(|(_, value)| *value).collect();
        assert_eq!(values, [2.0, 4.0, 9.0]);
    }

    #[test]
    fn each_value_is_an_observation_and_the_rest_is_in_the_first() {
        let [first, second] = &measured(3, &[3.0, 2.0]).observations()[..] else { panic!("not two") };
        assert_eq!((first.loss, first.metric("acc"), first.metric("val_loss")), (Some(1.0), Some(0.5), Some(3.0)));
        assert_eq!((second.loss, second.metric("acc"), second.metric("val_loss")), (None, None, Some(2.0)));
    }

    #[test]
    fn a_report_may_be_taken_in_pieces() {
        let samples: Vec<Sample> = (10..15).map(|step| sample(step, 1.0)).collect();
        let pieces = |through_step| {
            let pieces = Report { samples: samples.clone(), through_step }.into_pieces(8);
            let joined: Vec<Sample> = pieces.iter().flat_map(|piece| piece.samples.clone()).collect();
            assert_eq!(joined, samples);
            pieces.iter().map(|piece| (piece.samples.len(), piece.through_step)).collect::<Vec<_>>()
        };
        assert_eq!(pieces(Some(20)), [(2, Some(11)), (2, Some(13)), (1, Some(20))], "each closes what it holds");
        assert_eq!(pieces(Some(12)), [(2, Some(11)), (2, Some(12)), (1, Some(12))], "and nothing that stays open");
        assert_eq!(pieces(None), [(2, None), (2, None), (1, None)]);
        let alone = Report { samples: samples[..1].to_vec(), through_step: None };
        assert_eq!(alone.clone().into_pieces(1), [alone], "a sample is never split");
        assert_eq!(Report::default().into_pieces(8), [Report::default()], "nothing is one piece too");
    }

    #[test]
    fn a_record_is_the_mean_in_rank_order() {
        let (a, b, c) = (sample(0, 1e16), sample(0, 1.0), sample(0, -1e16));
        let record = reduce(0, &[&a, &b, &c]);
        assert_eq!(record.loss, Some(((1e16 + 1.0) - 1e16) / 3.0));
        let missing = Sample::new(0);
        assert_eq!(reduce(0, &[&missing, &b]).loss, Some(1.0));
        assert_eq!(reduce(0, &[&missing, &missing]).loss, None);
    }
}
