//! The time to compute a rate: schedules at one step and over a million steps, a job's directive, and one observation
//! of a plateau.
//!
//! `cargo bench --bench schedule`. Budget: 100 ns and no allocation for each value, 100 ms for a million values.
//! Allocations are listed below the times of a bench that has any.

use divan::{AllocProfiler, Bencher, black_box, counter::ItemsCount};
use lrs_control::{Controller, Observation, Setting, plateau};
use lrs_engine::timeline::Timeline;
use lrs_model::{
    library::LibraryCall,
    schedule::{LibrarySchedule, ScheduleSpec as S, Unit},
    spec::{Group, Spec},
    telemetry::Sample,
    violation::Violations,
};
use lrs_schedule::Schedule;
use serde_json::{Value, json};

#[global_allocator]
static ALLOCATOR: AllocProfiler = AllocProfiler::system();

fn main() {
    divan::main();
}

const TOTAL_STEPS: u64 = 100_000;

fn restarts(first_steps: u64, growth: f64) -> S {
    S::named("cosine_restarts", json!({"first_steps": first_steps, "growth": growth}))
}

fn named(name: &str) -> S {
    match name {
        "constant" => S::Base(1.0),
        "linear" | "cosine" | "one_cycle" => S::named(name, json!({})),
        "warmup_cosine" => S::named("warmup", json!({"warmup_steps": 1000, "schedule": {"cosine": {}}})),
        "step" => S::named("step", json!({"step_size": 30, "gamma": 0.99})),
        "wsd" => S::named("wsd", json!({"warmup_steps": 1000, "decay_steps": 20_000})),
        "cosine_restarts" => restarts(1000, 1.0),
        "doubling_restarts" => restarts(1000, 2.0),
        // The costliest growth: many cycles are added up before the closed form applies.
        "slowly_growing_restarts" => restarts(10, 1.000_001),
        "torch_one_cycle" => library("torch", "OneCycleLR", &json!({"max_lr": 0.1, "total_steps": TOTAL_STEPS})),
        // A repeat scaled about a floor: the longest of the common expressions.
        "timm_cosine" => library(
            "timm",
            "CosineLRScheduler",
            &json!({"t_initial": 1000, "warmup_t": 100, "lr_min": 1e-5, "cycle_decay": 0.5, "cycle_limit": 50}),
        ),
        _ => S::named("cyclic", json!({"up_steps": 2000})),
    }
}

fn library(library: &str, scheduler: &str, params: &Value) -> S {
    let params = params.as_object().expect("arguments by name").clone();
    let call = LibraryCall { library: library.to_owned(), scheduler: scheduler.to_owned(), params };
    S::Library(LibrarySchedule { call, unit: Unit::Step, units_per_step: None })
}

fn schedule(name: &str) -> Schedule {
    let mut violations = Violations::new();
    Schedule::try_new(&named(name), Some(TOTAL_STEPS), &mut violations).expect("a valid schedule")
}

const NAMES: [&str; 13] = [
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
    "torch_one_cycle",
    "timm_cosine",
];

/// Values at steps all over the job, so that no branch can be predicted.
#[divan::bench(args = NAMES)]
fn value_at(bencher: Bencher<'_, '_>, name: &str) {
    let schedule = schedule(name);
    let mut step = 0;
    bencher.bench_local(|| {
        step = (step + 38_197) % TOTAL_STEPS;
        schedule.value_at(black_box(step), black_box(0.1))
    });
}

/// A curve step by step, written into existing memory.
#[divan::bench(args = NAMES, sample_count = 20)]
fn curve_of_a_million_steps(bencher: Bencher<'_, '_>, name: &str) {
    const STEPS: u64 = 1_000_000;
    let schedule = schedule(name);
    let mut curve = Vec::new();
    bencher.counter(ItemsCount::new(STEPS)).bench_local(|| {
        curve.clear();
        curve.extend((0..STEPS).map(|step| schedule.value_at(step, black_box(0.1))));
        black_box(curve.last().copied())
    });
}

/// The whole answer of a job with one group, including the list of the groups' rates.
#[divan::bench(args = NAMES)]
fn directive_at(bencher: Bencher<'_, '_>, name: &str) {
    let group = Group {
        name: "default".to_owned(),
        base_lr: 0.1,
        base_momentum: None,
        base_weight_decay: None,
        schedule: None,
    };
    let spec = Spec { groups: vec![group], schedule: named(name), total_steps: Some(TOTAL_STEPS), ..Spec::default() };
    let timeline = Timeline::try_new(&spec, []).expect("a valid spec");
    let mut step = 0;
    bencher.bench_local(|| {
        step = (step + 38_197) % TOTAL_STEPS;
        timeline.directive_at(black_box(step))
    });
}

/// Observations that rarely improve, so that the rate drops now and then.
#[divan::bench]
fn plateau_observe(bencher: Bencher<'_, '_>) {
    let spec = plateau::Params { factor: 0.999, ..plateau::Params::default() }.into();
    let mut violations = Violations::new();
    let group = Group {
        name: "default".to_owned(),
        base_lr: 0.1,
        base_momentum: None,
        base_weight_decay: None,
        schedule: None,
    };
    let setting = Setting::of(&Spec { groups: vec![group], ..Spec::default() });
    let controller = Controller::try_new(&spec, &setting, &mut violations).expect("a valid controller");
    let mut state = controller.initial(0);
    let mut sample = Sample::new(0);
    bencher.bench_local(|| {
        sample.step += 1;
        sample.loss = Some(if sample.step.is_multiple_of(7) { 0.9 } else { 1.0 });
        let effective_step = sample.step + 1;
        let base_lrs = black_box(&[0.1]);
        controller.observe(&mut state, &Observation::new(&sample, effective_step, base_lrs, true))
    });
}
