//! Schedulers made of other schedulers: one after another, or all of them on the same rate.

use serde_json::{Map, Value};

use super::arguments::last_epoch;
use crate::{
    chain::MAX_STEPS,
    compat::{
        algebra::{base, chain, seq},
        library::{FromJob, Translation, inner_rate},
    },
};
use lrs_model::{
    library::Params,
    number::exact,
    schedule::{ChainLink, Ease, Geometric, ScheduleSpec as S, Sequence, Stair},
    violation::Violations,
};

/// One of the schedulers in a list.
struct Member {
    scheduler: String,
    params: Map<String, Value>,
    rate: S,
}

/// Each part starts from the base rate, in its own time.
pub(super) fn sequential(p: &mut Params<'_>, job: FromJob) -> Translation {
    last_epoch(p);
    let parts = members(p, job);
    for (i, part) in parts.iter().enumerate() {
        if matches!(part.scheduler.as_str(), "SequentialLR" | "ChainedScheduler") {
            p.wrong(
                format!("schedulers[{i}].scheduler"),
                "is a composite, which torch advances by a step of its own here (pytorch issue 196243): write its parts \
                 into this list, or put the SequentialLR into a ChainedScheduler",
            );
        }
    }
    let milestones = p.wholes("milestones");
    if !parts.is_empty() && milestones.len() + 1 != parts.len() {
        let found = milestones.len();
        p.wrong(
            "milestones",
            format!("{found} are not allowed: must be one fewer than the {} schedulers", parts.len()),
        );
        return base(1.0).into();
    }
    p.check("milestones", milestones.is_sorted(), "in rising order");
    let boundaries: Vec<f64> = milestones.into_iter().map(exact).collect();
    seq(boundaries, parts.into_iter().map(|part| part.rate).collect::<Vec<_>>()).into()
}

/// Every member scales the rate that the others left. If all of them only scale the base rate, the result is a product;
/// otherwise each rate depends on the steps before, and the result is a chain.
pub(super) fn chained(p: &mut Params<'_>, job: FromJob) -> Translation {
    p.only("optimizer", &[], "is not used: the job has the parameter groups");
    let members = members(p, job);
    if !p.is_fine() {
        return base(1.0).into();
    }
    let links: Vec<_> = members.iter().enumerate().map(|(i, member)| link(i, member, p)).collect();
    if members.iter().all(|member| scales(member, job)) {
        let rates = members.into_iter().map(|member| member.rate);
        return S::Product { factors: rates.enumerate().map(in_a_product).collect() }.into();
    }
    for_the_job(links, p, job).into()
}

/// The first factor has the base rate in it; the others are numbers.
fn in_a_product((i, rate): (usize, S)) -> S {
    if i == 0 { rate } else { as_number(rate) }
}

/// A schedule of multiples of the base rate as one of absolute numbers.
fn as_number(rate: S) -> S {
    match rate {
        S::Base(factor) => S::Constant(factor),
        S::Seq(seq) => S::Seq(Sequence { parts: seq.parts.into_iter().map(as_number).collect(), ..seq }),
        S::Stair(stair) => S::Stair(Box::new(Stair { schedule: as_number(stair.schedule), ..*stair })),
        S::Geometric(fall) => S::Geometric(Box::new(Geometric { value: as_number(fall.value), ..*fall })),
        S::Ease(ease) => S::Ease(Box::new(Ease { start: as_number(ease.start), end: as_number(ease.end), ..*ease })),
        other => other,
    }
}

/// Links that take turns as long as the job lasts.
pub(super) fn for_the_job(links: Vec<ChainLink>, p: &mut Params<'_>, job: FromJob) -> S {
    let length = job.training.total_steps.filter(|length| *length <= MAX_STEPS);
    if length.is_none() {
        p.wrong(
            "",
            format!(
                "make rates that have to be computed one from another: that needs the job's total_steps, at most {MAX_STEPS}, \
                 and a scheduler that counts steps"
            ),
        );
    }
    chain(links, length.unwrap_or(0))
}

