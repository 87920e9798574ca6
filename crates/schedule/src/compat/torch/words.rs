//! The way back: a named form of ours as one of torch's schedulers.

use serde_json::json;

use crate::{
    compat::library::Words,
    named::{
        cosine::Cosine, cosine_restarts::CosineRestarts, exponential::Exponential, floor::Floor, linear::Linear,
        multi_step::MultiStep, polynomial::Polynomial, read, step::Step, warmup::Warmup,
    },
};
use lrs_model::schedule::{ScheduleSpec, Shape};

/// `schedule` in torch's words.
pub(super) fn of(schedule: &ScheduleSpec) -> Option<Words> {
    let ScheduleSpec::Named(named) = schedule else { return None };
    Some(match named.form.as_str() {
        "step" => {
            let Step { step_size, gamma } = read(named)?;
            ("StepLR", json!({"step_size": step_size, "gamma": gamma}))
        }
        "multi_step" => {
            let MultiStep { milestones, gamma } = read(named)?;
            ("MultiStepLR", json!({"milestones": milestones, "gamma": gamma}))
        }
        "exponential" => {
            let form: Exponential = read(named)?;
            (form.decay_steps == 1).then(|| ("ExponentialLR", json!({"gamma": form.gamma})))?
        }
        "linear" => {
            let Linear { decay_steps, floor } = read(named)?;
            let end = match floor {
                None => 0.0,
                Some(Floor::MinFactor(factor)) if factor <= 1.0 => factor,
                Some(_) => return None,
            };
            ("LinearLR", json!({"start_factor": 1.0, "end_factor": end, "total_iters": decay_steps?}))
        }
        "polynomial" => {
            let Polynomial { decay_steps, floor: None, power } = read(named)? else { return None };
            ("PolynomialLR", json!({"total_iters": decay_steps?, "power": power}))
        }
        "cosine_restarts" => cosine_restarts(&read(named)?)?,
        "cosine" => {
            let Cosine { decay_steps, floor: None } = read(named)? else { return None };
            cosine(decay_steps?)
        }
        "warmup" => warmup(&read(named)?)?,
        _ => return None,
    })
}

fn cosine_restarts(form: &CosineRestarts) -> Option<Words> {
    let floor = match form.floor {
        None => 0.0,
        Some(Floor::MinLr(rate)) => rate,
        Some(Floor::MinFactor(_)) => return None,
    };
    let is_theirs = form.scale.to_bits() == 1.0_f64.to_bits() && form.growth.fract() == 0.0;
    let params = json!({"T_0": form.first_steps, "T_mult": form.growth, "eta_min": floor});
    is_theirs.then_some(("CosineAnnealingWarmRestarts", params))
}

/// Torch's cosine climbs again, so the floor has to be held after it.
fn cosine(over: u64) -> Words {
    let zero = json!({"start_factor": f64::MIN_POSITIVE, "end_factor": 0.0, "total_iters": 1});
    let schedulers = json!([
        {"scheduler": "CosineAnnealingLR", "params": {"T_max": over}},
        {"scheduler": "LinearLR", "params": zero},
    ]);
    ("SequentialLR", json!({"schedulers": schedulers, "milestones": [over]}))
}

fn warmup(form: &Warmup) -> Option<Words> {
    if form.shape != Shape::Linear || form.start_factor <= 0.0 || form.start_factor > 1.0 {
        return None;
    }
    let (scheduler, params) = of(&form.schedule)?;
    let ramp = json!({"start_factor": form.start_factor, "end_factor": 1.0, "total_iters": form.warmup_steps});
    let schedulers = json!([
        {"scheduler": "LinearLR", "params": ramp},
        {"scheduler": scheduler, "params": params},
    ]);
    Some(("SequentialLR", json!({"schedulers": schedulers, "milestones": [form.warmup_steps]})))
}
