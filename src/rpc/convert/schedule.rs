//! Schedules: the algebra here, the named forms in `named`, shapes and floors in `shape`.

use super::{int64, optional_whole, step, whole};
use lrs_model::{
    MAX_STEP,
    schedule::{
        Chain, ChainLink, Clamp, Ease, Geometric, Pace, Past, PowerLaw, Repeat, Resets, ScheduleSpec, Sequence, Shift,
        Stair,
    },
    violation::Violations,
};
use lrs_proto as proto;
use lrs_proto::schedule::Form;

pub(in crate::rpc::convert) mod library;
mod named;
mod shape;

type Wire = Option<Box<proto::Schedule>>;

/// A schedule, with every default written out.
pub fn from_proto(schedule: proto::Schedule, v: &mut Violations) -> ScheduleSpec {
    if library::is_named(&schedule) {
        return ScheduleSpec::Library(library::from_proto(schedule, v));
    }
    let Some(form) = schedule.form else {
        v.add("", "is required: exactly one form, such as `base` or `cosine`, or a `library` and its `scheduler`");
        return ScheduleSpec::Base(1.0);
    };
    match form {
        Form::Constant(value) => ScheduleSpec::Constant(value),
        Form::Base(factor) => ScheduleSpec::Base(factor),
        Form::Ease(form) => v.within("ease", |v| ScheduleSpec::Ease(Box::new(ease(*form, v)))),
        Form::Geometric(form) => v.within("geometric", |v| ScheduleSpec::Geometric(Box::new(geometric(*form, v)))),
        Form::PowerLaw(form) => v.within("power_law", |v| ScheduleSpec::PowerLaw(Box::new(power_law(*form, v)))),
        Form::Seq(form) => v.within("seq", |v| {
            ScheduleSpec::Seq(Sequence { boundaries: form.boundaries, parts: list("parts", form.parts, v) })
        }),
        Form::Repeat(form) => v.within("repeat", |v| ScheduleSpec::Repeat(Box::new(repeat(*form, v)))),
        Form::Stair(form) => v.within("stair", |v| {
            let schedule = required("schedule", form.schedule, v);
            ScheduleSpec::Stair(Box::new(Stair { schedule, every: form.every }))
        }),
        Form::Shift(form) => v.within("shift", |v| {
            let schedule = required("schedule", form.schedule, v);
            ScheduleSpec::Shift(Box::new(Shift { schedule, steps: form.steps }))
        }),
        Form::Product(form) => v.within("product", |v| ScheduleSpec::Product(list("factors", form.factors, v))),
        Form::Sum(form) => v.within("sum", |v| ScheduleSpec::Sum(list("terms", form.terms, v))),
        Form::Clamp(form) => v.within("clamp", |v| ScheduleSpec::Clamp(Box::new(clamp(*form, v)))),
        Form::Pace(form) => v.within("pace", |v| ScheduleSpec::Pace(Box::new(pace(*form, v)))),
        Form::Chain(form) => v.within("chain", |v| ScheduleSpec::Chain(chain(form, v))),
        named => named::from_proto(named, v),
    }
}

