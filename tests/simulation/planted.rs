//! Bugs on purpose, around the engine and never in it: each breaks a promise that the checker must then name.

use std::{sync::Arc, time::Duration};

use lrs_model::{job::AttemptRow, spec::Spec};
use lrs_store::{Outcome, Write};

use crate::store::{SimStore, apply};
use crate::{
    durable::Durable,
    world::{World, lock},
};

/// A bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plant {
    /// The store says that a commit is made before it is.
    AcknowledgeEarly,
    /// The store forgets how far steps are reserved.
    ForgetReserve,
    /// Of a sample that comes again with other values, the last counts.
    ApplyConflict,
    /// Decisions know one more step of telemetry than the lag allows.
    ShorterLag,
    /// A crash takes the last commit with it, as a disk does that does not flush.
    LoseLastCommit,
    /// A rate that is not final is handed out as final.
    ProvisionalAsFinal,
    /// What a trainer is to do with copies is left out of what is answered, and not out of what is streamed.
    ForgetActions,
    /// A trainer that has lost its copies is not noticed.
    SilentRestart,
    /// A person's advice to stop is shown to trainers before it is stored.
    AdviseEarly,
    /// A person's advice to stop is shown to the first rank alone.
    AdviseOne,
    /// Telemetry is removed before its time.
    RemoveEarly,
    /// Telemetry is removed, and its job does not say so.
    RemoveUnmarked,
}

impl Plant {
    /// What the store makes of a batch.
    pub fn changed(self, batch: &[Write]) -> Vec<Write> {
        let mut batch = batch.to_vec();
        if self == Self::ForgetReserve {
            for write in &mut batch {
                match write {
                    Write::Reserve { reserved_end, .. } => *reserved_end = 0,
                    Write::StartAttempt(_, AttemptRow { reserved_end, resume_step, .. }) => {
                        *reserved_end = *resume_step;
                    }
                    _ => {}
                }
            }
        }
        batch
    }

    /// What the server is told of a spec.
    pub fn told(plant: Option<Self>, spec: &Spec) -> Spec {
        let mut spec = spec.clone();
        if plant == Some(Self::ShorterLag) {
            spec.decision_lag = (spec.decision_lag - 1).max(1);
        }
        spec
    }

    /// Says that it is done, and does it a little later, in order.
    pub fn acknowledge_early(store: &SimStore, batch: &[Write]) -> Vec<Outcome> {
        let (world, process, batch) = (store.world.clone(), store.process.clone(), batch.to_vec());
        let outcomes = batch.iter().map(|_| Outcome::Done).collect();
        drop(tokio::spawn(async move {
            let _turn = process.turns.lock().await;
            tokio::time::sleep(Duration::from_millis(5)).await;
            if process.is_alive() {
                let _ = apply(&world, &batch);
            }
        }));
        outcomes
    }
}

/// What was durable before the last commit.
#[derive(Default)]
pub struct Unflushed(std::sync::Mutex<Option<Durable>>);

impl Unflushed {
    pub fn note(&self, before: &Durable) {
        *lock(&self.0) = Some(before.clone());
    }

    /// The machine loses power.
    pub fn lose(&self, world: &Arc<World>) {
        if let Some(before) = lock(&self.0).take() {
            world.log(|| "the last commit is lost".to_owned());
            *world.durable() = before;
        }
    }
}
