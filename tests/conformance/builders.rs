//! Values to store.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};

use lrs_model::{
    decision::{Author, BaseRateChange, Decision, DecisionId, Effect, RateMove},
    job::{AttemptRow, JobRow, State, Timestamp},
    name::JobId,
    spec::{Group, Spec},
    telemetry::Sample,
};
use lrs_store::{Chunk, Outcome, Store, Write};
use uuid::Uuid;

pub fn job(name: &str) -> JobRow {
    let group =
        Group { name: "default".into(), base_lr: 0.1, base_momentum: None, base_weight_decay: None, schedule: None };
    let spec = Spec { groups: vec![group], ..Spec::default() };
    JobRow {
        id: JobId(Uuid::now_v7()),
        name: format!("namespaces/tests/jobs/{name}").parse().unwrap(),
        initial_spec: spec.clone(),
        spec,
        state: State::Pending,
        state_reason: String::new(),
        state_author: String::new(),
        version: 1,
        request_id: None,
        forked_from: None,
        create_time: Timestamp(1_700_000_000_000_000),
        update_time: Timestamp(1_700_000_000_000_001),
        end_time: None,
        telemetry_removed_time: None,
    }
}

pub fn create(job: &JobRow) -> Write {
    Write::CreateJob(Box::new(job.clone()))
}

pub fn attempt(attempt: u32) -> AttemptRow {
    AttemptRow {
        attempt,
        token: format!("token {attempt}"),
        resume_step: 10 * u64::from(attempt - 1),
        parent_attempt: attempt - 1,
        reporting_ranks: None,
        reserved_end: 1024,
        create_time: Timestamp(i64::from(attempt)),
    }
}

pub fn decision(id: DecisionId, effective_step: u64) -> Decision {
    let (author, effect) = match id {
        DecisionId::Person { .. } => (Author::Person("Ada".into()), Effect::Pause),
        DecisionId::Controller { .. } => (
            Author::Controller("0/reduce_lr_on_plateau".into()),
            Effect::BaseRates(RateMove {
                groups: vec![BaseRateChange { group: "default".into(), previous_base_lr: 0.1, base_lr: 0.01 }],
                ..RateMove::default()
            }),
        ),
    };
    Decision {
        id,
        attempt: 1,
        step: effective_step.saturating_sub(1),
        effective_step,
        author,
        reason: "it does not get better".into(),
        evidence: [("best".to_owned(), 0.5)].into(),
        effect,
        create_time: Timestamp(7),
    }
}

pub fn person(seq: u64, effective_step: u64) -> Decision {
    decision(DecisionId::Person { seq }, effective_step)
}

pub fn controller(step: u64) -> Decision {
    decision(DecisionId::Controller { attempt: 1, step, controller: 0 }, step + 1)
}

pub fn record(job: &JobRow, decision: &Decision) -> Write {
    Write::RecordDecision(job.id, Box::new(decision.clone()), None)
}

#[expect(clippy::cast_precision_loss, reason = "small steps")]
pub fn sample(step: u64) -> Sample {
    Sample { loss: Some(1.0 / (step as f64 + 1.0)), learning_rate: Some(0.1), ..Sample::new(step) }
}

pub fn chunk(seq: u64, rank: u32, steps: impl IntoIterator<Item = u64>) -> Chunk {
    let samples: Vec<_> = steps.into_iter().map(sample).collect();
    Chunk { attempt: 1, rank, seq, through_step: samples.last().map(|sample| sample.step), samples }
}

pub fn append(job: &JobRow, chunk: &Chunk) -> Write {
    Write::AppendTelemetry(job.id, chunk.clone())
}

/// Commits writes, each of which must succeed.
pub async fn done(store: &dyn Store, writes: &[Write]) {
    let outcomes = store.commit(writes).await.unwrap();
    assert!(outcomes.iter().all(|outcome| *outcome == Outcome::Done), "{outcomes:?}");
    assert_eq!(outcomes.len(), writes.len());
}

/// A job with an attempt.
pub async fn started_job(store: &dyn Store, name: &str) -> JobRow {
    let job = job(name);
    done(store, &[create(&job), Write::StartAttempt(job.id, attempt(1))]).await;
    job
}

/// Numbers that differ in each run; the seed is printed, and shown when the test fails.
pub struct Random(u64);

impl Random {
    pub fn new() -> Self {
        let seed = RandomState::new().build_hasher().finish();
        println!("seed {seed:#x}");
        Self(seed)
    }

    /// Splitmix64.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    pub fn one_of<'a, T>(&mut self, values: &'a [T]) -> &'a T {
        let index = usize::try_from(self.below(values.len() as u64)).unwrap();
        &values[index]
    }
}
