//! What people look at: how a job fares, and its rates behind and ahead.

use super::Engine;
use crate::{
    engine::{
        api::{Directive, Error, JobView, TelemetryAmount, TelemetryQuery},
        entry::Entry,
        health::{self, Health, Recent, Stretch},
        trail::{Past, RATES, STEPS},
    },
    model::{
        name::{JobId, JobName},
        telemetry::{LEARNING_RATE, LOSS},
    },
};

/// Points that plateaus are looked for in.
const PLATEAU_POINTS: usize = 4096;
/// Of an attempt that is over, the last step is looked for from so far before the end of what was reserved for it.
const NEAR_THE_END: u64 = 2048;

/// A job at a glance.
#[derive(Clone, Debug)]
pub struct Glance {
    /// How it fares.
    pub health: Health,
    /// The losses of the last steps.
    pub losses: Vec<f64>,
}

impl Engine {
    /// How a job fares, from its last steps.
    ///
    /// # Errors
    /// If the store is away.
    pub async fn glance(&self, view: &JobView) -> Result<Glance, Error> {
        let past = self.past(view).await?;
        let told = self.entry(view.row.name.as_str()).map(|entry| told(&entry, &past)).unwrap_or_default();
        Ok(Glance::of(view, past, &told))
    }

    /// What was reported of the last steps of a job's newest attempt, from the store.
    pub(super) async fn past(&self, view: &JobView) -> Result<Past, Error> {
        if view.attempt == 0 || view.row.telemetry_removed_time.is_some() {
            return Ok(Past::default());
        }
        let end = match &view.progress {
            Some(progress) => progress.watermark_step.map_or(0, |step| step + 1),
            None => self.recorded_end(view.row.id).await?,
        };
        let steps = STEPS as u64;
        let query = TelemetryQuery {
            attempt: None,
            start_step: end.saturating_sub(steps),
            end_step: end,
            metrics: vec![LOSS.to_owned(), LEARNING_RATE.to_owned()],
            amount: TelemetryAmount::Raw { limit: STEPS },
        };
        let mut answer = self.telemetry(&view.row.name, query).await?;
        let mut last = |metric: &str, count: usize| {
            let (steps, values) = answer.series.remove(metric).unwrap_or_default();
            let first = steps.len().saturating_sub(count);
            steps.into_iter().zip(values).skip(first).collect()
        };
        Ok(Past { losses: last(LOSS, STEPS), rates: last(LEARNING_RATE, RATES), decision: None })
    }

    /// The end of what is on record of a job whose newest attempt is over.
    async fn recorded_end(&self, job: JobId) -> Result<u64, Error> {
        let store = &self.0.context.store;
        let attempts = store.attempts(job).await?;
        let Some(newest) = attempts.last() else { return Ok(0) };
        let next = |from: u64| store.next_telemetry_step(job, newest.attempt, from);
        let mut last = match next(newest.reserved_end.saturating_sub(NEAR_THE_END)).await? {
            Some(step) => step,
            None => match next(0).await? {
                Some(step) => step,
                // All that it has is its parent's.
                None => return Ok(newest.resume_step),
            },
        };
        let mut stride = NEAR_THE_END;
        let mut end = loop {
            let end = last.saturating_add(stride);
            match next(end).await? {
                Some(step) if step > last => (last, stride) = (step, stride.saturating_mul(2)),
                _ => break end,
            }
        };
        while end - last > 1 {
            let middle = last + (end - last) / 2;
            match next(middle).await? {
                Some(step) => last = step,
                None => end = middle,
            }
        }
        Ok(end)
    }

    /// The stretches of a job's newest attempt in which the loss did not fall.
    ///
    /// # Errors
    /// If there is no such job.
    pub async fn plateaus(&self, name: &JobName, attempt: Option<u32>) -> Result<Vec<Stretch>, Error> {
        let query = TelemetryQuery {
            attempt,
            start_step: 0,
            end_step: u64::MAX,
            metrics: vec!["loss".to_owned()],
            amount: TelemetryAmount::DownSampled { max_points: PLATEAU_POINTS },
        };
        if self.job(name).await?.attempt == 0 {
            return Ok(Vec::new());
        }
        let mut answer = self.telemetry(name, query).await?;
        let (steps, losses) = answer.series.remove("loss").unwrap_or_default();
        Ok(health::plateaus(&steps, &losses))
    }

    /// Stretches of the newest attempt that ran at another rate than told, as first and last step, as far as down-sampled telemetry shows.
    ///
    /// # Errors
    /// If there is no such job.
    pub async fn off_told(&self, name: &JobName) -> Result<Vec<(u64, u64)>, Error> {
        if self.job(name).await?.attempt == 0 {
            return Ok(Vec::new());
        }
        let query = TelemetryQuery {
            attempt: None,
            start_step: 0,
            end_step: u64::MAX,
            metrics: vec!["learning_rate".to_owned()],
            amount: TelemetryAmount::DownSampled { max_points: PLATEAU_POINTS },
        };
        let (steps, used) = self.telemetry(name, query).await?.series.remove("learning_rate").unwrap_or_default();
        let told = self.rates(name, &steps);
        let mut stretches: Vec<(u64, u64)> = Vec::new();
        let mut goes_on = false;
        for ((step, told), used) in steps.iter().zip(&told).zip(&used) {
            let off = told.rates.first().is_some_and(|told| differs(told.learning_rate, *used));
            match stretches.last_mut() {
                Some(stretch) if off && goes_on => stretch.1 = *step,
                _ if off => stretches.push((*step, *step)),
                _ => {}
            }
            goes_on = off;
        }
        Ok(stretches)
    }

    /// What a job's newest attempt is told for these steps, as far as is known now. Gives nothing out. Empty for a job that has ended or
    /// has no attempt.
    #[must_use]
    pub fn rates(&self, name: &JobName, steps: &[u64]) -> Vec<Directive> {
        let Some(cell) = self.entry(name.as_str()).and_then(|entry| entry.cell_full()) else { return Vec::new() };
        let timeline = cell.timeline();
        steps.iter().map(|step| timeline.directive_at(*step)).collect()
    }
}

impl Glance {
    /// Of a job with these last steps, where it was `told` these rates.
    pub(super) fn of(view: &JobView, past: Past, told: &[f64]) -> Self {
        let off = told.iter().zip(&past.rates).filter(|(told, (_, used))| differs(**told, *used)).count();
        let (steps, losses) = past.losses.into_iter().unzip();
        let recent = Recent { steps, losses, off_told: (off, told.len()) };
        Self { health: health::of(view, &recent), losses: recent.losses }
    }
}

/// What the first group was told for the steps of which the rate is known. Empty if no attempt runs.
pub(super) fn told(entry: &Entry, past: &Past) -> Vec<f64> {
    let Some(cell) = entry.cell_full() else { return Vec::new() };
    let timeline = cell.timeline();
    let rate = |step: u64| timeline.directive_at(step).rates.first().map_or(0.0, |rate| rate.learning_rate);
    past.rates.iter().map(|(step, _)| rate(*step)).collect()
}

/// Whether a rate that was used is another than the one told, beyond single precision.
fn differs(told: f64, used: f64) -> bool {
    (told - used).abs() > 1e-6 * told.abs()
}
