//! Notices metrics that controllers need and that never come, or have ceased to come.
//!
//! What is accused here changes no rate, so a rule of thumb is enough; but a rare evaluation must not be accused before
//! its time, or nobody believes it.

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};

use lrs_model::{
    spec::Spec,
    telemetry::{GRAD_NORM, LEARNING_RATE, LOSS, Sample},
};

/// Records without a metric that comes at each step, before it is missed; no metric is missed earlier.
const EACH_STEP: u64 = 64;
/// Records without any other metric, where neither the epoch nor the training has a known length.
const OPEN: u64 = 1000;
/// The share of a training of known length.
const TRAINING_SHARE: u64 = 10;
/// An evaluation comes with each epoch; this part of an epoch later it is missed.
const EPOCH_SLACK: u64 = 8;
/// A metric that came is missed after so many times its longest pause.
const PAUSES: u64 = 3;
/// From this likeness on (of Jaro and Winkler), one name may be another one that is written wrong.
const ALIKE: f64 = 0.85;
/// The most names that are remembered.
const MAX_NAMES: usize = 128;

/// Which metrics have come, and when.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sightings {
    records: u64,
    seen: BTreeMap<Arc<str>, Seen>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Seen {
    times: u64,
    /// The number of records up to the last one with the metric.
    at: u64,
    /// The step of that record.
    step: u64,
    /// The most records from one with the metric to the next.
    longest_pause: u64,
}

/// How a metric is missed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Absence {
    /// It has never come. Perhaps it comes under another name.
    Never(Option<Arc<str>>),
    /// It came, at this step for the last time.
    Ceased(u64),
}

impl Absence {
    /// A sentence about `metrics`. It stays the same as long as the metrics stay away.
    pub(crate) fn in_words(&self, metrics: &[&str], consequence: &str) -> String {
        let have = if metrics.len() == 1 { "has" } else { "have" };
        let metrics = metrics.join(", ");
        match self {
            Self::Never(None) => format!("{metrics} {have} not been reported yet: {consequence}"),
            Self::Never(Some(other)) => {
                format!("{metrics} {have} not been reported yet, but {other} has (is that meant?): {consequence}")
            }
            Self::Ceased(step) => format!("{metrics} {have} not been reported after step {step}: {consequence}"),
        }
    }
}

impl Sightings {
    /// Notes the record of a step.
    pub fn note(&mut self, record: &Sample) {
        self.records += 1;
        let figures = [(LOSS, record.loss), (GRAD_NORM, record.grad_norm)];
        for (name, _) in figures.into_iter().filter(|(_, value)| value.is_some()) {
            self.see(record.step, name, || Arc::from(name));
        }
        for (name, _) in &record.metrics {
            self.see(record.step, name, || name.clone());
        }
    }

    fn see(&mut self, step: u64, name: &str, owned: impl FnOnce() -> Arc<str>) {
        let (now, has_place) = (self.records, self.seen.len() < MAX_NAMES);
        match self.seen.get_mut(name) {
            // The same record has it twice.
            Some(seen) if seen.at == now => {}
            Some(seen) => {
                seen.longest_pause = seen.longest_pause.max(now - seen.at);
                (seen.times, seen.at, seen.step) = (seen.times + 1, now, step);
            }
            None if has_place => {
                self.seen.insert(owned(), Seen { times: 1, at: now, step, longest_pause: now });
            }
            None => {}
        }
    }

    /// Whether a job with this spec misses `metric` by now, which is one of those that are `watched`.
    pub(crate) fn absence(&self, metric: &str, watched: &[&str], spec: &Spec) -> Option<Absence> {
        let comes_each_step = metric == LOSS || metric == GRAD_NORM;
        let patience = if comes_each_step { EACH_STEP } else { rarely(spec) };
        match self.seen.get(metric) {
            Some(seen) => {
                let pause = self.records - seen.at;
                (pause >= patience && pause > PAUSES * seen.longest_pause).then_some(Absence::Ceased(seen.step))
            }
            // The rate that was used is no metric to watch; it is looked for in vain here.
            None if metric == LEARNING_RATE => None,
            None => {
                let other = self.another(metric, watched);
                let is_due = self.records >= if other.is_some() { EACH_STEP } else { patience };
                is_due.then_some(Absence::Never(other))
            }
        }
    }

    /// The name most like `metric` that has come twice and that nobody watches, if it is like it.
    fn another(&self, metric: &str, watched: &[&str]) -> Option<Arc<str>> {
        let others = self.seen.iter().filter(|(name, seen)| seen.times >= 2 && !watched.contains(&&***name));
        let alike = others.map(|(name, _)| (strsim::jaro_winkler(name, metric), name));
        let nearest = alike.filter(|(likeness, _)| *likeness >= ALIKE).max_by(|(a, _), (b, _)| a.total_cmp(b));
        nearest.map(|(_, name)| name.clone())
    }
}

