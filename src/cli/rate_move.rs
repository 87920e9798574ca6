//! What a controller does with base rates, in a few words.

use super::output::number;
use lrs_model::decision::RateShape;

/// The groups that move, each with its rates before and after; how they run from there on; and the copy to go back to.
pub(super) fn words<'a>(
    groups: impl Iterator<Item = (&'a str, f64, f64)>,
    shape: RateShape,
    restore: Option<&str>,
) -> String {
    let moves = groups.filter(|(_, before, after)| before.to_bits() != after.to_bits());
    let moves = moves.map(|(group, before, after)| format!("{group} base rate {} → {}", number(before), number(after)));
    let ramp = (shape.ramp_steps > 0).then(|| format!("over {} steps", shape.ramp_steps));
    let flat = shape.is_flat.then(|| "without the schedule".to_owned());
    let cooldown = shape.cooldown.map(|cooldown| {
        let (start, end) = (cooldown.start_step, cooldown.start_step.saturating_add(cooldown.steps));
        format!("rate falls to 0 over {} steps, from step {start} to {end}", cooldown.steps)
    });
    let last = shape.cooldown_share.map(|part| format!("rate falls to 0 over the last {}%", number(part * 100.0)));
    let restore = restore.map(|copy| format!("restore {copy}"));
    let parts: Vec<String> = moves.chain(ramp).chain(flat).chain(cooldown).chain(last).chain(restore).collect();
    if parts.is_empty() { "base rates stay".to_owned() } else { parts.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lrs_model::decision::Cooldown;

    #[test]
    fn only_what_changes_is_said() {
        let of = |after, shape, restore| words([("head", 0.1, after), ("body", 1.0, 1.0)].into_iter(), shape, restore);
        let plain = RateShape::default();
        assert_eq!(of(0.01, plain, Some("c1")), "head base rate 0.1 → 0.01, restore c1");
        assert_eq!(of(0.1, plain, None), "base rates stay");
        let cooldown = RateShape { cooldown: Some(Cooldown { start_step: 100, steps: 20 }), ..plain };
        assert_eq!(of(0.1, cooldown, None), "rate falls to 0 over 20 steps, from step 100 to 120");
        let share = RateShape { cooldown_share: Some(0.2), ..plain };
        assert_eq!(of(0.1, share, None), "rate falls to 0 over the last 20%");
        let search = RateShape { is_flat: true, ramp_steps: 5, ..plain };
        assert_eq!(of(0.2, search, None), "head base rate 0.1 → 0.2, over 5 steps, without the schedule");
    }
}
