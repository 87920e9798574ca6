//! A job as it is stored, so that a start need not read all of its telemetry.

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};

use super::Job;
use crate::{steering::Steering, timeline::Timeline};
use lrs_control as control;
use lrs_control::{Controller, Sightings};
use lrs_model::telemetry::Sample;

/// The form that this release writes and reads.
const SAVED_FORMAT: u32 = 3;

/// All of a [`Job`] that does not follow from people's decisions, as it is stored.
#[derive(Debug, Serialize, Deserialize)]
pub struct Saved {
    format: u32,
    controllers: Vec<control::State>,
    controllers_at: u64,
    through_ends: Vec<u64>,
    open: Vec<(u32, Sample)>,
    complete_end: u64,
    latest: Option<Sample>,
    sightings: Sightings,
    steering: Arc<Steering>,
}

impl Job {
    /// The job to be stored, but not while it holds steps back. `None` before the trainer's first record, when there is
    /// little to store.
    #[must_use]
    pub fn saved(&self) -> Option<Saved> {
        if self.arrival.is_some() {
            return None;
        }
        let open = self.open.values().flatten().cloned();
        Some(Saved {
            format: SAVED_FORMAT,
            controllers: self.controllers.clone(),
            controllers_at: self.controllers_at,
            through_ends: self.through_ends.clone(),
            open: open.collect(),
            complete_end: self.complete_end,
            latest: self.latest.clone(),
            sightings: self.sightings.clone(),
            steering: self.timeline.steering().clone(),
        })
    }

    /// The job as it was when it was saved, under the same people's decisions and with the attempt's own number of
    /// reporting ranks, if it has one. `None` if `saved` has another format or does not fit the spec: then the telemetry
    /// has to be read again.
    #[must_use]
    pub fn from_saved(timeline: &Timeline, attempt: u32, ranks: Option<u32>, saved: Saved) -> Option<Self> {
        let spec = timeline.spec_at(0).spec();
        let fits = saved.format == SAVED_FORMAT
            && saved.through_ends.len() == ranks.unwrap_or(spec.reporting_ranks) as usize
            && saved.steering.known_from() <= saved.complete_end
            && is_of(timeline.spec_at(saved.controllers_at).controllers(), &saved.controllers);
        if !fits {
            return None;
        }
        let mut standing = BTreeMap::new();
        for &end in &saved.through_ends {
            *standing.entry(end).or_default() += 1;
        }
        let mut open: BTreeMap<u64, Vec<(u32, Sample)>> = BTreeMap::new();
        for (rank, sample) in saved.open {
            open.entry(sample.step).or_default().push((rank, sample));
        }
        Some(Self {
            attempt,
            coming: Vec::new(),
            decision_lag: spec.decision_lag,
            controllers: saved.controllers,
            controllers_at: saved.controllers_at,
            through_ends: saved.through_ends,
            standing,
            open,
            complete_end: saved.complete_end,
            held_at: None,
            latest: saved.latest,
            sightings: saved.sightings,
            arrival: None,
            timeline: timeline.with_steering(saved.steering),
        })
    }
}

/// Whether these are the states of the controllers, one each.
fn is_of(controllers: &[Controller], states: &[control::State]) -> bool {
    controllers.len() == states.len() && controllers.iter().zip(states).all(|(one, state)| one.owns(state))
}
