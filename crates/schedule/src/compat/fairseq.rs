//! `fairseq.optim.lr_scheduler` (0.12.2): the fields of its configs, counted in updates. The config's `lr` is the base
//! rate.
//!
//! <https://fairseq.readthedocs.io/en/latest/lr_scheduler.html>

use serde_json::json;

use super::{
    algebra::{
        at_least, base, constant, drops, ease, geometric, line, power_law, product, repeat, seq, shift, stair, sum,
    },
    library::{FromJob, Library, Table, Translation, scheduler},
};
use lrs_model::{
    library::Params,
    number::exact,
    schedule::{ScheduleSpec as S, Shape},
};

pub(super) const LIBRARY: Library =
    Library { follow_a_metric: &["reduce_lr_on_plateau"], ..Library::new("fairseq", SCHEDULERS) };

const SCHEDULERS: Table = &[
    scheduler(
        "cosine",
        cosine,
        "{}",
        r#"{"warmup_updates": 0, "warmup_init_lr": -1.0, "min_lr": 0.0, "t_mult": 1.0, "lr_period_updates": -1.0, "lr_shrink": 0.1}"#,
    ),
    scheduler("fixed", fixed, "{}", r#"{"force_anneal": null, "lr_shrink": 0.1, "warmup_updates": 0}"#),
    scheduler("inverse_sqrt", inverse_sqrt, "{}", r#"{"warmup_updates": 4000, "warmup_init_lr": -1.0}"#),
    scheduler(
        "polynomial_decay",
        polynomial_decay,
        r#"{"total_num_update": 1000}"#,
        r#"{"warmup_updates": 0, "end_learning_rate": 0.0, "power": 1.0}"#,
    ),
    scheduler(
        "step",
        step,
        "{}",
        r#"{"warmup_updates": 0, "warmup_init_lr": -1.0, "min_lr": 0.0, "lr_deacy_period": 25000, "lr_decay": 0.5}"#,
    ),
    scheduler(
        "tri_stage",
        tri_stage,
        r#"{"warmup_steps": 10, "hold_steps": 40, "decay_steps": 50}"#,
        r#"{"phase_ratio": null, "init_lr_scale": 0.01, "final_lr_scale": 0.01}"#,
    ),
    scheduler(
        "triangular",
        triangular,
        r#"{"max_lr": 1}"#,
        r#"{"lr_period_updates": 5000.0, "lr_shrink": 0.1, "shrink_min": false}"#,
    ),
    scheduler("pass_through", pass_through, "{}", "{}"),
];

/// The length of the warm-up, and its first rate; a first rate below 0 stands for the default.
fn warmup(p: &mut Params<'_>, default_updates: u64, default: S) -> (f64, S) {
    let from = p.number_or("warmup_init_lr", -1.0);
    (exact(p.whole_or("warmup_updates", 0, default_updates)), if from < 0.0 { default } else { constant(from) })
}

fn after_ramp((length, from): (f64, S), rest: S) -> S {
    seq([length], [line(from, base(1.0), length), rest])
}

/// The length in the config, else the job's.
fn max_update(p: &mut Params<'_>, job: FromJob) -> f64 {
    let given = p.optional_whole("max_update", 1).or(job.training.total_steps);
    exact(given.unwrap_or_else(|| {
        p.wrong("max_update", "is required where the job has no total_steps");
        1
    }))
}

/// Both ends of each period shrink.
fn cosine(p: &mut Params<'_>, job: FromJob) -> Translation {
    let low = p.number_or("min_lr", 0.0);
    let ramp = warmup(p, 0, constant(low));
    let growth = p.number_or("t_mult", 1.0);
    p.check("t_mult", growth >= 1.0, "at least 1");
    let scale = p.number_or("lr_shrink", 0.1);
    p.check("lr_shrink", scale >= 0.0, "at least 0");
    let period = p.number_or("lr_period_updates", -1.0);
    let first = if period > 0.0 {
        p.optional_whole("max_update", 1);
        period
    } else {
        max_update(p, job) - ramp.0
    };
    if first <= 0.0 {
        p.wrong("max_update", "must be greater than warmup_updates");
    }
    let fall = ease(base(1.0), constant(low), 1.0, Shape::Cosine);
    after_ramp(ramp, repeat(fall, first.max(1.0), growth, scale)).into()
}

/// One rate for each epoch, times a warm-up that counts updates.
fn fixed(p: &mut Params<'_>, job: FromJob) -> Translation {
    let shrink = p.number_or("lr_shrink", 0.1);
    p.check("lr_shrink", shrink > 0.0, "greater than 0");
    let warmup = exact(p.whole_or("warmup_updates", 0, 0));
    let epoch = p.optional_whole("updates_per_epoch", 1).or(job.training.steps_per_epoch).map(exact);
    let annealing = p.optional_whole("force_anneal", 1).map(exact);
    let body = match (annealing, epoch) {
        (None, _) => base(1.0),
        (Some(from), Some(epoch)) => {
            let fall = shift(geometric(base(1.0), shrink, epoch), epoch);
            stair(seq([(from - 1.0) * epoch], [base(1.0), fall]), epoch)
        }
        (Some(_), None) => {
            p.wrong("force_anneal", "counts epochs: it needs the job's steps_per_epoch, or updates_per_epoch");
            base(1.0)
        }
    };
    if warmup > 0.0 {
        return product(body, line(constant(1.0 / warmup), constant(1.0), warmup - 1.0)).into();
    }
    body.into()
}

fn inverse_sqrt(p: &mut Params<'_>, _: FromJob) -> Translation {
    let from = p.number_or("warmup_init_lr", -1.0);
    let length = exact(p.whole_or("warmup_updates", 1, 4000));
    let from = if from < 0.0 { constant(0.0) } else { constant(from) };
    after_ramp((length, from), power_law(base(1.0), length, 0.5)).into()
}

fn polynomial_decay(p: &mut Params<'_>, job: FromJob) -> Translation {
    p.only("force_anneal", &[], "is not reproduced: it changes the curve by epochs, which the updates do not show");
    let length = exact(p.whole_or("warmup_updates", 0, 0));
    let end = constant(p.number_or("end_learning_rate", 0.0));
    let power = p.number_or("power", 1.0);
    p.check("power", power > 0.0, "greater than 0");
    let total = p.optional_whole("total_num_update", 1).or(job.training.total_steps).map(exact);
    let left = total.map_or(0.0, |total| total - length);
    if left <= 0.0 {
        p.wrong("total_num_update", "is required, and must be greater than warmup_updates");
    }
    let fall = ease(base(1.0), end, left.max(1.0), Shape::Poly(power.max(f64::MIN_POSITIVE)));
    after_ramp((length, constant(0.0)), fall).into()
}

/// The period is spelled `lr_deacy_period` there.
fn step(p: &mut Params<'_>, _: FromJob) -> Translation {
    let low = p.number_or("min_lr", 0.0);
    let ramp = warmup(p, 0, constant(low));
    let every = p.number_or("lr_deacy_period", 25_000.0);
    p.check("lr_deacy_period", every > 0.0, "greater than 0");
    let rate = p.number_or("lr_decay", 0.5);
    p.check("lr_decay", rate > 0.0, "greater than 0");
    after_ramp(ramp, at_least(drops(base(1.0), rate, every), constant(low))).into()
}

fn tri_stage(p: &mut Params<'_>, job: FromJob) -> Translation {
    let lengths = [p.whole_or("warmup_steps", 0, 0), p.whole_or("hold_steps", 0, 0), p.whole_or("decay_steps", 0, 0)];
    let (first, last) = (p.number_or("init_lr_scale", 0.01), p.number_or("final_lr_scale", 0.01));
    p.check("final_lr_scale", last > 0.0, "greater than 0");
    let [rise, hold, decay] = if p.has("phase_ratio") {
        let ratios = p.numbers("phase_ratio");
        let total = max_update(p, job);
        let whole = |i: usize| ratios.get(i).map_or(0.0, |ratio| (total * ratio).trunc());
        let sum: f64 = ratios.iter().sum();
        p.check("phase_ratio", ratios.len() == 3 && (sum - 1.0).abs() < 1e-9, "three numbers that add up to 1");
        [whole(0), whole(1), whole(2)]
    } else {
        p.optional_whole("max_update", 1);
        lengths.map(exact)
    };
    if rise + hold + decay <= 0.0 {
        p.wrong("decay_steps", "leaves no stage: set warmup_steps, hold_steps and decay_steps, or phase_ratio");
    }
    let fall =
        if decay > 0.0 && last > 0.0 { at_least(geometric(base(1.0), last, decay), base(last)) } else { base(last) };
    seq([rise, rise + hold], [line(base(first), base(1.0), rise), base(1.0), fall]).into()
}

/// The top shrinks, and the bottom too with `shrink_min`.
fn triangular(p: &mut Params<'_>, _: FromJob) -> Translation {
    let high = p.number("max_lr");
    let period = p.number_or("lr_period_updates", 5000.0);
    // Half a period is a whole number of updates.
    let length = 2.0 * (period / 2.0).floor();
    p.check("lr_period_updates", length >= 2.0, "at least 2");
    let scale = p.number_or("lr_shrink", 0.1);
    p.check("lr_shrink", scale >= 0.0, "at least 0");
    let triangle = |low: S, high: S, scale| {
        let once = seq([0.5], [line(low.clone(), high.clone(), 0.5), line(high, low, 0.5)]);
        repeat(once, length.max(2.0), 1.0, scale)
    };
    if p.flag_or("shrink_min", false) {
        return triangle(base(1.0), constant(high), scale).into();
    }
    let unit = |scale| triangle(constant(0.0), constant(1.0), scale);
    sum([base(1.0), product(constant(high), unit(scale)), product(base(-1.0), unit(1.0))]).into()
}

fn pass_through(p: &mut Params<'_>, _: FromJob) -> Translation {
    p.only("lr", &[json!([])], "is the group's base_lr");
    base(1.0).into()
}