/// After how many records a metric is missed that may come with evaluations only.
fn rarely(spec: &Spec) -> u64 {
    let records = match (spec.steps_per_epoch, spec.total_steps) {
        (Some(epoch), _) => epoch.saturating_add(epoch / EPOCH_SLACK),
        (None, Some(total)) => total / TRAINING_SHARE,
        (None, None) => OPEN,
    };
    records.max(EACH_STEP)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(step: u64, metrics: &[&str]) -> Sample {
        let mut sample = Sample { loss: Some(1.0), ..Sample::new(step) };
        for name in metrics {
            sample.add_metric((*name).into(), f64::NAN);
        }
        sample
    }

    /// The first number of records after which `metric` is missed, and how, if `metrics(step)` come.
    fn missed(spec: &Spec, metric: &str, metrics: impl Fn(u64) -> Vec<&'static str>) -> Option<(u64, Absence)> {
        let mut sightings = Sightings::default();
        (0..5000).find_map(|step| {
            sightings.note(&record(step, &metrics(step)));
            Some((step + 1, sightings.absence(metric, &[metric], spec)?))
        })
    }

    fn spec(steps_per_epoch: Option<u64>, total_steps: Option<u64>) -> Spec {
        Spec { steps_per_epoch, total_steps, ..Spec::default() }
    }

    #[test]
    fn a_metric_that_never_comes_is_missed_after_what_the_job_makes_likely() {
        for (steps_per_epoch, total_steps, metric, records) in [
            (None, None, "grad_norm", 64),
            (Some(2000), Some(9000), "grad_norm", 64),
            (None, None, "val_lost", 1000),
            (None, Some(3000), "val_lost", 300),
            (None, Some(100), "val_lost", 64),
            (Some(800), Some(3000), "val_lost", 900),
        ] {
            let found = missed(&spec(steps_per_epoch, total_steps), metric, |_| Vec::new());
            assert_eq!(found, Some((records, Absence::Never(None))), "{steps_per_epoch:?} {total_steps:?} {metric}");
        }
    }

    #[test]
    fn a_name_that_is_written_wrong_is_noticed_when_the_right_one_has_come_twice() {
        let metrics = |step: u64| if step % 100 == 99 { vec!["accuracy", "val_loss"] } else { vec!["speed"] };
        let (records, absence) = missed(&spec(None, None), "val_lost", metrics).unwrap();
        assert_eq!((records, &absence), (200, &Absence::Never(Some("val_loss".into()))));
        assert_eq!(
            absence.in_words(&["val_lost"], "nothing happens"),
            "val_lost has not been reported yet, but val_loss has (is that meant?): nothing happens"
        );
        assert_eq!(missed(&spec(None, None), "loss", metrics), None);
        // Another evaluation may be much rarer.
        assert_eq!(missed(&spec(None, None), "test_loss", metrics), Some((1000, Absence::Never(None))));
    }

    #[test]
    fn a_rare_evaluation_is_not_missed_between_two_of_its_values() {
        let each = |every: u64| move |step: u64| if step % every == every - 1 { vec!["val_loss"] } else { vec![] };
        assert_eq!(missed(&spec(Some(500), None), "val_loss", each(500)), None);
        assert_eq!(missed(&spec(None, None), "val_loss", each(900)), None);
        assert_eq!(missed(&spec(None, Some(20_000)), "val_loss", each(1000)), None);
        assert_eq!(missed(&spec(None, None), "val_loss", |_| vec!["val_loss", "val_loss"]), None);
    }

    #[test]
    fn a_metric_that_ceased_to_come_is_missed_after_three_of_its_pauses() {
        let until = |end: u64, every: u64| {
            move |step: u64| if step < end && step % every == every - 1 { vec!["val_loss"] } else { vec![] }
        };
        let found = missed(&spec(None, Some(1000)), "val_loss", until(600, 50));
        assert_eq!(found, Some((751, Absence::Ceased(599))));
        let found = missed(&spec(Some(100), None), "val_loss", until(200, 1));
        assert_eq!(found, Some((312, Absence::Ceased(199))));
    }

    #[test]
    fn what_is_remembered_is_bounded_and_survives_json() {
        let mut sightings = Sightings::default();
        for step in 0..1000 {
            let mut sample = Sample::new(step);
            sample.add_metric(format!("m{step}").into(), 1.0);
            sightings.note(&sample);
        }
        assert_eq!(sightings.seen.len(), MAX_NAMES);
        let json = serde_json::to_string(&sightings).unwrap();
        assert_eq!(serde_json::from_str::<Sightings>(&json).unwrap(), sightings);
    }
}