/// Whether a member only scales the base rate, whatever the others do.
fn scales(member: &Member, job: FromJob) -> bool {
    let number = |name: &str| member.params.get(name).and_then(Value::as_f64);
    match member.scheduler.as_str() {
        // Past its end it adds to the rate that it finds.
        "CosineAnnealingLR" => {
            let ends_in_time =
                job.training.total_steps.zip(number("T_max")).is_some_and(|(job, end)| exact(job) <= end + 1.0);
            number("eta_min").unwrap_or(0.0) == 0.0 && ends_in_time
        }
        "StepLR" | "MultiStepLR" | "ConstantLR" | "LinearLR" | "ExponentialLR" | "PolynomialLR" => true,
        _ => false,
    }
}

/// How a member changes, at each step, the rate that it finds.
fn link(i: usize, member: &Member, p: &mut Params<'_>) -> ChainLink {
    let mut link = ChainLink { schedule: member.rate.clone(), ..ChainLink::default() };
    match (member.scheduler.as_str(), &member.rate) {
        ("CosineAnnealingLR", S::Ease(fall)) => {
            // Above its floor: from 1 to 0, and up again.
            if let S::Constant(floor) = fall.end {
                link.floor = floor;
            }
            link.schedule = S::Ease(Box::new(Ease { end: S::Constant(0.0), ..(**fall).clone() }));
        }
        ("MultiplicativeLR", S::Chain(chain)) => {
            if let [running] = chain.links.as_slice() {
                link = running.clone();
            }
        }
        // These two set the rate, whatever it was before.
        ("LambdaLR" | "CosineAnnealingWarmRestarts", _) => link.always_resets = true,
        // Each part begins from the base rate.
        ("SequentialLR", S::Seq(parts)) => {
            let floors = member.params.get("schedulers").and_then(Value::as_array).into_iter().flatten();
            let has_floor = |part: &Value| part["params"]["eta_min"].as_f64().is_some_and(|floor| floor != 0.0);
            if floors.clone().any(has_floor) || floors.clone().any(|part| sets_rates(part["scheduler"].as_str())) {
                p.wrong(
                    format!("schedulers[{i}]"),
                    "has a part with a floor or rates of its own, which is not translated within a ChainedScheduler",
                );
            }
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "milestones, which were whole")]
            let begins = parts.boundaries.iter().map(|boundary| *boundary as u64);
            link.resets = [0].into_iter().chain(begins).collect();
        }
        ("SWALR" | "ChainedScheduler", _) => p.wrong(
            format!("schedulers[{i}].scheduler"),
            format!("{} is not translated within a ChainedScheduler: write its parts into this list", member.scheduler),
        ),
        _ => {}
    }
    link
}

/// Whether a scheduler sets rates instead of scaling them.
fn sets_rates(scheduler: Option<&str>) -> bool {
    scheduler
        .is_none_or(|name| matches!(name, "LambdaLR" | "CosineAnnealingWarmRestarts" | "MultiplicativeLR" | "SWALR"))
}

/// The members in the list `schedulers`.
fn members(p: &mut Params<'_>, job: FromJob) -> Vec<Member> {
    let listed = p.objects("schedulers");
    if listed.is_empty() {
        p.wrong("schedulers", "must have at least one entry");
    }
    let read = |(i, object)| p.within(format!("schedulers[{i}]"), |v| member(object, job, v));
    listed.into_iter().enumerate().filter_map(read).collect()
}

fn member(object: &Map<String, Value>, job: FromJob, v: &mut Violations) -> Option<Member> {
    let mut p = Params::new(object, v);
    let scheduler = p.text_or("scheduler", "");
    let params = p.object("params").cloned().unwrap_or_default();
    p.finish();
    match scheduler.as_str() {
        "ReduceLROnPlateau" => {
            v.add("scheduler", "follows a metric, which torch refuses here: write it under `controllers`");
            return None;
        }
        "CyclicLR" | "OneCycleLR" => {
            v.add("scheduler", "sets rates of its own and the base rate of all others here: give it a job of its own");
            return None;
        }
        _ => {}
    }
    let rate = inner_rate(("scheduler", "scheduler of torch"), &scheduler, &params, job, v)?;
    Some(Member { scheduler, params, rate })
}
