//! The way back: a schedule of ours in the words of a library, where the library has a scheduler that does the same.

use serde_json::{Map, Value, json};

use lrs_model::{
    library::LibraryCall,
    schedule::{Decay, Floor, LibrarySchedule, ScheduleSpec as S, Shape, Unit},
};

/// `schedule` as one of `library`'s schedulers, or `None` where it has none, or where a length is left to the job.
///
/// What is answered translates to the same rates at every step. Only whole forms are known: a sum or a product has no name.
#[must_use]
pub fn in_words_of(schedule: &S, library: &str) -> Option<LibrarySchedule> {
    let (scheduler, params) = match library {
        "torch" => torch(schedule)?,
        "transformers" => transformers(schedule)?,
        _ => return None,
    };
    let Value::Object(params) = params else { return None };
    Some(call(library, scheduler, params))
}

fn call(library: &str, scheduler: &str, params: Map<String, Value>) -> LibrarySchedule {
    let call = LibraryCall { library: library.to_owned(), scheduler: scheduler.to_owned(), params };
    LibrarySchedule { call, unit: Unit::Step }
}

fn torch(schedule: &S) -> Option<(&'static str, Value)> {
    Some(match schedule {
        S::Step(form) => ("StepLR", json!({"step_size": form.step_size, "gamma": form.gamma})),
        S::MultiStep(form) => ("MultiStepLR", json!({"milestones": form.milestones, "gamma": form.gamma})),
        S::Exponential(form) if form.decay_steps == 1 => ("ExponentialLR", json!({"gamma": form.gamma})),
        S::Linear(Decay { decay_steps: Some(over), floor }) => {
            let end = factor(*floor).filter(|end| *end <= 1.0)?;
            ("LinearLR", json!({"start_factor": 1.0, "end_factor": end, "total_iters": over}))
        }
        S::Polynomial(form) if form.floor.is_none() => {
            ("PolynomialLR", json!({"total_iters": form.decay_steps?, "power": form.power}))
        }
        S::CosineRestarts(form) if form.scale.to_bits() == 1.0_f64.to_bits() && form.growth.fract() == 0.0 => (
            "CosineAnnealingWarmRestarts",
            json!({"T_0": form.first_steps, "T_mult": form.growth, "eta_min": rate(form.floor)?}),
        ),
        // Torch's climbs again, so the floor has to be held after it.
        S::Cosine(Decay { decay_steps: Some(over), floor: None }) => (
            "SequentialLR",
            json!({"schedulers": [
                {"scheduler": "CosineAnnealingLR", "params": {"T_max": over}},
                {"scheduler": "LinearLR", "params": {"start_factor": f64::MIN_POSITIVE, "end_factor": 0.0, "total_iters": 1}},
            ], "milestones": [over]}),
        ),
        S::Warmup(form) if form.shape == Shape::Linear && form.start_factor > 0.0 && form.start_factor <= 1.0 => {
            let (scheduler, params) = torch(&form.schedule)?;
            let ramp = json!({"start_factor": form.start_factor, "end_factor": 1.0, "total_iters": form.warmup_steps});
            (
                "SequentialLR",
                json!({"schedulers": [
                    {"scheduler": "LinearLR", "params": ramp},
                    {"scheduler": scheduler, "params": params},
                ], "milestones": [form.warmup_steps]}),
            )
        }
        _ => return None,
    })
}

fn transformers(schedule: &S) -> Option<(&'static str, Value)> {
    let (warmup, rest) = match schedule {
        S::Warmup(form) if form.shape == Shape::Linear && form.start_factor == 0.0 => {
            (form.warmup_steps, &form.schedule)
        }
        other => (0, other),
    };
    Some(match rest {
        S::Base(factor) if factor.to_bits() == 1.0_f64.to_bits() && warmup == 0 => ("constant", json!({})),
        S::Base(factor) if factor.to_bits() == 1.0_f64.to_bits() => {
            ("constant_with_warmup", json!({"num_warmup_steps": warmup}))
        }
        S::Linear(Decay { decay_steps: Some(over), floor: None }) => {
            ("linear", json!({"num_warmup_steps": warmup, "num_training_steps": warmup + over}))
        }
        S::Polynomial(form) => (
            "polynomial",
            json!({"num_warmup_steps": warmup, "num_training_steps": warmup + form.decay_steps?,
                "lr_end": rate(form.floor)?, "power": form.power}),
        ),
        S::InverseSqrt(form) => ("inverse_sqrt", json!({"num_warmup_steps": warmup, "timescale": form.timescale})),
        S::Wsd(form) if warmup == 0 => {
            let decay_type = match form.shape {
                Shape::Linear => "linear",
                Shape::Power(power) if power.to_bits() == 0.5_f64.to_bits() => "1-sqrt",
                _ => return None,
            };
            if form.floor.is_some() {
                // Theirs is where the warm-up begins, too.
                return None;
            }
            (
                "warmup_stable_decay",
                json!({"num_warmup_steps": form.warmup_steps, "num_decay_steps": form.decay_steps,
                    "num_training_steps": form.total_steps?, "decay_type": decay_type}),
            )
        }
        _ => return None,
    })
}

/// A floor as an absolute rate.
fn rate(floor: Option<Floor>) -> Option<f64> {
    match floor {
        None => Some(0.0),
        Some(Floor::MinLr(rate)) => Some(rate),
        Some(Floor::MinFactor(_)) => None,
    }
}

/// A floor as a multiple of the base rate.
fn factor(floor: Option<Floor>) -> Option<f64> {
    match floor {
        None => Some(0.0),
        Some(Floor::MinFactor(factor)) => Some(factor),
        Some(Floor::MinLr(_)) => None,
    }
}
