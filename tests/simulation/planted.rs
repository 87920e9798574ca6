//! Planted bugs: each is around the engine, never in it, and breaks a promise that the checker must name.

use std::{sync::Arc, time::Duration};

use lrs_model::{job::AttemptRow, spec::Spec};
use lrs_store::{Outcome, Write};

use crate::store::{SimStore, land};
use crate::{
    durable::Durable,
    world::{World, lock},
};

/// A bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plant {
    /// The store reports a commit as done before it is.
    AcknowledgeEarly,
    /// The store forgets up to which step rates are reserved.
    ForgetReserve,
    /// The store commits what was withdrawn.
    IgnoreWithdrawal,
    /// When a job leaves memory, the store forgets how far steps were given out.
    ForgetMark,
    /// When a sample comes again with other values, the last values count.
    ApplyConflict,
    /// Decisions see one more step of telemetry than the lag allows.
    ShorterLag,
    /// A crash loses the last commit, like a disk that does not flush.
    LoseLastCommit,
    /// A provisional rate is handed out as final.
    ProvisionalAsFinal,
    /// Answers leave out the actions on copies; streams do not.
    ForgetActions,
    /// Nobody notices that a restarted trainer has lost its copies.
    SilentRestart,
    /// Trainers see a person's advice to stop before it is stored.
    AdviseEarly,
    /// Only the first rank sees a person's advice to stop.
    AdviseOne,
    /// Telemetry is removed before its retention is over.
    RemoveEarly,
    /// Telemetry is removed, but its job does not say so.
    RemoveUnmarked,
    /// A commit does not prove that its process is the owner.
    CommitUnproven,
    /// A process that has lost its session takes the lock again with its old memory, whoever had it meanwhile.
    KeepMemory,
    /// An owner that does not reach the database calls steps final for ever.
    IgnoreLease,
    /// Nobody notices that the database has gone back.
    MissLostTail,
}

impl Plant {
    /// The batch that the store commits in place of `batch`.
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

    /// Forgets, in a batch that stores how far the steps of a job that leaves memory were given out, just that.
    pub fn forget_marks(batch: &mut [Write], durable: &Durable) {
        for write in batch {
            let Write::Reserve { job, attempt, reserved_end } = write else { continue };
            let known = durable.job(*job).and_then(|stored| stored.attempts.iter().find(|row| row.attempt == *attempt));
            if known.is_some_and(|row| row.reserved_end > *reserved_end) {
                *reserved_end = 0;
            }
        }
    }

    /// The spec that the server gets in place of `spec`.
    pub fn told(plant: Option<Self>, spec: &Spec) -> Spec {
        let mut spec = spec.clone();
        if plant == Some(Self::ShorterLag) {
            spec.decision_lag = (spec.decision_lag - 1).max(1);
        }
        spec
    }

    /// Reports the batch as committed, and commits it a little later, in order.
    pub fn acknowledge_early(store: &SimStore, batch: &[Write]) -> Vec<Outcome> {
        let (world, process, batch) = (store.world.clone(), store.process.clone(), batch.to_vec());
        let outcomes = batch.iter().map(|_| Outcome::Done).collect();
        drop(tokio::spawn(async move {
            let _turn = process.turns.lock().await;
            tokio::time::sleep(Duration::from_millis(5)).await;
            if process.is_alive() {
                let _ = land(&world, &process, &batch, false);
            }
        }));
        outcomes
    }
}

/// The data that was durable before the last commit.
#[derive(Default)]
pub struct Unflushed(std::sync::Mutex<Option<Durable>>);

impl Unflushed {
    pub fn note(&self, before: &Durable) {
        *lock(&self.0) = Some(before.clone());
    }

    /// Loses the last commit, as when the machine loses power.
    pub fn lose(&self, world: &Arc<World>) {
        if let Some(before) = lock(&self.0).take() {
            world.log(|| "the last commit is lost".to_owned());
            let mut durable = world.durable();
            *durable = before;
            durable.ownership.lock = None;
        }
    }
}
