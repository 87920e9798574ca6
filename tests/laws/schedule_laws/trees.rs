//! Random schedules.

use lrs_model::{
    MAX_STEP,
    schedule::{
        Clamp, Ease, Geometric, Pace, Past, PowerLaw, Repeat, ScheduleSpec as S, Sequence, Shape, Shift, Stair,
    },
    violation::Violations,
};
use lrs_schedule::expand;

use proptest::prelude::*;
use serde_json::{Value, json};

/// A step as time.
pub fn time(step: u64) -> f64 {
    f64::from(u32::try_from(step >> 32).expect("32 bits")) * 4_294_967_296.0
        + f64::from(u32::try_from(step & 0xffff_ffff).expect("32 bits"))
}

/// Any step; the first, the last and small steps are frequent.
pub fn any_step() -> impl Strategy<Value = u64> {
    prop_oneof![Just(0), Just(MAX_STEP), 0_u64..2000, 0..=MAX_STEP]
}

/// A moderate value, on a grid so that equal values occur.
pub fn value() -> impl Strategy<Value = f64> {
    (-80_i32..=80).prop_map(|eighths| f64::from(eighths) / 8.0)
}

/// A moderate length; sums of such lengths are exact.
fn length() -> impl Strategy<Value = f64> {
    (1_i32..=800).prop_map(|quarters| f64::from(quarters) / 4.0)
}

/// A shape that is exactly 0 at its beginning and 1 at its end.
pub fn reaching_shape() -> impl Strategy<Value = Shape> {
    let k = || 0.1_f64..4.0;
    prop_oneof![
        Just(Shape::Linear),
        Just(Shape::Cosine),
        Just(Shape::OneMinusSqrt),
        k().prop_map(Shape::CosinePower),
        k().prop_map(Shape::Poly),
        k().prop_map(Shape::Power),
        (0.01_f64..0.99).prop_map(Shape::Exp),
        (1.01_f64..5.0).prop_map(Shape::Exp),
    ]
}

fn shape() -> impl Strategy<Value = Shape> {
    prop_oneof![
        4 => reaching_shape(),
        1 => (-8.0_f64..0.0, 0.0_f64..8.0).prop_map(|(lower, upper)| Shape::Tanh { lower, upper }),
        1 => (2.0_f64..100.0).prop_map(Shape::Log),
    ]
}

fn floor() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(json!(null)),
        (0.0_f64..1.0).prop_map(|x| json!({"min_lr": x})),
        (0.0_f64..1.0).prop_map(|x| json!({"min_factor": x})),
    ]
}

/// A named form without a schedule in it. Sometimes it has no length, if it may.
fn named() -> impl Strategy<Value = S> {
    let some_steps = || prop::option::of(1_u64..500);
    let form = |form: &'static str| move |params: Value| S::named(form, params);
    let decay =
        move || (some_steps(), floor()).prop_map(|(steps, floor)| json!({"decay_steps": steps, "floor": floor}));
    prop_oneof![
        decay().prop_map(form("cosine")),
        decay().prop_map(form("linear")),
        (decay(), 0.2_f64..3.0).prop_map(|(mut params, power)| {
            params["power"] = json!(power);
            S::named("polynomial", params)
        }),
        (1_u64..300, 0.1_f64..1.2)
            .prop_map(|(step_size, gamma)| S::named("step", json!({"step_size": step_size, "gamma": gamma}))),
        (prop::collection::vec(0_u64..500, 0..4), 0.1_f64..1.2).prop_map(|(mut milestones, gamma)| {
            milestones.sort_unstable();
            S::named("multi_step", json!({"milestones": milestones, "gamma": gamma}))
        }),
        (0.5_f64..1.0, 1_u64..100)
            .prop_map(|(gamma, steps)| S::named("exponential", json!({"gamma": gamma, "decay_steps": steps}))),
        (1_u64..100).prop_map(|timescale| S::named("inverse_sqrt", json!({"timescale": timescale}))),
        (prop::option::of(2_u64..500), 0.01_f64..0.99, shape()).prop_map(|(total_steps, pct_start, shape)| {
            S::named("one_cycle", json!({"total_steps": total_steps, "pct_start": pct_start, "shape": shape}))
        }),
        (0_u64..50, 1_u64..50, prop::option::of(100_u64..500), floor(), shape()).prop_map(
            |(warmup, decay, total, floor, shape)| {
                let steps = json!({"warmup_steps": warmup, "decay_steps": decay, "total_steps": total,
                    "floor": floor, "shape": shape});
                S::named("wsd", steps)
            }
        ),
        (1_u64..100, prop_oneof![Just(1.0), Just(1.5), Just(2.0)], 0.0_f64..1.2, floor()).prop_map(
            |(first, growth, scale, floor)| {
                let params = json!({"first_steps": first, "growth": growth, "scale": scale, "floor": floor});
                S::named("cosine_restarts", params)
            }
        ),
        (1_u64..100, some_steps(), floor(), 0.0_f64..1.2).prop_map(|(up, down, floor, scale)| {
            S::named("cyclic", json!({"up_steps": up, "down_steps": down, "floor": floor, "scale": scale}))
        }),
    ]
}

