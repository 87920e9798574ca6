//! The figures of one job, gathered record by record.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    decisions::{DecisionLog, DecisionTally, Decisions},
    loss::{LossFigures, LossTally},
    metric::{MAX_METRICS, MetricFigures, MetricTally},
    wall::{Stretch, Wall},
};
use lrs_model::{
    controller::Mode,
    job::{Idle, JobRow, State},
    spec::Objective,
    telemetry::{GRAD_NORM, LEARNING_RATE, LOSS, Sample},
};
use lrs_stats::extremes::Extremes;

/// The label that says how many GPUs a job trains on.
pub const GPUS_LABEL: &str = "gpus";
/// The curve of mean losses.
pub const LOSS_MEAN: &str = "loss_mean";
/// The most points of the curve of mean losses.
const MEAN_POINTS: usize = 128;
/// About how many points a curve has.
const CURVE_POINTS: usize = 400;

/// The facts about a job beside its telemetry and decisions.
#[derive(Clone, Debug, PartialEq)]
pub struct JobFacts {
    /// The row as stored.
    pub row: Arc<JobRow>,
    /// How long it has been idle; a job that has ended counts as active.
    pub idle: Idle,
    /// The attempt whose history is reported; 0 if there is none.
    pub attempt: u32,
    /// The history's stretches, by rising step.
    pub stretches: Vec<Stretch>,
}

/// A series for a chart: down-sampled, its extremes kept.
#[derive(Clone, Debug, PartialEq)]
pub struct Curve {
    /// The metric.
    pub name: String,
    /// Steps, rising.
    pub steps: Vec<u64>,
    /// Values, one a step.
    pub values: Vec<f64>,
}

/// The figures of a job.
#[derive(Clone, Debug, PartialEq)]
pub struct JobFigures {
    /// The facts about the job.
    pub facts: JobFacts,
    /// How many steps have a record.
    pub records: u64,
    /// The first and the last step that have a record.
    pub steps: Option<(u64, u64)>,
    /// The figures of the objective; `None` if there is none, or its metric was never reported.
    pub objective: Option<ObjectiveFigures>,
    /// The training loss; `None` if none was reported.
    pub loss: Option<LossFigures>,
    /// The metrics by name, except for the learning rate.
    pub metrics: Vec<MetricFigures>,
    /// How many metrics were left out.
    pub metrics_left_out: u64,
    /// The decisions about its rate.
    pub decisions: Decisions,
    /// GPUs it trained on, by its label `gpus`.
    pub gpus: Option<f64>,
    /// Seconds from the start of its first attempt to its end; `None` while it has not ended.
    pub wall_seconds: Option<f64>,
    /// How many of the `wall_seconds` it was on a plateau.
    pub plateau_seconds: Option<f64>,
    /// The loss, the objective, the learning rate and, for a long run, the mean loss.
    pub curves: Vec<Curve>,
    /// What is missing from the figures and why: sentences.
    pub notes: Vec<String>,
}

/// The figures of the objective.
#[derive(Clone, Debug, PartialEq)]
pub struct ObjectiveFigures {
    /// The objective.
    pub objective: Objective,
    /// Its metric.
    pub metric: MetricFigures,
    /// How many steps had been trained when the target was first reached; `None` if it was not, or there is none.
    pub steps_to_target: Option<u64>,
    /// Seconds until the target was first reached.
    pub seconds_to_target: Option<f64>,
}

impl JobFigures {
    /// GPU hours of the job in a stretch of time.
    #[must_use]
    pub fn gpu_hours(&self, seconds: Option<f64>) -> Option<f64> {
        Some(seconds? / 3600.0 * self.gpus?)
    }

    /// Whether it has trained to its end.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        let row = &self.facts.row;
        let has_all_steps =
            self.steps.zip(row.spec.total_steps).is_some_and(|((_, last), total)| last.saturating_add(1) >= total);
        row.state == State::Completed || has_all_steps
    }
}

/// The figures so far. Memory does not grow with the number of records.
#[derive(Clone, Debug)]
pub struct JobTally {
    facts: JobFacts,
    records: u64,
    steps: Option<(u64, u64)>,
    loss: LossTally,
    decisions: DecisionTally,
    metrics: BTreeMap<Arc<str>, MetricTally>,
    left_out: std::collections::BTreeSet<Arc<str>>,
    reached: Option<u64>,
    loss_curve: Extremes,
    objective_curve: Extremes,
    rate_curve: Extremes,
}

impl JobTally {
    /// Before the first record of the history.
    #[must_use]
    pub fn new(facts: JobFacts, decisions: DecisionLog) -> Self {
        Self {
            facts,
            records: 0,
            steps: None,
            loss: LossTally::default(),
            decisions: DecisionTally::new(decisions),
            metrics: BTreeMap::new(),
            left_out: std::collections::BTreeSet::new(),
            reached: None,
            loss_curve: Extremes::new(CURVE_POINTS),
            objective_curve: Extremes::new(CURVE_POINTS),
            rate_curve: Extremes::new(CURVE_POINTS),
        }
    }

    /// Takes the record of the next step.
    pub fn take(&mut self, record: &Sample) {
        let step = record.step;
        self.records += 1;
        self.steps = Some((self.steps.map_or(step, |(first, _)| first), step));
        if let Some(loss) = record.loss {
            self.loss.push(step, loss);
            self.decisions.push(step, loss);
            self.loss_curve.push(step, loss);
            self.push_metric(&LOSS.into(), step, loss);
        }
        if let Some(norm) = record.grad_norm {
            self.push_metric(&GRAD_NORM.into(), step, norm);
        }
        if let Some(rate) = record.learning_rate {
            self.rate_curve.push(step, rate);
        }
        for (name, value) in &record.metrics {
            self.push_metric(name, step, *value);
        }
        if let Some(objective) = &self.facts.row.spec.objective
            && let Some(value) = record.metric(&objective.metric)
        {
            self.objective_curve.push(step, value);
            let is_reached = |target: f64| match objective.mode {
                Mode::Min => value <= target,
                Mode::Max => value >= target,
            };
            if self.reached.is_none() && value.is_finite() && objective.target.is_some_and(is_reached) {
                self.reached = Some(step + 1);
            }
        }
    }

