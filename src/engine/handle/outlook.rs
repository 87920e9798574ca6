//! What people look at: how a job fares, and its rates behind and ahead.

use super::Engine;
use crate::{
    engine::{
        api::{Directive, Error, JobView, TelemetryAmount, TelemetryQuery},
        health::{self, Health, Recent, Stretch},
    },
    model::name::JobName,
};

/// Steps that a job's health is read from.
const RECENT_STEPS: u64 = 1024;
/// Points that plateaus are looked for in.
const PLATEAU_POINTS: usize = 4096;
/// The newest reports that are held against what was told.
const TOLD: usize = 16;

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
        let end = view.progress.as_ref().and_then(|progress| progress.watermark_step).map(|step| step + 1);
        let mut recent = Recent::default();
        if view.attempt > 0 && view.row.telemetry_removed_time.is_none() {
            let query = TelemetryQuery {
                attempt: None,
                start_step: end.map_or(0, |end| end.saturating_sub(RECENT_STEPS)),
                end_step: end.unwrap_or(u64::MAX),
                metrics: vec!["loss".to_owned(), "learning_rate".to_owned()],
                amount: TelemetryAmount::DownSampled { max_points: 2 * 1024 },
            };
            let mut answer = self.telemetry(&view.row.name, query).await?;
            if let Some((steps, losses)) = answer.series.remove("loss") {
                (recent.steps, recent.losses) = (steps, losses);
            }
            if let Some((steps, rates)) = answer.series.remove("learning_rate") {
                let first = steps.len().saturating_sub(TOLD);
                let told = self.rates(&view.row.name, &steps[first..]);
                let off = told.iter().zip(&rates[first..]).filter(|(told, used)| differs(told, **used)).count();
                recent.off_told = (off, told.len());
            }
        }
        Ok(Glance { health: health::of(view, &recent), losses: recent.losses })
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
            let off = differs(told, *used);
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

/// Whether a rate that was used is another than the one told, beyond single precision.
fn differs(told: &Directive, used: f64) -> bool {
    told.rates.first().is_some_and(|told| (told.learning_rate - used).abs() > 1e-6 * told.learning_rate.abs())
}
