//! How base rates run from one move to the next.

use lrs_model::{
    decision::{Cooldown, RateShape},
    number::exact,
};

/// The factor on the base rates at `step`, in `[0, 1]`, for a shape in force since `start`.
///
/// The ramp is `(step - start + 1) / ramp_steps`, at most 1. The cooldown is `1 - sqrt(done)` over the last share of
/// the training (Hägele et al. 2024, "Scaling Laws and Compute-Optimal Training Beyond Fixed Training Durations"), and
/// 0 from `total_steps` on. Without `total_steps` there is no such cooldown. A cooldown over stated steps falls in the
/// same way. The result depends only on the arguments.
#[must_use]
pub fn factor_at(shape: &RateShape, start: u64, step: u64, total_steps: Option<u64>) -> f64 {
    let at_the_end = cooldown(shape.cooldown_share, step, total_steps);
    ramp(shape.ramp_steps, start, step) * at_the_end * fall(shape.cooldown, step)
}

/// The shape of rates that stay where `shape`, in force since `start`, has them at `step`, and the factor that they
/// have come to by then: a ramp ends where it is.
#[must_use]
pub fn halted(shape: &RateShape, start: u64, step: u64) -> (RateShape, f64) {
    (RateShape { ramp_steps: 0, ..*shape }, ramp(shape.ramp_steps, start, step))
}

fn fall(cooldown: Option<Cooldown>, step: u64) -> f64 {
    let Some(Cooldown { start_step, steps }) = cooldown else { return 1.0 };
    let done = step.saturating_sub(start_step);
    if done >= steps { 0.0 } else { 1.0 - (exact(done) / exact(steps)).sqrt() }
}

fn ramp(ramp_steps: u64, start: u64, step: u64) -> f64 {
    let done = step.saturating_sub(start).saturating_add(1);
    if done >= ramp_steps { 1.0 } else { exact(done) / exact(ramp_steps) }
}

fn cooldown(share: Option<f64>, step: u64, total_steps: Option<u64>) -> f64 {
    let (Some(share), Some(total)) = (share, total_steps) else { return 1.0 };
    let (left, length) = (exact(total.saturating_sub(step)), share * exact(total));
    if left >= length { 1.0 } else { 1.0 - (1.0 - left / length).sqrt() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn assert_factor(shape: &RateShape, step: u64, expected: f64) {
        let factor = factor_at(shape, 100, step, Some(1000));
        assert!((factor - expected).abs() < 1e-15, "the factor at step {step} is {factor}, not {expected}");
    }

    #[test]
    fn a_plain_shape_changes_nothing() {
        assert_factor(&RateShape::default(), 100, 1.0);
        assert_factor(&RateShape::default(), 5000, 1.0);
    }

    #[test]
    fn a_ramp_rises_in_a_straight_line_to_1() {
        let shape = RateShape { ramp_steps: 4, ..RateShape::default() };
        for (step, factor) in [(100, 0.25), (101, 0.5), (102, 0.75), (103, 1.0), (104, 1.0)] {
            assert_factor(&shape, step, factor);
        }
    }

    #[test]
    fn a_cooldown_over_stated_steps_begins_at_the_full_rate_and_ends_at_0() {
        let cooldown =
            |steps| RateShape { cooldown: Some(Cooldown { start_step: 200, steps }), ..RateShape::default() };
        for (step, factor) in [(0, 1.0), (200, 1.0), (225, 0.5), (300, 0.0), (u64::MAX, 0.0)] {
            assert_factor(&cooldown(100), step, factor);
        }
        assert_factor(&cooldown(1), 200, 1.0);
        assert_factor(&cooldown(1), 201, 0.0);
        let both = RateShape { cooldown_share: Some(0.2), ..cooldown(2600) };
        assert_factor(&both, 850, 0.25);
    }

    #[test]
    fn a_ramp_that_is_halted_stays_where_it_is() {
        let shape = RateShape { ramp_steps: 4, cooldown_share: Some(0.2), ..RateShape::default() };
        let (held, factor) = halted(&shape, 100, 101);
        assert_eq!((held, factor.to_bits()), (RateShape { ramp_steps: 0, ..shape }, 0.5_f64.to_bits()));
        assert_eq!(halted(&shape, 100, 103).1.to_bits(), 1.0_f64.to_bits());
    }

    #[test]
    fn a_cooldown_falls_to_0_over_the_last_share() {
        let shape = RateShape { cooldown_share: Some(0.2), ..RateShape::default() };
        for (step, factor) in [(800, 1.0), (850, 0.5), (1000, 0.0), (2000, 0.0)] {
            assert_factor(&shape, step, factor);
        }
        assert_eq!(factor_at(&shape, 0, 999, None).to_bits(), 1.0_f64.to_bits());
    }
}
