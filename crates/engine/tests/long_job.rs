//! A job of any length takes bounded memory, and bounded time per step, even with controllers that act at every step.
//!
//! `LRS_LONG_JOB_STEPS` sets the number of steps (`make long-job` runs 10,000,000 in a release build). The test is a
//! program of its own, so that the memory of the process is the test's.

use std::{
    collections::VecDeque,
    fs,
    ops::Range,
    sync::{Arc, Mutex},
    time::Duration,
};

use lrs_control::{auto, greedy, keras_plateau, noise_scale, optax_plateau, plateau};
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

/// The processor time of this thread; where the system does not tell, the time since `start`.
fn processor_time(start: Instant) -> Duration {
    let spent = || fs::read_to_string("/proc/thread-self/schedstat").ok()?.split_whitespace().next()?.parse().ok();
    spent().map_or_else(|| start.elapsed(), Duration::from_nanos)
}

/// What a training used.
struct Trained {
    decisions: u64,
    /// The time of each stretch of steps.
    times: Vec<Duration>,
    /// The most bytes of a saved job, in the first half and in the second half.
    saved: [usize; 2],
    /// The bytes in memory after the first tenth and at the end.
    resident: Option<[u64; 2]>,
    known_from: u64,
}

/// Trains like a shard: publishes the timeline after each report, and saves the job now and then.
fn train(spec: &Spec, steps: u64) -> Trained {
    let mut job = Job::new(Timeline::try_new(spec, []).expect("the spec is right"), 1, 0);
    let mut trained = Trained { decisions: 0, times: Vec::new(), saved: [0, 0], resident: None, known_from: 0 };
    let mut published = VecDeque::new();
    let start_time = Instant::now();
    let stretch = steps / STRETCHES;
    let mut first_resident = None;
    for number in 0..STRETCHES {
        let begun = processor_time(start_time);
        for start in (number * stretch..(number + 1) * stretch).step_by(usize::try_from(REPORT).expect("it is small")) {
            let end = (start + REPORT).min((number + 1) * stretch);
            let report = Report { samples: (start..end).map(sample).collect(), through_step: Some(end - 1) };
            let taken = job.take(0, report, 100).expect("few steps are open");
            trained.decisions += taken.decisions.len() as u64;
            assert!(taken.completed.len() as u64 == end - start);
            // A reader still holds the timeline before.
            published.push_back(Arc::new(job.timeline().clone()));
            published.drain(..published.len().saturating_sub(2));
        }
        trained.times.push(processor_time(start_time).saturating_sub(begun));
        let saved = serde_json::to_string(&job.saved().expect("it has a record")).expect("it is JSON").len();
        let part = usize::from(number >= STRETCHES / 2);
        trained.saved[part] = trained.saved[part].max(saved);
        if number == STRETCHES / 10 {
            first_resident = resident();
        }
    }
    trained.resident = first_resident.zip(resident()).map(|(first, last)| [first, last]);
    trained.known_from = job.timeline().known_from();
    trained
}

/// Compares the end of a training with the stretches `early`, which begin when the controllers run steadily.
#[track_caller]
fn assert_bounded(trained: &Trained, steps: u64, early: Range<usize>) {
    let [first, second] = trained.saved;
    assert!(second < 512 << 10 && second < first + first / 4, "a saved job has {first} bytes, then {second}");
    let sum = |times: &[Duration]| times.iter().sum::<Duration>();
    let (first, last) = (sum(&trained.times[early]), sum(&trained.times[90..]));
    assert!(last < 3 * first, "{} steps take {last:?}, in the beginning {first:?}", steps / 10);
    if let Some([first, last]) = trained.resident {
        assert!(last < first + (16 << 20), "{last} bytes are in memory, in the beginning {first}");
    }
}

/// The two tests measure the time and memory of the process, so they take turns.
static TURN: Mutex<()> = Mutex::new(());

#[test]
fn a_job_whose_rate_moves_at_every_step_stays_as_large_and_as_fast_as_it_began() {
    let _turn = TURN.lock();
    let steps = steps();
    for lag in [1, 64] {
        let trained = train(&spec(vec![greedy()], lag), steps / 2);
        assert!(trained.decisions > steps / 2 - 10, "{} decisions", trained.decisions);
        assert!(trained.known_from > steps / 2 - 2000, "moves are known from step {}", trained.known_from);
        assert_bounded(&trained, steps / 2, 1..11);
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
    ];
    for controllers in others {
        let spec = Spec { total_steps: Some(steps), ..spec(controllers, 4) };
        assert_bounded(&train(&spec, steps), steps, 20..30);
    }
}
