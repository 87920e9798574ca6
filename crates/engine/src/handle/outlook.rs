//! What people look at: how a job fares, its plateaus, and its rates behind and ahead.

use std::{ops::RangeInclusive, sync::Arc};

use super::{Engine, off_thread};
use crate::{
    api::{Directive, Error, JobView, TelemetryAmount, TelemetryQuery},
    digest::{Digest, RatesFrom, is_off},
    entry::Entry,
    health::{self, FlatStretch, Health},
    recover,
    replay::Replayer,
    trail::{Past, RATES, STEPS},
};
use lrs_model::{
    name::{JobId, JobName},
    telemetry::{LEARNING_RATE, LOSS},
};
use lrs_stats::cpu::Cpu;

/// The last step of an attempt that is over is looked for from so many steps before the end of its reserved block.
const NEAR_THE_END: u64 = 2048;

/// A job at a glance.
#[derive(Clone, Debug)]
pub struct Glance {
    /// How it fares.
    pub health: Health,
    /// The losses of the last steps.
    pub losses: Vec<f64>,
}

/// What an attempt's whole history shows.
#[derive(Clone, Debug, Default)]
pub struct Outlook {
    /// The stretches in which the loss did not fall.
    pub plateaus: Vec<FlatStretch>,
    /// The stretches that ran at another rate than told.
    pub off_told: Vec<RangeInclusive<u64>>,
}

impl Engine {
    /// How a job fares, from its last steps.
    ///
    /// # Errors
    /// If the store is away.
    pub async fn glance(&self, view: &JobView) -> Result<Glance, Error> {
        let past = self.past(view).await?;
        let entry = self.0.context.directory.peek(view.row.name.as_str());
        let off_told = entry.map(|entry| off_told(&entry, &past)).unwrap_or_default();
        let recent = past.recent(off_told);
        let health = health::of(&[(view, &recent)], &Cpu).remove(0);
        Ok(Glance { health, losses: recent.losses })
    }

    /// The last steps of a job's newest attempt, from the store.
    pub(crate) async fn past(&self, view: &JobView) -> Result<Past, Error> {
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

    /// The end of the recorded steps of a job whose newest attempt is over.
    async fn recorded_end(&self, job: JobId) -> Result<u64, Error> {
        let store = &self.0.reads;
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

    /// The stretches of the history of an attempt, or of the newest, in which the loss did not fall, and those that ran
    /// at another rate than told. Each record is read once, as long as the digest of the history is kept.
    ///
    /// # Errors
    /// If there is no such job or attempt.
    pub async fn outlook(&self, name: &JobName, attempt: Option<u32>) -> Result<Outlook, Error> {
        let (view, held) = self.seen(name).await?;
        if view.attempt == 0 || view.row.telemetry_removed_time.is_some() {
            return Ok(Outlook::default());
        }
        let attempt = attempt.unwrap_or(view.attempt);
        let cell = held.as_ref().and_then(|held| held.cell_full());
        let cell = cell.filter(|cell| cell.attempt == attempt && cell.check_open().is_ok());
        let key = (view.row.id, attempt);
        let digests = &self.0.digests;
        let timeline = cell.as_ref().map(|cell| cell.timeline_full());
        let slot = if let Some(slot) = digests.get(key, timeline.as_deref()) {
            slot
        } else {
            let rates = match &timeline {
                Some(timeline) if timeline.known_from() == 0 => RatesFrom::Live,
                _ => RatesFrom::Replayed(Box::new(self.replayer(&view, attempt).await?)),
            };
            digests.begin(key, Digest::new(rates, timeline.is_none()), timeline.as_deref())
        };
        // One call reads, and calls for the same history wait for it.
        let turn = slot.turn.lock().await;
        let (next, is_whole) = {
            let digest = slot.digest();
            (digest.next(), digest.is_whole())
        };
        if !is_whole {
            let (view, mut records) = self.history(name, Some(attempt), next..u64::MAX).await?;
            // After it is known which records are complete: the timeline knows what their steps were told.
            let timeline = cell.as_ref().map(|cell| cell.timeline_full());
            while let Some(window) = records.next_window().await? {
                let (slot, timeline) = (Arc::clone(&slot), timeline.clone());
                off_thread(move || slot.digest().take(&window, timeline.as_deref())).await?;
            }
            self.check_still_whole(&view).await?;
            // If the attempt ended meanwhile, the digest is begun anew.
            slot.digest().finish();
        }
        digests.count(key, &slot);
        drop(turn);
        let (plateaus, off_told) = off_thread(move || slot.digest().shown()).await?;
        Ok(Outlook { plateaus, off_told })
    }

    /// A replay that works out the rates of an attempt's history.
    async fn replayer(&self, view: &JobView, attempt: u32) -> Result<Replayer, Error> {
        let store = &*self.0.reads;
        let attempts = store.attempts(view.row.id).await?;
        let newest = attempts.last().map_or(0, |row| row.attempt);
        if attempt > newest {
            return Err(Error::UnknownAttempt { job: view.row.name.clone(), attempt: attempt.into(), newest });
        }
        let people = recover::people(store, view.row.id).await?;
        let people = people.iter().map(|(decision, _)| decision);
        Replayer::try_new(&view.row.initial_spec, &attempts, people, attempt).map_err(Error::Invalid)
    }

    /// What a job's newest attempt is told for `steps`, which rise, as far as is known now. Gives nothing out. Empty
    /// for a job that has ended or has no attempt.
    ///
    /// # Errors
    /// If some of it has to be read and the store is away.
    pub async fn rates(&self, name: &JobName, steps: &[u64]) -> Result<Vec<Directive>, Error> {
        let entry = match self.live(name.as_str()).await {
            Ok(entry) => entry,
            Err(Error::JobEnded { .. } | Error::JobNotFound(_)) => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let Some(cell) = entry.cell_full() else { return Ok(Vec::new()) };
        self.directives(entry.id, &cell, steps.iter().copied()).await
    }
}

/// Of the newest steps with a rate that are still in memory, how many ran at another rate than told, and how many there
/// are. None if no attempt runs.
pub(crate) fn off_told(entry: &Entry, past: &Past) -> (usize, usize) {
    let Some(cell) = entry.cell_full() else { return (0, 0) };
    let timeline = cell.timeline();
    let known: Vec<_> = past.rates.iter().filter(|(step, _)| *step >= timeline.known_from()).collect();
    let off = known.iter().filter(|(step, used)| is_off(&timeline, *step, *used)).count();
    (off, known.len())
}