/// A schedule on the wire.
#[must_use]
pub fn to_proto(schedule: &ScheduleSpec) -> proto::Schedule {
    let form = match schedule {
        ScheduleSpec::Constant(value) => Form::Constant(*value),
        ScheduleSpec::Base(factor) => Form::Base(*factor),
        ScheduleSpec::Ease(form) => Form::Ease(Box::new(ease_to_proto(form))),
        ScheduleSpec::Geometric(form) => Form::Geometric(Box::new(proto::Geometric {
            value: boxed(&form.value),
            rate: form.rate,
            every: Some(form.every),
        })),
        ScheduleSpec::PowerLaw(form) => Form::PowerLaw(Box::new(proto::PowerLaw {
            value: boxed(&form.value),
            tau: form.tau,
            exponent: form.exponent,
        })),
        ScheduleSpec::Seq(form) => Form::Seq(proto::Sequence {
            boundaries: form.boundaries.clone(),
            parts: form.parts.iter().map(to_proto).collect(),
        }),
        ScheduleSpec::Repeat(form) => Form::Repeat(Box::new(repeat_to_proto(form))),
        ScheduleSpec::Stair(form) => {
            Form::Stair(Box::new(proto::Stair { schedule: boxed(&form.schedule), every: form.every }))
        }
        ScheduleSpec::Shift(form) => {
            Form::Shift(Box::new(proto::Shift { schedule: boxed(&form.schedule), steps: form.steps }))
        }
        ScheduleSpec::Product(factors) => {
            Form::Product(proto::Product { factors: factors.iter().map(to_proto).collect() })
        }
        ScheduleSpec::Sum(terms) => Form::Sum(proto::Sum { terms: terms.iter().map(to_proto).collect() }),
        ScheduleSpec::Clamp(form) => Form::Clamp(Box::new(proto::Clamp {
            schedule: boxed(&form.schedule),
            min: form.min.as_ref().and_then(boxed),
            max: form.max.as_ref().and_then(boxed),
        })),
        ScheduleSpec::Pace(form) => Form::Pace(Box::new(proto::Pace {
            schedule: boxed(&form.schedule),
            units: Some(int64(form.units)),
            steps: Some(int64(form.steps)),
            whole: form.whole,
        })),
        ScheduleSpec::Chain(form) => Form::Chain(chain_to_proto(form)),
        ScheduleSpec::Library(form) => return library::to_proto(form),
        ScheduleSpec::Warmup(form) => named::warmup_to_proto(form),
        ScheduleSpec::Cosine(form) => named::cosine_to_proto(form),
        ScheduleSpec::Linear(form) => named::linear_to_proto(form),
        ScheduleSpec::Polynomial(form) => named::polynomial_to_proto(form),
        ScheduleSpec::Step(form) => named::step_to_proto(form),
        ScheduleSpec::MultiStep(form) => named::multi_step_to_proto(form),
        ScheduleSpec::Exponential(form) => named::exponential_to_proto(form),
        ScheduleSpec::InverseSqrt(form) => named::inverse_sqrt_to_proto(*form),
        ScheduleSpec::OneCycle(form) => named::one_cycle_to_proto(form),
        ScheduleSpec::Wsd(form) => named::wsd_to_proto(form),
        ScheduleSpec::CosineRestarts(form) => named::cosine_restarts_to_proto(form),
        ScheduleSpec::Cyclic(form) => named::cyclic_to_proto(form),
    };
    proto::Schedule { form: Some(form), ..Default::default() }
}

fn pace(form: proto::Pace, v: &mut Violations) -> Pace {
    Pace {
        schedule: required("schedule", form.schedule, v),
        units: optional_whole(v, "units", form.units, 1, MAX_STEP).unwrap_or(1),
        steps: optional_whole(v, "steps", form.steps, 1, MAX_STEP).unwrap_or(1),
        whole: form.whole,
    }
}

fn chain(form: proto::Chain, v: &mut Violations) -> Chain {
    let read = |(i, link): (usize, proto::ChainLink)| v.within(format_args!("links[{i}]"), |v| chain_link(link, v));
    let links = form.links.into_iter().enumerate().map(read).collect();
    Chain { links, steps: whole(v, "steps", form.steps, 0, MAX_STEP) }
}

fn chain_link(link: proto::ChainLink, v: &mut Violations) -> ChainLink {
    let read = |(i, &at): (usize, &i64)| step(v, format_args!("resets[{i}]"), at);
    let resets = link.resets.iter().enumerate().map(read).collect();
    ChainLink {
        schedule: match link.schedule {
            Some(schedule) => v.within("schedule", |v| from_proto(schedule, v)),
            None => required("schedule", None, v),
        },
        floor: link.floor,
        running: link.running,
        resets: if link.always_resets { Resets::Always } else { Resets::At(resets) },
    }
}

