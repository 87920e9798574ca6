//! A job of any length takes bounded memory, and bounded time per step, even with controllers that act at every step.
//!
//! `LRS_LONG_JOB_STEPS` sets the number of steps (`make long-job` runs 10,000,000 in a release build). The test is a
//! program of its own, so that the memory of the process is the test's.

use std::{
    collections::VecDeque,
    fs,
    sync::{Arc, Mutex},
    time::Duration,
};

use lrs_control::{auto, greedy, keras_plateau, noise_scale, optax_plateau, plateau, threshold};
use lrs_engine::{job::Job, timeline::Timeline};
use lrs_model::{
    controller::ControllerSpec,
    spec::{Group, Spec, Tier},
    telemetry::{Report, Sample},
};
use tokio::time::Instant;

/// The default number of steps: few enough for a build without optimisation.
const USUAL_STEPS: u64 = 150_000;
/// Samples in a report.
const REPORT: u64 = 4;
/// How many stretches the steps are timed in.
const STRETCHES: u64 = 100;
/// How many of them are timed beside a job that is young.
const COMPARED: u64 = 10;
/// How often they are timed, if something else on the machine may have slowed the old job alone.
const TRIES: usize = 3;

fn steps() -> u64 {
    let steps = std::env::vars().find(|(name, _)| name == "LRS_LONG_JOB_STEPS");
    steps.map_or(USUAL_STEPS, |(_, steps)| steps.parse().expect("LRS_LONG_JOB_STEPS is a number"))
}

fn spec(controllers: Vec<ControllerSpec>, decision_lag: u64) -> Spec {
    let group =
        Group { name: "default".into(), base_lr: 0.1, base_momentum: None, base_weight_decay: None, schedule: None };
    Spec { groups: vec![group], controllers, decision_lag, tier: Tier::Restore, ..Spec::default() }
}

/// Moves the rates at every step: up after a better loss, down after a worse one.
fn greedy() -> ControllerSpec {
    let (min_lr, max_lr) = (vec![1e-6], vec![1e6]);
    greedy::Params { patience: 0, factor: 0.999, min_lr, max_lr, eps: 0.0, ..greedy::Params::default() }.into()
}

/// Every second loss is the best so far.
fn sample(step: u64) -> Sample {
    let step_loss = 1e9 - f64::from(u32::try_from(step).expect("steps are few"));
    let loss = if step.is_multiple_of(2) { step_loss } else { 2e9 };
    let mut sample = Sample { loss: Some(loss), grad_norm: Some(1.0 + loss % 7.0), ..Sample::new(step) };
    sample.add_metric("val_loss".into(), loss);
    sample
}

/// The bytes of memory that this process uses, if the system tells.
fn resident() -> Option<u64> {
    let pages = fs::read_to_string("/proc/self/statm").ok()?;
    Some(4096 * pages.split_whitespace().nth(1)?.parse::<u64>().ok()?)
}

/// A training, as a shard runs it: it publishes the timeline after each report, and saves the job now and then.
#[derive(Clone)]
struct Training {
    job: Job,
    /// Timelines that a reader still holds.
    published: VecDeque<Arc<Timeline>>,
    /// Steps in a stretch, after which the job is saved.
    stretch: u64,
    next_step: u64,
    decisions: u64,
    /// The most bytes of a saved job, in the first half and in the second half.
    saved: [usize; 2],
}

impl Training {
    fn new(spec: &Spec, steps: u64) -> Self {
        let job = Job::new(Timeline::try_new(spec, []).expect("the spec is right"), 1, 0);
        let stretch = steps / STRETCHES;
        Self { job, published: VecDeque::new(), stretch, next_step: 0, decisions: 0, saved: [0, 0] }
    }