    fn push_metric(&mut self, name: &Arc<str>, step: u64, value: f64) {
        if let Some(tally) = self.metrics.get_mut(name) {
            return tally.push(step, value);
        }
        let is_objectives = self.facts.row.spec.objective.as_ref().is_some_and(|objective| *objective.metric == **name);
        if self.metrics.len() < MAX_METRICS || is_objectives {
            self.metrics.entry(name.clone()).or_default().push(step, value);
        } else if self.left_out.len() < MAX_METRICS {
            self.left_out.insert(name.clone());
        }
    }

    /// The figures of the records taken.
    #[must_use]
    pub fn figures(self) -> JobFigures {
        let spec = &self.facts.row.spec;
        let metrics: Vec<MetricFigures> = self.metrics.iter().filter_map(|(name, tally)| tally.figures(name)).collect();
        let end_step = self.steps.map_or(0, |(_, last)| last + 1);
        let wall = Wall::new(&self.facts.stretches, end_step, self.facts.row.end_time);
        let objective = spec.objective.clone().and_then(|objective| {
            let metric = metrics.iter().find(|metric| metric.name == objective.metric)?.clone();
            Some(ObjectiveFigures {
                objective,
                metric,
                steps_to_target: self.reached,
                seconds_to_target: self.reached.and_then(|steps| wall.until(steps)),
            })
        });
        let loss = self.loss.figures();
        let plateau = loss.as_ref().and_then(|loss| loss.plateau.as_ref());
        let label = spec.labels.get(GPUS_LABEL);
        let gpus = label.and_then(|text| text.parse().ok()).filter(|gpus: &f64| gpus.is_finite() && *gpus > 0.0);
        let objective_name = spec.objective.as_ref().map_or(LOSS, |objective| &objective.metric);
        let mut figures = JobFigures {
            records: self.records,
            steps: self.steps,
            wall_seconds: wall.total(),
            plateau_seconds: plateau.and_then(|plateau| wall.within(&plateau.stretches)),
            curves: curves(
                self.loss.smoothed(MEAN_POINTS),
                [
                    (LOSS, self.loss_curve),
                    (if objective_name == LOSS { "" } else { objective_name }, self.objective_curve),
                    (LEARNING_RATE, self.rate_curve),
                ],
            ),
            metrics_left_out: self.left_out.len() as u64,
            decisions: self.decisions.figures(),
            notes: Vec::new(),
            objective,
            loss,
            metrics,
            gpus,
            facts: self.facts,
        };
        figures.notes = notes(&figures);
        figures
    }
}

fn curves(smoothed: Vec<(u64, f64)>, series: [(&str, Extremes); 3]) -> Vec<Curve> {
    let curve = |(name, extremes): (&str, Extremes)| {
        let (steps, values) = extremes.into_columns();
        Curve { name: name.to_owned(), steps, values }
    };
    let (steps, values) = smoothed.into_iter().unzip();
    let mean = Curve { name: LOSS_MEAN.to_owned(), steps, values };
    let curves = series.into_iter().filter(|(name, _)| !name.is_empty()).map(curve).chain([mean]);
    curves.filter(|curve| !curve.steps.is_empty()).collect()
}

/// Notes that a reader needs to understand the figures.
fn notes(figures: &JobFigures) -> Vec<String> {
    let row = &figures.facts.row;
    let spec = &row.spec;
    let mut notes = Vec::new();
    let mut note = |text: String| notes.push(text);
    if let Some(time) = row.telemetry_removed_time {
        note(format!(
            "Its telemetry is past its retention and was removed from {time} on: only its decisions are left."
        ));
    } else if figures.facts.attempt == 0 {
        note("No attempt has been started.".to_owned());
    } else if figures.records == 0 {
        note("Nothing has been reported yet.".to_owned());
    } else if !row.state.is_ended() {
        let is_idle = figures.facts.idle != Idle::Active && row.state == State::Running;
        let stale = if is_idle { " and has not been heard of for a while" } else { "" };
        note(format!("It is {}{stale}: its figures go up to its last record, and it has no wall time yet.", row.state));
    }
    if figures.records == 0 {
        return notes;
    }
    if figures.loss.is_none() {
        note("No loss was reported: there is no area, stability, plateau or slope.".to_owned());
    }
    if let (Some(objective), None) = (&spec.objective, &figures.objective) {
        note(format!("Its objective's metric {} was never reported.", objective.metric));
    }
    if spec.objective.is_none() {
        note("It has no objective: the loss stands for it, and there is no target.".to_owned());
    }
    if let Some(text) = spec.labels.get(GPUS_LABEL).filter(|_| figures.gpus.is_none()) {
        note(format!("Its label gpus is {text:?}, which is no number above 0: there are no GPU hours."));
    }
    if figures.metrics_left_out > 0 {
        let least = if figures.metrics_left_out == MAX_METRICS as u64 { "At least " } else { "" };
        note(format!(
            "{least}{} further metrics are left out: at most {MAX_METRICS} are shown.",
            figures.metrics_left_out
        ));
    }
    let hidden = figures.decisions.total() - figures.decisions.shown.len() as u64;
    if hidden > 0 {
        note(format!("{hidden} later decisions are counted and not shown one by one."));
    }
    notes
}
