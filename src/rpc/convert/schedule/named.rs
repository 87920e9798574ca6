//! The named forms of schedules.

use super::{
    boxed, int64, optional, optional_whole,
    shape::{self, floor_from_proto, floor_to_proto},
};
use crate::rpc::convert::{step, whole};
use lrs_model::{
    MAX_STEP,
    schedule::{
        CosineRestarts, Cyclic, Decay, Exponential, InverseSqrt, MultiStep, OneCycle, Polynomial, ScheduleSpec, Shape,
        StepDecay, Warmup, WarmupStableDecay,
    },
    violation::Violations,
};
use lrs_proto as proto;
use lrs_proto::schedule::Form;

/// What `step` and `multi_step` multiply by where nothing is said.
const DEFAULT_GAMMA: f64 = 0.1;

/// One of the named forms.
pub(super) fn from_proto(form: Form, v: &mut Violations) -> ScheduleSpec {
    match form {
        Form::Warmup(form) => v.within("warmup", |v| ScheduleSpec::Warmup(Box::new(warmup(*form, v)))),
        Form::Cosine(form) => v.within("cosine", |v| ScheduleSpec::Cosine(decay(form.decay_steps, form.floor, v))),
        Form::Linear(form) => v.within("linear", |v| ScheduleSpec::Linear(decay(form.decay_steps, form.floor, v))),
        Form::Polynomial(form) => v.within("polynomial", |v| {
            let Decay { decay_steps, floor } = decay(form.decay_steps, form.floor, v);
            ScheduleSpec::Polynomial(Polynomial { decay_steps, floor, power: form.power.unwrap_or(1.0) })
        }),
        Form::Step(form) => v.within("step", |v| {
            let step_size = whole(v, "step_size", form.step_size, 1, MAX_STEP);
            ScheduleSpec::Step(StepDecay { step_size, gamma: form.gamma.unwrap_or(DEFAULT_GAMMA) })
        }),
        Form::MultiStep(form) => v.within("multi_step", |v| {
            let read = |(i, &at): (usize, &i64)| step(v, format_args!("milestones[{i}]"), at);
            let milestones = form.milestones.iter().enumerate().map(read).collect();
            ScheduleSpec::MultiStep(MultiStep { milestones, gamma: form.gamma.unwrap_or(DEFAULT_GAMMA) })
        }),
        Form::Exponential(form) => v.within("exponential", |v| {
            let decay_steps = optional_whole(v, "decay_steps", form.decay_steps, 1, MAX_STEP).unwrap_or(1);
            ScheduleSpec::Exponential(Exponential { gamma: form.gamma, decay_steps })
        }),
        Form::InverseSqrt(form) => v.within("inverse_sqrt", |v| {
            ScheduleSpec::InverseSqrt(InverseSqrt { timescale: whole(v, "timescale", form.timescale, 1, MAX_STEP) })
        }),
        Form::OneCycle(form) => v.within("one_cycle", |v| ScheduleSpec::OneCycle(one_cycle(form, v))),
        Form::Wsd(form) => v.within("wsd", |v| ScheduleSpec::Wsd(wsd(form, v))),
        Form::CosineRestarts(form) => v.within("cosine_restarts", |v| {
            ScheduleSpec::CosineRestarts(CosineRestarts {
                first_steps: whole(v, "first_steps", form.first_steps, 1, MAX_STEP),
                growth: form.growth.unwrap_or(1.0),
                scale: form.scale.unwrap_or(1.0),
                floor: floor_from_proto(form.floor),
            })
        }),
        Form::Cyclic(form) => v.within("cyclic", |v| {
            ScheduleSpec::Cyclic(Cyclic {
                up_steps: whole(v, "up_steps", form.up_steps, 1, MAX_STEP),
                down_steps: optional_whole(v, "down_steps", form.down_steps, 1, MAX_STEP),
                floor: floor_from_proto(form.floor),
                scale: form.scale.unwrap_or(1.0),
            })
        }),
        algebra => super::from_proto(proto::Schedule { form: Some(algebra), ..Default::default() }, v),
    }
}

fn warmup(form: proto::Warmup, v: &mut Violations) -> Warmup {
    Warmup {
        warmup_steps: step(v, "warmup_steps", form.warmup_steps),
        start_factor: form.start_factor,
        shape: shape::from_proto(form.shape, v).unwrap_or_default(),
        schedule: optional("schedule", form.schedule, v).unwrap_or(ScheduleSpec::Base(1.0)),
    }
}