    /// Trains for as many steps as a stretch has; the time it took.
    fn train(&mut self) -> Duration {
        let begun = Instant::now();
        let end = self.next_step + self.stretch;
        while self.next_step < end {
            let steps = self.next_step..(self.next_step + REPORT).min(end);
            let report = Report { samples: steps.clone().map(sample).collect(), through_step: Some(steps.end - 1) };
            let taken = self.job.take(0, report, 100).expect("few steps are open");
            self.decisions += taken.decisions.len() as u64;
            assert!(taken.completed.len() as u64 == steps.end - steps.start);
            self.published.push_back(Arc::new(self.job.timeline().clone()));
            self.published.drain(..self.published.len().saturating_sub(2));
            self.next_step = steps.end;
        }
        let took = begun.elapsed();
        let saved = serde_json::to_string(&self.job.saved().expect("it has a record")).expect("it is JSON").len();
        let half = usize::from(end > self.stretch * STRETCHES / 2);
        self.saved[half] = self.saved[half].max(saved);
        took
    }
}

/// How long the next stretches of two trainings take. They take turns, so that what else the machine does slows both.
fn times(mut old: Training, mut young: Training) -> [Duration; 2] {
    let stretches = (0..COMPARED).map(|_| [old.train(), young.train()]);
    stretches.fold([Duration::ZERO; 2], |[old, young], [more_old, more_young]| [old + more_old, young + more_young])
}

/// Trains a job through `steps`. Its last stretches are compared with those of a job that has come to the stretch
/// `early`, where the controllers run steadily.
#[track_caller]
fn train(spec: &Spec, steps: u64, early: u64) -> Training {
    let mut old = Training::new(spec, steps);
    let mut first_resident = None;
    for number in 0..STRETCHES - COMPARED {
        old.train();
        if number == STRETCHES / 10 {
            first_resident = resident();
        }
    }
    let mut young = Training::new(spec, steps);
    for _ in 0..early {
        young.train();
    }
    let tries: Vec<_> = (0..TRIES).map(|_| times(old.clone(), young.clone())).collect();
    assert!(tries.iter().any(|[old, young]| *old < 3 * *young), "the old job and the young one take {tries:?}");
    for _ in 0..COMPARED {
        old.train();
    }
    let [first, second] = old.saved;
    assert!(second < 512 << 10 && second < first + first / 4, "a saved job has {first} bytes, then {second}");
    if let Some((first, last)) = first_resident.zip(resident()) {
        assert!(last < first + (16 << 20), "{last} bytes are in memory, in the beginning {first}");
    }
    old
}

/// The two tests measure the memory of the process, so they take turns.
static TURN: Mutex<()> = Mutex::new(());

#[test]
fn a_job_whose_rate_moves_at_every_step_stays_as_large_and_as_fast_as_it_began() {
    let _turn = TURN.lock();
    let steps = steps();
    for lag in [1, 64] {
        let trained = train(&spec(vec![greedy()], lag), steps / 2, 1);
        assert!(trained.decisions > steps / 2 - 10, "{} decisions", trained.decisions);
        let known_from = trained.job.timeline().known_from();
        assert!(known_from > steps / 2 - 2000, "moves are known from step {known_from}");
    }
}

#[test]
fn every_other_controller_stays_as_large_and_as_fast_too() {
    let _turn = TURN.lock();
    let steps = steps() / 10;
    let plateau = plateau::Params { patience: 0, factor: 0.9999, ..plateau::Params::default() };
    let others = [
        vec![plateau.into(), greedy()],
        vec![keras_plateau::Params { patience: 0, factor: 0.9999, ..keras_plateau::Params::default() }.into()],
        vec![optax_plateau::Params { patience: 1, factor: 0.9999, ..optax_plateau::Params::default() }.into()],
        vec![noise_scale::Params::default().into(), auto::Params::default().into()],
        vec![
            threshold::Params { metric: "loss".into(), below: Some(-1.0), ..threshold::Params::default() }.into(),
            threshold::Params { divergence: true, ..threshold::Params::default() }.into(),
        ],
    ];
    for controllers in others {
        let spec = Spec { total_steps: Some(steps), ..spec(controllers, 4) };
        train(&spec, steps, 20);
    }
}
