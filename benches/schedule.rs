//! How long a rate takes: common schedules at one step, and one observation of a plateau.
//!
//! `cargo bench --bench schedule`. Budget: about 100 ns a value.

use divan::{Bencher, black_box};
use lrs::{
    control::Controller,
    model::{
        controller::{ControllerSpec, ReduceLrOnPlateau},
        schedule::{
            CosineRestarts, Cyclic, Decay, OneCycle, ScheduleSpec as S, Shape, StepDecay, Warmup, WarmupStableDecay,
        },
        telemetry::Sample,
        violation::Violations,
    },
    schedule::Schedule,
};

fn main() {
    divan::main();
}

const TOTAL_STEPS: u64 = 100_000;

fn decay() -> Decay {
    Decay { decay_steps: None, floor: None }
}

fn restarts(first_steps: u64, growth: f64) -> S {
    S::CosineRestarts(CosineRestarts { first_steps, growth, scale: 1.0, floor: None })
}

fn named(name: &str) -> S {
    match name {
        "constant" => S::Base(1.0),
        "linear" => S::Linear(decay()),
        "cosine" => S::Cosine(decay()),
        "warmup_cosine" => S::Warmup(Box::new(Warmup {
            warmup_steps: 1000,
            start_factor: 0.0,
            shape: Shape::Linear,
            schedule: S::Cosine(decay()),
        })),
        "step" => S::Step(StepDecay { step_size: 30, gamma: 0.99 }),
        "one_cycle" => S::OneCycle(OneCycle {
            total_steps: None,
            pct_start: 0.3,
            div_factor: 25.0,
            final_div_factor: 1e4,
            shape: Shape::Cosine,
        }),
        "wsd" => S::Wsd(WarmupStableDecay {
            warmup_steps: 1000,
            decay_steps: 20_000,
            total_steps: None,
            floor: None,
            shape: Shape::Power(0.5),
        }),
        "cosine_restarts" => restarts(1000, 1.0),
        "doubling_restarts" => restarts(1000, 2.0),
        // The costliest growth: all cycles that are added up, and then the closed form.
        "slowly_growing_restarts" => restarts(10, 1.000_001),
        _ => S::Cyclic(Cyclic { up_steps: 2000, down_steps: None, floor: None, scale: 1.0 }),
    }
}

const NAMES: [&str; 11] = [
    "constant",
    "linear",
    "cosine",
    "warmup_cosine",
    "step",
    "one_cycle",
    "wsd",
    "cosine_restarts",
    "doubling_restarts",
    "slowly_growing_restarts",
    "cyclic",
];

/// Values at steps all over the job, so that no branch can be foretold.
#[divan::bench(args = NAMES)]
fn value_at(bencher: Bencher<'_, '_>, name: &str) {
    let mut violations = Violations::new();
    let schedule = Schedule::try_new(&named(name), Some(TOTAL_STEPS), &mut violations).expect("a valid schedule");
    let mut step = 0;
    bencher.bench_local(|| {
        step = (step + 38_197) % TOTAL_STEPS;
        schedule.value_at(black_box(step), black_box(0.1))
    });
}

/// Observations that seldom improve, so that the rate drops now and then.
#[divan::bench]
fn plateau_observe(bencher: Bencher<'_, '_>) {
    let spec = ControllerSpec::ReduceLrOnPlateau(ReduceLrOnPlateau { factor: 0.999, ..ReduceLrOnPlateau::default() });
    let mut violations = Violations::new();
    let controller = Controller::try_new(&spec, 1, &mut violations).expect("a valid controller");
    let mut state = controller.initial();
    let mut sample = Sample::new(0);
    bencher.bench_local(|| {
        sample.step += 1;
        sample.loss = Some(if sample.step.is_multiple_of(7) { 0.9 } else { 1.0 });
        let (next, moved) = controller.observe(&state, &sample, black_box(&[0.1]));
        state = next;
        moved
    });
}
