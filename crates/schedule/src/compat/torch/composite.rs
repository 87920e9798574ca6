//! Schedulers made of others: one after another, or all of them on the same rate.

use serde_json::{Map, Value};

use super::TABLE;
use crate::compat::{
    Place, Translation,
    algebra::{base, chain, seq, steps},
    lookup,
};
use lrs_model::{
    library::{Params, unknown},
    schedule::{ChainLink, Ease, Geometric, Resets, ScheduleSpec as S, Sequence, Stair},
    violation::Violations,
};

/// One of the schedulers in a list.
struct Member {
    scheduler: String,
    params: Map<String, Value>,
    rate: S,
}

/// Each part starts from the base rate, in its own time.
pub(super) fn sequential(p: &mut Params<'_>, place: Place) -> Translation {
    super::last_epoch(p);
    let parts = members(p, place);
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
    let boundaries: Vec<f64> = milestones.into_iter().map(steps).collect();
    seq(boundaries, parts.into_iter().map(|part| part.rate).collect::<Vec<_>>()).into()
}

/// Every member scales what the others left. As long as all of them merely scale the base rate, that is a product;
/// otherwise what each does depends on the steps before, and it is a chain.
pub(super) fn chained(p: &mut Params<'_>, place: Place) -> Translation {
    p.only("optimizer", &[], "is not used: the job has the parameter groups");
    let members = members(p, place);
    if !p.is_fine() {
        return base(1.0).into();
    }
    let links: Vec<_> = members.iter().enumerate().map(|(i, member)| link(i, member, p)).collect();
    if members.iter().all(|member| scales(member, place)) {
        return S::Product(members.into_iter().map(|member| member.rate).enumerate().map(in_a_product).collect())
            .into();
    }
    for_the_job(links, p, place).into()
}

/// The first factor brings the base rate, and each other one is a number.
fn in_a_product((i, rate): (usize, S)) -> S {
    if i == 0 { rate } else { as_number(rate) }
}

/// What scales the base rate, as what scales 1.
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
pub(super) fn for_the_job(links: Vec<ChainLink>, p: &mut Params<'_>, place: Place) -> S {
    const MOST: u64 = crate::chain::MAX_STEPS;
    let length = place.training.total_steps.filter(|length| *length <= MOST);
    if length.is_none() {
        p.wrong(
            "",
            format!(
                "make rates that have to be computed one from another: that needs the job's total_steps, at most {MOST}, \
                 and a scheduler that counts steps"
            ),
        );
    }
    chain(links, length.unwrap_or(0))
}

/// Whether a member does nothing but scale the base rate, whatever the others do.
fn scales(member: &Member, place: Place) -> bool {
    let number = |name: &str| member.params.get(name).and_then(Value::as_f64);
    match member.scheduler.as_str() {
        // Past its end it adds to what it finds.
        "CosineAnnealingLR" => {
            let ends_in_time =
                place.training.total_steps.zip(number("T_max")).is_some_and(|(job, end)| steps(job) <= end + 1.0);
            number("eta_min").unwrap_or(0.0) == 0.0 && ends_in_time
        }
        "StepLR" | "MultiStepLR" | "ConstantLR" | "LinearLR" | "ExponentialLR" | "PolynomialLR" => true,
        _ => false,
    }
}

/// What a member does at each step to the rate that it finds.
fn link(i: usize, member: &Member, p: &mut Params<'_>) -> ChainLink {
    let mut link =
        ChainLink { schedule: member.rate.clone(), floor: 0.0, running: false, resets: Resets::At(Vec::new()) };
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
        // These two set the rate, whatever it was.
        ("LambdaLR" | "CosineAnnealingWarmRestarts", _) => link.resets = Resets::Always,
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
            link.resets = Resets::At([0].into_iter().chain(begins).collect());
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
fn members(p: &mut Params<'_>, place: Place) -> Vec<Member> {
    let listed = p.objects("schedulers");
    if listed.is_empty() {
        p.wrong("schedulers", "must have at least one entry");
    }
    let read = |(i, object)| p.within(format!("schedulers[{i}]"), |v| member(object, place, v));
    listed.into_iter().enumerate().filter_map(read).collect()
}

fn member(object: &Map<String, Value>, place: Place, v: &mut Violations) -> Option<Member> {
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
    let Some(translate) = lookup(TABLE, &scheduler) else {
        let names: Vec<_> = TABLE.iter().map(|(name, _)| *name).collect();
        v.add("scheduler", unknown("scheduler of torch", &scheduler, &names));
        return None;
    };
    let rate = v.within("params", |v| {
        let mut p = Params::new(&params, v);
        let translation = translate(&mut p, place);
        p.finish();
        translation.rate
    });
    Some(Member { scheduler, params, rate })
}
