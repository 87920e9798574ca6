//! `torch.optim.lr_scheduler` (2.15) and `torch.optim.swa_utils.SWALR`, counted in calls of `step()`.
//!
//! The group's base rate is its `initial_lr`. Composites are in [`composite`].
//! <https://docs.pytorch.org/docs/stable/optim.html#how-to-adjust-learning-rate>

use serde_json::json;

use super::{
    algebra::{base, constant, drops, ease, endless_ease, geometric, line, milestones, product, repeat, seq, sum},
    library::{FromJob, Library, Table, Translation, scheduler},
};
use arguments::last_epoch;
use lrs_model::{
    library::Params,
    number::exact,
    schedule::{ScheduleSpec as S, Shape},
};

mod arguments;
mod composite;
mod lambda;
mod words;

pub(super) const LIBRARY: Library =
    Library { follow_a_metric: &["ReduceLROnPlateau"], words: Some(words::of), ..Library::new("torch", SCHEDULERS) };

const SCHEDULERS: Table = &[
    scheduler("StepLR", step, r#"{"step_size": 30}"#, r#"{"gamma": 0.1}"#),
    scheduler("MultiStepLR", multi_step, r#"{"milestones": [30, 80]}"#, r#"{"gamma": 0.1}"#),
    scheduler("ConstantLR", constant_factor, "{}", r#"{"factor": 0.3333333333333333, "total_iters": 5}"#),
    scheduler("LinearLR", linear, "{}", r#"{"start_factor": 0.3333333333333333, "end_factor": 1.0, "total_iters": 5}"#),
    scheduler("ExponentialLR", exponential, r#"{"gamma": 0.9}"#, "{}"),
    scheduler("PolynomialLR", polynomial, "{}", r#"{"total_iters": 5, "power": 1.0}"#),
    scheduler("CosineAnnealingLR", cosine_annealing, r#"{"T_max": 100}"#, r#"{"eta_min": 0.0}"#),
    scheduler("CosineAnnealingWarmRestarts", warm_restarts, r#"{"T_0": 10}"#, r#"{"T_mult": 1, "eta_min": 0.0}"#),
    scheduler(
        "CyclicLR",
        cyclic,
        r#"{"base_lr": 0.01, "max_lr": 0.1}"#,
        r#"{"step_size_up": 2000, "mode": "triangular", "gamma": 1.0, "cycle_momentum": true, "base_momentum": 0.8, "max_momentum": 0.9}"#,
    ),
    scheduler(
        "OneCycleLR",
        one_cycle,
        r#"{"max_lr": 0.1, "total_steps": 1000}"#,
        r#"{"pct_start": 0.3, "anneal_strategy": "cos", "cycle_momentum": true, "base_momentum": 0.85, "max_momentum": 0.95, "div_factor": 25.0, "final_div_factor": 10000.0, "three_phase": false}"#,
    ),
    scheduler("SWALR", swa, r#"{"swa_lr": 0.05}"#, r#"{"anneal_epochs": 10, "anneal_strategy": "cos"}"#),
    scheduler("LambdaLR", lambda::lambda, r#"{"lr_lambda": {"kind": "geometric", "gamma": 0.9}}"#, "{}"),
    scheduler("MultiplicativeLR", lambda::multiplicative, r#"{"lr_lambda": {"kind": "constant", "value": 0.9}}"#, "{}"),
    scheduler(
        "SequentialLR",
        composite::sequential,
        r#"{"schedulers": [{"scheduler": "LinearLR"}, {"scheduler": "ExponentialLR", "params": {"gamma": 0.9}}], "milestones": [5]}"#,
        "{}",
    ),
    scheduler(
        "ChainedScheduler",
        composite::chained,
        r#"{"schedulers": [{"scheduler": "ExponentialLR", "params": {"gamma": 0.9}}]}"#,
        "{}",
    ),
];

fn gamma(p: &mut Params<'_>, default: Option<f64>) -> f64 {
    let gamma = match default {
        Some(default) => p.number_or("gamma", default),
        None => p.number("gamma"),
    };
    p.check("gamma", gamma >= 0.0, "at least 0: below it rates change their sign");
    gamma.max(0.0)
}

fn step(p: &mut Params<'_>, _: FromJob) -> Translation {
    last_epoch(p);
    let every = p.whole("step_size", 1);
    drops(base(1.0), gamma(p, Some(0.1)), exact(every)).into()
}

fn multi_step(p: &mut Params<'_>, _: FromJob) -> Translation {
    last_epoch(p);
    let at = p.wholes("milestones").into_iter().map(exact).collect();
    milestones(base, at, gamma(p, Some(0.1))).into()
}

fn constant_factor(p: &mut Params<'_>, _: FromJob) -> Translation {
    last_epoch(p);
    let factor = p.number_or("factor", 1.0 / 3.0);
    p.check(
        "factor",
        factor > 0.0 && factor <= 1.0,
        "greater than 0, by which torch divides at the end, and at most 1",
    );
    match p.whole_or("total_iters", 0, 5) {
        // Without iterations torch never undoes the factor.
        0 => base(factor),
        end => seq([exact(end)], [base(factor), base(1.0)]),
    }
    .into()
}

fn linear(p: &mut Params<'_>, _: FromJob) -> Translation {
    last_epoch(p);
    let start = p.number_or("start_factor", 1.0 / 3.0);
    p.check("start_factor", start > 0.0 && start <= 1.0, "greater than 0 and at most 1");
    let end = p.number_or("end_factor", 1.0);
    p.check("end_factor", (0.0..=1.0).contains(&end), "from 0 to 1");
    match p.whole_or("total_iters", 0, 5) {
        // Without iterations torch never leaves the start.
        0 => base(start),
        over => line(base(start), base(end), exact(over)),
    }
    .into()
}

fn exponential(p: &mut Params<'_>, _: FromJob) -> Translation {
    last_epoch(p);
    geometric(base(1.0), gamma(p, None), 1.0).into()
}

fn polynomial(p: &mut Params<'_>, _: FromJob) -> Translation {
    last_epoch(p);
    let over = p.whole_or("total_iters", 0, 5);
    let power = p.number_or("power", 1.0);
    p.check("power", power >= 0.0, "at least 0: torch divides by zero at the end");
    if over == 0 || power <= 0.0 {
        return base(1.0).into();
    }
    ease(base(1.0), constant(0.0), exact(over), Shape::Poly(power)).into()
}

/// torch does not clamp: the rate climbs again after `T_max`.
fn cosine_annealing(p: &mut Params<'_>, _: FromJob) -> Translation {
    last_epoch(p);
    let over = p.whole("T_max", 1);
    endless_ease(base(1.0), constant(p.number_or("eta_min", 0.0)), exact(over), Shape::Cosine).into()
}

fn warm_restarts(p: &mut Params<'_>, _: FromJob) -> Translation {
    last_epoch(p);
    let first = p.whole("T_0", 1);
    let growth = p.whole_or("T_mult", 1, 1);
    let fall = ease(base(1.0), constant(p.number_or("eta_min", 0.0)), 1.0, Shape::Cosine);
    repeat(fall, exact(first), exact(growth), 1.0).into()
}

/// `base_lr` and `max_lr` replace the optimizer's rate, and momentum goes the other way.
fn cyclic(p: &mut Params<'_>, _: FromJob) -> Translation {
    last_epoch(p);
    let (low, high) = (p.number("base_lr"), p.number("max_lr"));
    let up = p.number_or("step_size_up", 2000.0);
    p.check("step_size_up", up > 0.0, "greater than 0");
    let down = p.optional_number("step_size_down").unwrap_or(up);
    p.check("step_size_down", down > 0.0, "greater than 0");
    let mode = p.choice_or("mode", &["triangular", "triangular2", "exp_range"], "triangular");
    let gamma = p.number_or("gamma", 1.0);
    p.check("gamma", gamma > 0.0, "greater than 0");
    if mode != "exp_range" {
        p.only("gamma", &[json!(1), json!(1.0)], "is ignored unless mode is exp_range");
    }
    p.only(
        "scale_fn",
        &[],
        "is code, which a schedule cannot hold: use one of the modes, or write `product` with a schedule",
    );
    p.only("scale_mode", &[json!("cycle")], "is ignored without a scale_fn");

    let length = (up + down).max(f64::MIN_POSITIVE);
    let rising = up / length;
    let triangle = |scale| {
        let rise = line(constant(0.0), constant(1.0), rising);
        let fall = line(constant(1.0), constant(0.0), 1.0 - rising);
        repeat(seq([rising], [rise, fall]), length, 1.0, scale)
    };
    let height = match mode {
        "triangular2" => triangle(0.5),
        "exp_range" => product(triangle(1.0), geometric(constant(1.0), gamma, 1.0)),
        _ => triangle(1.0),
    };
    let between = |from: f64, to: f64| sum([constant(from), product(constant(to - from), height.clone())]);
    let momentum = cycled_momentum(p, 0.8, 0.9).map(|(low, high)| between(high, low));
    Translation { rate: between(low, high), momentum, weight_decay: None }
}

/// The lowest and the highest momentum of a cycle; `None` if the momentum stays.
fn cycled_momentum(p: &mut Params<'_>, low: f64, high: f64) -> Option<(f64, f64)> {
    if p.flag_or("cycle_momentum", true) {
        return Some((p.number_or("base_momentum", low), p.number_or("max_momentum", high)));
    }
    for (name, default) in [("base_momentum", low), ("max_momentum", high)] {
        p.only(name, &[json!(default)], "is ignored where cycle_momentum is false");
    }
    None
}

/// The ends of the phases are fractions of steps: `pct_start * total_steps - 1` is the first.
fn one_cycle(p: &mut Params<'_>, job: FromJob) -> Translation {
    last_epoch(p);
    let total = one_cycle_length(p);
    if let Some(job) = job.training.total_steps.filter(|job| *job > total + 1) {
        p.wrong("", format!("make a cycle of {total} steps, after which torch raises: the job has {job}"));
    }
    let peak = p.number("max_lr");
    let divisors = (p.number_or("div_factor", 25.0), p.number_or("final_div_factor", 1e4));
    p.check("div_factor", divisors.0 != 0.0, "other than 0");
    p.check("final_div_factor", divisors.1 != 0.0, "other than 0");
    let three_phase = p.flag_or("three_phase", false);
    let start = p.number_or("pct_start", 0.3);
    if three_phase {
        p.check("pct_start", (0.0..=0.5).contains(&start), "from 0 to 0.5, which leaves room for three phases");
    } else {
        p.check("pct_start", (0.0..=1.0).contains(&start), "from 0 to 1");
    }
    let shape = annealing(p);
    let first = peak / divisors.0;
    let phases = Phases { peak_at: start * exact(total) - 1.0, total: exact(total), three_phase, shape };
    p.check("pct_start", phases.peak_at != 0.0, "such that the peak is not at step 0, where torch divides by zero");
    let last = if three_phase { [peak, first, first / divisors.1] } else { [peak, first / divisors.1, 0.0] };
    let momentum = cycled_momentum(p, 0.85, 0.95)
        .map(|(low, high)| phases.through(high, if three_phase { [low, high, high] } else { [low, high, 0.0] }));
    Translation { rate: phases.through(first, last), momentum, weight_decay: None }
}

fn one_cycle_length(p: &mut Params<'_>) -> u64 {
    let (epochs, each) = (p.optional_whole("epochs", 1), p.optional_whole("steps_per_epoch", 1));
    match (p.optional_whole("total_steps", 1), epochs, each) {
        (Some(total), None, None) => total,
        (None, Some(epochs), Some(each)) => epochs.saturating_mul(each),
        (Some(total), ..) => {
            p.wrong("total_steps", "makes torch ignore epochs and steps_per_epoch: give either it or these two");
            total
        }
        (None, ..) => {
            p.wrong("total_steps", "is required, or else both epochs and steps_per_epoch");
            1
        }
    }
}

fn annealing(p: &mut Params<'_>) -> Shape {
    match p.choice_or("anneal_strategy", &["cos", "linear"], "cos") {
        "linear" => Shape::Linear,
        _ => Shape::Cosine,
    }
}

/// The phases of a one-cycle policy: up, and down in one or two.
struct Phases {
    peak_at: f64,
    total: f64,
    three_phase: bool,
    shape: Shape,
}

impl Phases {
    /// From `first` through the ends of the phases.
    fn through(&self, first: f64, ends: [f64; 3]) -> S {
        let [peak, second, third] = ends;
        let value = constant;
        let rise = ease(value(first), value(peak), self.peak_at.max(0.0), self.shape);
        let last = self.total - 1.0;
        let final_phase =
            |from, to, begin: f64| endless_ease(value(from), value(to), (last - begin).max(0.0), self.shape);
        // One step past the end the formula goes on; at the step after that torch would raise.
        let (mut boundaries, mut parts, end) = if self.three_phase {
            let down_at = 2.0 * self.peak_at;
            let fall = ease(value(peak), value(second), (down_at - self.peak_at).max(0.0), self.shape);
            (
                vec![self.peak_at, down_at.max(self.peak_at)],
                vec![rise, fall, final_phase(second, third, down_at)],
                third,
            )
        } else {
            (vec![self.peak_at], vec![rise, final_phase(peak, second, self.peak_at)], second)
        };
        boundaries.push(self.total + 1.0);
        parts.push(value(end));
        seq(boundaries, parts)
    }
}

fn swa(p: &mut Params<'_>, _: FromJob) -> Translation {
    last_epoch(p);
    let to = constant(p.number("swa_lr"));
    let over = p.whole_or("anneal_epochs", 0, 10);
    ease(base(1.0), to, exact(over), annealing(p)).into()
}
