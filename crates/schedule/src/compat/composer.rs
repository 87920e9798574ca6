//! `composer.optim` (0.32.1): multiples of the base rate, with times such as `10ep`, `500ba` or `0.5dur`.
//!
//! `max_duration`, `dataloader_len` and `scale_schedule_ratio` belong to composer's trainer; the first two come from
//! the job's `total_steps` and `steps_per_epoch` where they are left out. All times become whole batches, as they do
//! there. <https://docs.mosaicml.com/projects/composer/en/stable/trainer/schedulers.html>

use super::{
    algebra::{base, constant, drops, ease, geometric, line, milestones, repeat, seq, shift},
    library::{Count, FromJob, Library, Table, Translation, scheduler},
};
use lrs_model::{
    library::Params,
    number::exact,
    schedule::{ScheduleSpec as S, Shape},
};

pub(super) const LIBRARY: Library = Library { counts_itself: true, ..Library::new("composer", SCHEDULERS) };

const SCHEDULERS: Table = &[
    scheduler("StepScheduler", step, r#"{"step_size": "10ba"}"#, r#"{"gamma": 0.1}"#),
    scheduler("MultiStepScheduler", multi_step, r#"{"milestones": ["30ba"]}"#, r#"{"gamma": 0.1}"#),
    scheduler("ConstantScheduler", constant_factor, "{}", r#"{"alpha": 0.3333333333333333, "t_max": "1dur"}"#),
    scheduler("LinearScheduler", linear, "{}", r#"{"alpha_i": 0.3333333333333333, "alpha_f": 1.0, "t_max": "1dur"}"#),
    scheduler("ExponentialScheduler", exponential, r#"{"gamma": 0.9}"#, r#"{"decay_period": "1ep"}"#),
    scheduler("CosineAnnealingScheduler", cosine, "{}", r#"{"t_max": "1dur", "alpha_f": 0.0}"#),
    scheduler(
        "CosineAnnealingWarmRestartsScheduler",
        warm_restarts,
        r#"{"t_0": "100ba"}"#,
        r#"{"t_mult": 1.0, "alpha_f": 0.0}"#,
    ),
    scheduler("PolynomialScheduler", polynomial, r#"{"power": 2}"#, r#"{"t_max": "1dur", "alpha_f": 0.0}"#),
    scheduler(
        "MultiStepWithWarmupScheduler",
        multi_step_with_warmup,
        r#"{"t_warmup": "10ba", "milestones": ["30ba"]}"#,
        r#"{"gamma": 0.1}"#,
    ),
    scheduler(
        "ConstantWithWarmupScheduler",
        constant_with_warmup,
        r#"{"t_warmup": "10ba"}"#,
        r#"{"alpha": 1.0, "t_max": "1dur"}"#,
    ),
    scheduler(
        "LinearWithWarmupScheduler",
        linear_with_warmup,
        r#"{"t_warmup": "10ba"}"#,
        r#"{"alpha_i": 1.0, "alpha_f": 0.0, "t_max": "1dur"}"#,
    ),
    scheduler(
        "CosineAnnealingWithWarmupScheduler",
        cosine_with_warmup,
        r#"{"t_warmup": "10ba"}"#,
        r#"{"t_max": "1dur", "alpha_f": 0.0}"#,
    ),
    scheduler(
        "PolynomialWithWarmupScheduler",
        polynomial_with_warmup,
        r#"{"t_warmup": "10ba"}"#,
        r#"{"power": 2.0, "t_max": "1dur", "alpha_f": 0.0}"#,
    ),
];

/// The most cycles that are written out one by one.
const MAX_CYCLES: usize = 4096;

/// What converts a time to batches.
struct Clock {
    batches_per_epoch: Option<f64>,
    /// The whole training in batches, if it is known.
    duration: Option<f64>,
    scale: f64,
    samples_per_batch: Option<f64>,
    tokens_per_batch: Option<f64>,
}

impl Clock {
    fn read(p: &mut Params<'_>, job: FromJob) -> Self {
        let each = p.optional_whole("dataloader_len", 1).or(job.training.steps_per_epoch);
        let scale = p.number_or("scale_schedule_ratio", 1.0);
        p.check("scale_schedule_ratio", scale > 0.0, "greater than 0");
        let (samples_per_batch, tokens_per_batch) = match job.count {
            Count::Samples(each) => (Some(exact(each)), None),
            Count::Tokens(each) => (None, Some(exact(each))),
            Count::Steps | Count::Epochs => (None, None),
        };
        let batches_per_epoch = each.map(exact);
        let mut clock = Self { batches_per_epoch, duration: None, scale: 1.0, samples_per_batch, tokens_per_batch };
        let duration = p.text_or("max_duration", "");
        clock.duration = if duration.is_empty() {
            job.training.total_steps.map(exact)
        } else {
            Some(clock.batches("max_duration", &duration, p))
        };
        Self { scale, ..clock }
    }

    /// The time in the argument `name`, in batches.
    fn time(&self, name: &'static str, default: Option<&str>, p: &mut Params<'_>) -> f64 {
        let text = p.text_or(name, default.unwrap_or_default());
        if text.is_empty() {
            p.wrong(name, "is required");
            return 1.0;
        }
        self.batches(name, &text, p)
    }

    /// The time in the argument `name`, at least one batch.
    fn length(&self, name: &'static str, default: Option<&str>, p: &mut Params<'_>) -> f64 {
        let length = self.time(name, default, p);
        p.check(name, length > 0.0, "a time of at least one batch");
        length.max(1.0)
    }

    /// Scales batches and epochs. A fraction of the duration is not scaled, because the duration already is.
    fn batches(&self, name: &'static str, text: &str, p: &mut Params<'_>) -> f64 {
        let split = text.find(|c: char| c.is_ascii_alphabetic() && c != 'e').or_else(|| text.find("ep"));
        let (number, unit) = text.split_at(split.unwrap_or(text.len()));
        let (number, unit) = if number.ends_with('e') && unit.starts_with('p') {
            (number.trim_end_matches('e'), "ep")
        } else {
            (number, unit)
        };
        let Ok(value) = number.trim().parse::<f64>() else {
            p.check(name, false, "a time such as 10ep, 500ba, 0.5dur, 1000000tok or 5000sp");
            return 1.0;
        };
        let converted = match unit {
            "dur" => self.duration.map(|duration| (value * duration).trunc()),
            "ba" => Some((value.trunc() * self.scale).trunc()),
            "ep" => self.batches_per_epoch.map(|each| (value.trunc() * each * self.scale).trunc()),
            "sp" => self.samples_per_batch.map(|each| (value.trunc() * self.scale).trunc() / each),
            "tok" => self.tokens_per_batch.map(|each| (value.trunc() * self.scale).trunc() / each),
            _ => {
                p.check(name, false, "in one of the units ep, ba, dur, tok and sp");
                return 1.0;
            }
        };
        converted.filter(|batches| *batches >= 0.0).unwrap_or_else(|| {
            let needs = match unit {
                "dur" => "the job's total_steps, or max_duration",
                "ep" => "the job's steps_per_epoch, or dataloader_len",
                "sp" => "the unit sample with units_per_step",
                "tok" => "the unit token with units_per_step",
                _ => "a time of at least 0",
            };
            p.wrong(name, format!("{text} needs {needs}"));
            1.0
        })
    }
}

fn gamma(p: &mut Params<'_>, default: f64) -> f64 {
    let gamma = p.number_or("gamma", default);
    p.check("gamma", gamma > 0.0, "greater than 0");
    if gamma > 0.0 { gamma } else { 1.0 }
}

fn power(p: &mut Params<'_>, default: Option<f64>) -> Shape {
    let power = match default {
        Some(default) => p.number_or("power", default),
        None => p.number("power"),
    };
    p.check("power", power > 0.0, "greater than 0");
    Shape::Poly(if power > 0.0 { power } else { 1.0 })
}

fn step(p: &mut Params<'_>, job: FromJob) -> Translation {
    let every = Clock::read(p, job).length("step_size", None, p);
    drops(base(1.0), gamma(p, 0.1), every).into()
}

/// The milestones in batches.
fn times(clock: &Clock, p: &mut Params<'_>) -> Vec<f64> {
    let texts = p.texts("milestones");
    texts.iter().map(|text| clock.batches("milestones", text, p)).collect()
}

fn multi_step(p: &mut Params<'_>, job: FromJob) -> Translation {
    let clock = Clock::read(p, job);
    let at = times(&clock, p);
    milestones(base, at, gamma(p, 0.1)).into()
}

fn constant_factor(p: &mut Params<'_>, job: FromJob) -> Translation {
    let end = Clock::read(p, job).time("t_max", Some("1dur"), p);
    seq([end], [base(p.number_or("alpha", 1.0 / 3.0)), base(1.0)]).into()
}

fn linear(p: &mut Params<'_>, job: FromJob) -> Translation {
    let over = Clock::read(p, job).length("t_max", Some("1dur"), p);
    line(base(p.number_or("alpha_i", 1.0 / 3.0)), base(p.number_or("alpha_f", 1.0)), over).into()
}

fn exponential(p: &mut Params<'_>, job: FromJob) -> Translation {
    let every = Clock::read(p, job).length("decay_period", Some("1ep"), p);
    let gamma = p.number("gamma");
    p.check("gamma", gamma > 0.0, "greater than 0");
    geometric(base(1.0), if gamma > 0.0 { gamma } else { 1.0 }, every).into()
}

fn cosine(p: &mut Params<'_>, job: FromJob) -> Translation {
    let over = Clock::read(p, job).length("t_max", Some("1dur"), p);
    ease(base(1.0), base(p.number_or("alpha_f", 0.0)), over, Shape::Cosine).into()
}

fn polynomial(p: &mut Params<'_>, job: FromJob) -> Translation {
    let over = Clock::read(p, job).length("t_max", Some("1dur"), p);
    let shape = power(p, None);
    ease(base(1.0), base(p.number_or("alpha_f", 0.0)), over, shape).into()
}

/// Each cycle has a whole number of batches, so the cycles are written out one by one, up to twice the duration.
fn warm_restarts(p: &mut Params<'_>, job: FromJob) -> Translation {
    let clock = Clock::read(p, job);
    let first = clock.length("t_0", None, p);
    let growth = p.number_or("t_mult", 1.0);
    p.check("t_mult", growth >= 1.0, "at least 1");
    let end = base(p.number_or("alpha_f", 0.0));
    let fall = |over| ease(base(1.0), end.clone(), over, Shape::Cosine);
    if growth <= 1.0 {
        return repeat(fall(1.0), first, 1.0, 1.0).into();
    }
    let horizon = 2.0 * clock.duration.unwrap_or(f64::MAX);
    let (mut boundaries, mut parts, mut length, mut at) = (Vec::new(), vec![fall(first)], first, first);
    while at <= horizon && at.is_finite() && parts.len() < MAX_CYCLES {
        boundaries.push(at);
        length = (growth * length).trunc();
        parts.push(fall(length));
        at += length;
    }
    if at <= horizon && at.is_finite() {
        p.wrong("t_0", format!("makes more than {MAX_CYCLES} cycles"));
    }
    seq(boundaries, parts).into()
}

/// When a warm-up ends, and how long its slope is: with `scale_warmup` the two differ, and the rate jumps.
struct Warmup {
    end: f64,
    slope: f64,
}

impl Warmup {
    fn read(clock: &Clock, p: &mut Params<'_>) -> Self {
        let unscaled = Clock { scale: 1.0, ..*clock };
        let end = unscaled.time("t_warmup", None, p);
        let slope = if p.flag_or("scale_warmup", false) { clock.time("t_warmup", None, p) } else { end };
        Self { end, slope }
    }

    fn before(&self, peak: S, rest: S) -> Translation {
        seq([self.end], [line(constant(0.0), peak, self.slope), rest]).into()
    }
}

/// A warm-up, and what is left of `t_max` after it.
fn warmup_and_rest(p: &mut Params<'_>, job: FromJob) -> (Warmup, f64) {
    let clock = Clock::read(p, job);
    let warmup = Warmup::read(&clock, p);
    let end = clock.length("t_max", Some("1dur"), p);
    if clock.duration.is_some_and(|duration| duration > end) {
        p.wrong("t_max", "is less than max_duration, where composer raises");
    }
    if end <= warmup.end {
        p.wrong("t_warmup", "must end before t_max");
    }
    let rest = (end - warmup.end).max(1.0);
    (warmup, rest)
}

/// The milestones count from the beginning, not from the end of the warm-up.
fn multi_step_with_warmup(p: &mut Params<'_>, job: FromJob) -> Translation {
    let clock = Clock::read(p, job);
    let warmup = Warmup::read(&clock, p);
    let at = times(&clock, p);
    if at.iter().any(|milestone| *milestone < warmup.end) {
        p.wrong("milestones", "must not come before the end of the warm-up");
    }
    let rest = shift(milestones(base, at, gamma(p, 0.1)), warmup.end);
    warmup.before(base(1.0), rest)
}

fn constant_with_warmup(p: &mut Params<'_>, job: FromJob) -> Translation {
    let (warmup, _) = warmup_and_rest(p, job);
    let alpha = p.number_or("alpha", 1.0);
    warmup.before(base(alpha), base(alpha))
}

fn linear_with_warmup(p: &mut Params<'_>, job: FromJob) -> Translation {
    let (warmup, rest) = warmup_and_rest(p, job);
    let (from, to) = (p.number_or("alpha_i", 1.0), p.number_or("alpha_f", 0.0));
    warmup.before(base(from), line(base(from), base(to), rest))
}

fn cosine_with_warmup(p: &mut Params<'_>, job: FromJob) -> Translation {
    let (warmup, rest) = warmup_and_rest(p, job);
    let end = base(p.number_or("alpha_f", 0.0));
    warmup.before(base(1.0), ease(base(1.0), end, rest, Shape::Cosine))
}

fn polynomial_with_warmup(p: &mut Params<'_>, job: FromJob) -> Translation {
    let (warmup, rest) = warmup_and_rest(p, job);
    let shape = power(p, Some(2.0));
    warmup.before(base(1.0), ease(base(1.0), base(p.number_or("alpha_f", 0.0)), rest, shape))
}