fn chain_to_proto(form: &Chain) -> proto::Chain {
    let link_to_proto = |link: &ChainLink| proto::ChainLink {
        schedule: Some(to_proto(&link.schedule)),
        floor: link.floor,
        running: link.running,
        resets: match &link.resets {
            Resets::At(steps) => steps.iter().copied().map(int64).collect(),
            Resets::Always => Vec::new(),
        },
        always_resets: link.resets == Resets::Always,
    };
    proto::Chain { links: form.links.iter().map(link_to_proto).collect(), steps: int64(form.steps) }
}

fn ease(form: proto::Ease, v: &mut Violations) -> Ease {
    Ease {
        start: optional("start", form.start, v).unwrap_or(ScheduleSpec::Base(1.0)),
        end: optional("end", form.end, v).unwrap_or(ScheduleSpec::Constant(0.0)),
        over: form.over,
        shape: shape::from_proto(form.shape, v).unwrap_or_default(),
        past: match proto::Past::try_from(form.past) {
            Ok(proto::Past::Unspecified | proto::Past::Hold) => Past::Hold,
            Ok(proto::Past::Continue) => Past::Continue,
            Err(_) => {
                v.refuse("past", form.past, "PAST_HOLD or PAST_CONTINUE");
                Past::Hold
            }
        },
        warp: form.warp.unwrap_or(1.0),
    }
}

fn ease_to_proto(form: &Ease) -> proto::Ease {
    proto::Ease {
        start: boxed(&form.start),
        end: boxed(&form.end),
        over: form.over,
        shape: Some(shape::to_proto(form.shape)),
        past: match form.past {
            Past::Hold => proto::Past::Hold,
            Past::Continue => proto::Past::Continue,
        }
        .into(),
        warp: Some(form.warp),
    }
}

fn geometric(form: proto::Geometric, v: &mut Violations) -> Geometric {
    Geometric { value: value(form.value, v), rate: form.rate, every: form.every.unwrap_or(1.0) }
}

fn power_law(form: proto::PowerLaw, v: &mut Violations) -> PowerLaw {
    PowerLaw { value: value(form.value, v), tau: form.tau, exponent: form.exponent }
}

fn repeat(form: proto::Repeat, v: &mut Violations) -> Repeat {
    Repeat {
        body: required("body", form.body, v),
        first: form.first,
        growth: form.growth.unwrap_or(1.0),
        scale: form.scale.unwrap_or(1.0),
        limit: optional_whole(v, "limit", form.limit, 0, MAX_STEP),
        after: optional("after", form.after, v).unwrap_or(ScheduleSpec::Constant(0.0)),
    }
}

fn repeat_to_proto(form: &Repeat) -> proto::Repeat {
    proto::Repeat {
        body: boxed(&form.body),
        first: form.first,
        growth: Some(form.growth),
        scale: Some(form.scale),
        limit: form.limit.map(int64),
        after: boxed(&form.after),
    }
}

fn clamp(form: proto::Clamp, v: &mut Violations) -> Clamp {
    Clamp {
        schedule: required("schedule", form.schedule, v),
        min: optional("min", form.min, v),
        max: optional("max", form.max, v),
    }
}

fn value(schedule: Wire, v: &mut Violations) -> ScheduleSpec {
    optional("value", schedule, v).unwrap_or(ScheduleSpec::Base(1.0))
}

fn required(field: &str, schedule: Wire, v: &mut Violations) -> ScheduleSpec {
    v.within(field, |v| from_proto(schedule.map_or_else(proto::Schedule::default, |schedule| *schedule), v))
}

fn optional(field: &str, schedule: Wire, v: &mut Violations) -> Option<ScheduleSpec> {
    schedule.map(|schedule| v.within(field, |v| from_proto(*schedule, v)))
}

fn list(field: &str, schedules: Vec<proto::Schedule>, v: &mut Violations) -> Vec<ScheduleSpec> {
    v.within(field, |v| {
        let read = |(i, schedule)| v.within(format_args!("[{i}]"), |v| from_proto(schedule, v));
        schedules.into_iter().enumerate().map(read).collect()
    })
}

#[expect(clippy::unnecessary_wraps, reason = "prost holds every message within a message in an option")]
fn boxed(schedule: &ScheduleSpec) -> Wire {
    Some(Box::new(to_proto(schedule)))
}

#[cfg(test)]
mod tests;