fn decay(decay_steps: Option<i64>, floor: Option<proto::Floor>, v: &mut Violations) -> Decay {
    Decay { decay_steps: optional_whole(v, "decay_steps", decay_steps, 1, MAX_STEP), floor: floor_from_proto(floor) }
}

fn one_cycle(form: proto::OneCycle, v: &mut Violations) -> OneCycle {
    OneCycle {
        total_steps: optional_whole(v, "total_steps", form.total_steps, 2, MAX_STEP),
        pct_start: form.pct_start.unwrap_or(0.3),
        div_factor: form.div_factor.unwrap_or(25.0),
        final_div_factor: form.final_div_factor.unwrap_or(1e4),
        shape: shape::from_proto(form.shape, v).unwrap_or(Shape::Cosine),
    }
}

fn wsd(form: proto::WarmupStableDecay, v: &mut Violations) -> WarmupStableDecay {
    WarmupStableDecay {
        warmup_steps: step(v, "warmup_steps", form.warmup_steps),
        decay_steps: whole(v, "decay_steps", form.decay_steps, 1, MAX_STEP),
        total_steps: optional_whole(v, "total_steps", form.total_steps, 1, MAX_STEP),
        floor: floor_from_proto(form.floor),
        shape: shape::from_proto(form.shape, v).unwrap_or(Shape::Power(0.5)),
    }
}

pub(super) fn warmup_to_proto(form: &Warmup) -> Form {
    Form::Warmup(Box::new(proto::Warmup {
        warmup_steps: int64(form.warmup_steps),
        start_factor: form.start_factor,
        shape: Some(shape::to_proto(form.shape)),
        schedule: boxed(&form.schedule),
    }))
}

pub(super) fn cosine_to_proto(form: &Decay) -> Form {
    Form::Cosine(proto::Cosine { decay_steps: form.decay_steps.map(int64), floor: floor_to_proto(form.floor) })
}

pub(super) fn linear_to_proto(form: &Decay) -> Form {
    Form::Linear(proto::Linear { decay_steps: form.decay_steps.map(int64), floor: floor_to_proto(form.floor) })
}

pub(super) fn polynomial_to_proto(form: &Polynomial) -> Form {
    Form::Polynomial(proto::Polynomial {
        decay_steps: form.decay_steps.map(int64),
        floor: floor_to_proto(form.floor),
        power: Some(form.power),
    })
}

pub(super) fn step_to_proto(form: &StepDecay) -> Form {
    Form::Step(proto::StepDecay { step_size: int64(form.step_size), gamma: Some(form.gamma) })
}

pub(super) fn multi_step_to_proto(form: &MultiStep) -> Form {
    Form::MultiStep(proto::MultiStep {
        milestones: form.milestones.iter().copied().map(int64).collect(),
        gamma: Some(form.gamma),
    })
}

pub(super) fn exponential_to_proto(form: &Exponential) -> Form {
    Form::Exponential(proto::Exponential { gamma: form.gamma, decay_steps: Some(int64(form.decay_steps)) })
}

pub(super) fn inverse_sqrt_to_proto(form: InverseSqrt) -> Form {
    Form::InverseSqrt(proto::InverseSqrt { timescale: int64(form.timescale) })
}

pub(super) fn one_cycle_to_proto(form: &OneCycle) -> Form {
    Form::OneCycle(proto::OneCycle {
        total_steps: form.total_steps.map(int64),
        pct_start: Some(form.pct_start),
        div_factor: Some(form.div_factor),
        final_div_factor: Some(form.final_div_factor),
        shape: Some(shape::to_proto(form.shape)),
    })
}

pub(super) fn wsd_to_proto(form: &WarmupStableDecay) -> Form {
    Form::Wsd(proto::WarmupStableDecay {
        warmup_steps: int64(form.warmup_steps),
        decay_steps: int64(form.decay_steps),
        total_steps: form.total_steps.map(int64),
        floor: floor_to_proto(form.floor),
        shape: Some(shape::to_proto(form.shape)),
    })
}

pub(super) fn cosine_restarts_to_proto(form: &CosineRestarts) -> Form {
    Form::CosineRestarts(proto::CosineRestarts {
        first_steps: int64(form.first_steps),
        growth: Some(form.growth),
        scale: Some(form.scale),
        floor: floor_to_proto(form.floor),
    })
}

pub(super) fn cyclic_to_proto(form: &Cyclic) -> Form {
    Form::Cyclic(proto::Cyclic {
        up_steps: int64(form.up_steps),
        down_steps: form.down_steps.map(int64),
        floor: floor_to_proto(form.floor),
        scale: Some(form.scale),
    })
}