fn leaf() -> impl Strategy<Value = S> {
    prop_oneof![value().prop_map(S::Constant), value().prop_map(S::Base)]
}

/// Changes of time and combinations of `inner`. They keep a piecewise constant curve piecewise constant.
fn arranged(inner: impl Strategy<Value = S> + Clone + 'static) -> impl Strategy<Value = S> {
    let many = || prop::collection::vec(inner.clone(), 1..4);
    prop_oneof![
        many().prop_map(|factors| S::Product { factors }),
        many().prop_map(|terms| S::Sum { terms }),
        prop::collection::vec((inner.clone(), length()), 1..4).prop_map(|parts| {
            let mut begin = -50.0;
            let (parts, mut boundaries): (Vec<_>, Vec<_>) = parts
                .into_iter()
                .map(|(part, length)| {
                    begin += length;
                    (part, begin)
                })
                .unzip();
            boundaries.pop();
            S::Seq(Sequence { boundaries, parts })
        }),
        (inner.clone(), length()).prop_map(|(schedule, every)| S::Stair(Box::new(Stair { schedule, every }))),
        (inner.clone(), 1_u64..5, 1_u64..8, any::<bool>()).prop_map(|(schedule, units, steps, whole)| {
            // What is left of the job is counted in another unit, so lengths have to be written out.
            let schedule = expand(&schedule, Some(400), &mut Violations::new());
            S::Pace(Box::new(Pace { schedule, units, steps, whole, unit: None }))
        }),
        (inner.clone(), -40_i32..200)
            .prop_map(|(schedule, steps)| S::Shift(Box::new(Shift { schedule, steps: f64::from(steps) / 2.0 }))),
        (inner.clone(), prop::option::of(inner.clone()), prop::option::of(inner.clone()))
            .prop_map(|(schedule, min, max)| S::Clamp(Box::new(Clamp { schedule, min, max }))),
        (
            inner.clone(),
            length(),
            prop_oneof![Just(1.0), Just(1.25), Just(2.0)],
            prop_oneof![Just(1.0), Just(0.5), Just(0.0)],
            prop::option::of(0_u64..6),
            inner,
        )
            .prop_map(|(body, first, growth, scale, limit, after)| {
                // Without a limit nothing follows, and a form that follows has no length.
                let after = if limit.is_some() { after } else { S::Constant(0.0) };
                S::Repeat(Box::new(Repeat { body, first, growth, scale, limit, after }))
            }),
    ]
}

fn curved(inner: impl Strategy<Value = S> + Clone + 'static) -> impl Strategy<Value = S> {
    let past = prop_oneof![Just(Past::Hold), Just(Past::Continue)];
    prop_oneof![
        (
            inner.clone(),
            inner.clone(),
            prop_oneof![Just(0.0), length()],
            shape(),
            past,
            prop_oneof![Just(1.0), 0.3_f64..3.0]
        )
            .prop_map(|(start, end, over, shape, past, warp)| {
                S::Ease(Box::new(Ease { start, end, over, shape, past, warp }))
            }),
        (inner.clone(), 0.5_f64..1.1, length()).prop_map(|(value, rate, every)| S::Geometric(Box::new(Geometric {
            value,
            rate,
            every
        }))),
        (inner.clone(), length(), -1.0_f64..2.0).prop_map(|(value, tau, exponent)| S::PowerLaw(Box::new(PowerLaw {
            value,
            tau,
            exponent
        }))),
        (0_u64..100, 0.0_f64..1.0, shape(), inner).prop_map(|(warmup_steps, start_factor, shape, schedule)| {
            let params = json!({"warmup_steps": warmup_steps, "start_factor": start_factor, "shape": shape,
                "schedule": schedule});
            S::named("warmup", params)
        }),
    ]
}

/// A schedule of algebra and named forms with moderate parameters. Forms that take their length from the horizon may
/// find too little of it left, so they get what they need here.
pub fn written_form() -> impl Strategy<Value = S> + Clone {
    let with_length = named().prop_map(|spec| expand(&spec, Some(400), &mut Violations::new()));
    prop_oneof![leaf(), with_length]
        .prop_recursive(4, 24, 4, |inner| prop_oneof![arranged(inner.clone()), curved(inner)])
        .boxed()
}

/// Any schedule: as [`written_form`], or a named form as it stands.
pub fn any_form() -> impl Strategy<Value = S> + Clone {
    prop_oneof![3 => written_form(), 1 => named()].boxed()
}

/// A schedule that is constant but for its jumps.
pub fn flat_form() -> impl Strategy<Value = S> + Clone {
    leaf().prop_recursive(4, 24, 4, arranged).boxed()
}
