//! The curve of a spec without a job: its schedule, with no controller acting.

use super::{
    api::{Curve, CurveSteps, Error},
    native::native,
    timeline::Timeline,
};
use lrs_model::{MAX_STEP, spec::Spec, violation::Violations};

/// Steps of a curve if the caller does not say how many.
const USUAL_STEPS: u64 = 1000;
/// The most steps of a curve.
const MAX_STEPS: usize = 100_000;
/// The most steps times groups.
const MAX_RATES: usize = 1_000_000;

/// The curve of `spec` at `steps`.
///
/// # Errors
/// If the spec is wrong, or too many steps are asked for.
pub fn preview(spec: &Spec, steps: CurveSteps) -> Result<Curve, Error> {
    let timeline = Timeline::try_new(spec, []).map_err(Error::Invalid)?;
    let mut violations = Violations::new();
    let steps = match steps {
        CurveSteps::At(mut steps) => {
            steps.sort_unstable();
            steps.dedup();
            steps
        }
        CurveSteps::Every { every, end } => {
            let end = spec.total_steps.unwrap_or(end).min(MAX_STEP);
            let every = every.unwrap_or_else(|| end.div_ceil(USUAL_STEPS)).max(1);
            if end / every > MAX_STEPS as u64 {
                violations.refuse(
                    "every",
                    every,
                    format_args!("at least {}, for at most {MAX_STEPS} steps", end.div_ceil(MAX_STEPS as u64)),
                );
                return Err(Error::Invalid(violations));
            }
            let mut steps = timeline.spec_at(0).breakpoints(end);
            steps.extend((0..=end / every).map(|i| i * every));
            steps.push(end);
            steps.sort_unstable();
            steps.dedup();
            steps
        }
    };
    if steps.len() > MAX_STEPS {
        violations.refuse("steps", format_args!("{} steps", steps.len()), format_args!("at most {MAX_STEPS}"));
    }
    let groups = spec.groups.len();
    if steps.len() * groups > MAX_RATES {
        let asked = format_args!("{} steps of {groups} groups", steps.len());
        violations.refuse("steps", asked, format_args!("at most {} of so many groups", MAX_RATES / groups));
    }
    if let Some(last) = steps.last().filter(|last| **last > MAX_STEP) {
        violations.refuse("steps", last, format_args!("from 0 to {MAX_STEP}"));
    }
    violations.into_result(()).map_err(Error::Invalid)?;
    let expanded = native(spec);
    let directives = steps.iter().map(|step| timeline.directive_at((*step).min(MAX_STEP))).collect();
    Ok(Curve { steps, directives, expanded })
}
