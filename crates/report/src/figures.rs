//! Figures as text.

use lrs_model::number::rounded;
use lrs_proto::{
    Arm, BaseRateChange, Decision, JobReport, LossSlope, RateOverride, decision, job::State, rate_override::Setting,
};

/// The text of a missing figure.
pub(super) const NONE: &str = "–";
/// The most groups of a decision that are named.
const NAMED_GROUPS: usize = 3;

/// A value that may be absent.
pub(super) fn or_none<T>(value: Option<T>, show: impl FnOnce(T) -> String) -> String {
    value.map_or_else(|| NONE.to_owned(), show)
}

/// A metric's value, in four digits.
pub(super) fn figure(value: f64) -> String {
    rounded(value, 4)
}

/// A share, as a percentage.
pub(super) fn percent(share: f64) -> String {
    format!("{:.1}%", share * 100.0)
}

/// A share with its sign, as a percentage.
pub(super) fn signed_percent(share: f64) -> String {
    format!("{:+.1}%", share * 100.0)
}

/// A stretch of time.
pub(super) fn duration(seconds: f64) -> String {
    #[expect(clippy::cast_possible_truncation, reason = "a few years at most; more is cut")]
    let whole = seconds.round() as i64;
    match whole {
        ..60 => format!("{} s", rounded(seconds, 3)),
        60..3600 => format!("{} min {:02} s", whole / 60, whole % 60),
        3600.. => format!("{} h {:02} min", whole / 3600, whole % 3600 / 60),
    }
}

/// The last part of a job's name.
pub(super) fn short(job: &str) -> &str {
    job.rsplit_once('/').map_or(job, |(_, last)| last)
}

/// A job's arm.
pub(super) fn arm(job: &JobReport) -> &'static str {
    match job.arm() {
        Arm::Unspecified => NONE,
        Arm::Scheduled => "scheduled",
        Arm::Baseline => "baseline",
    }
}

/// A job's state.
pub(super) fn state(job: &JobReport) -> &'static str {
    match job.state() {
        State::Unspecified => NONE,
        State::Pending => "pending",
        State::Running => "running",
        State::Paused => "paused",
        State::Stale => "stale",
        State::Abandoned => "abandoned",
        State::Completed => "completed",
        State::Failed => "failed",
        State::Cancelled => "cancelled",
    }
}

/// How many steps a job has trained, of how many.
pub(super) fn steps(job: &JobReport) -> String {
    let trained = or_none(job.last_step, |last| (last + 1).to_string());
    match job.total_steps {
        Some(total) if job.last_step.is_none_or(|last| last + 1 != total) => format!("{trained} of {total}"),
        _ => trained,
    }
}

/// The loss over a window: level, slope by a thousand steps, and its interval.
pub(super) fn slope(slope: &LossSlope) -> String {
    let by_thousand = |value: f64| rounded(value * 1000.0, 2);
    format!("{} ({} to {})", by_thousand(slope.slope), by_thousand(slope.low), by_thousand(slope.high))
}

/// The author of a decision.
pub(super) fn author(decision: &Decision) -> String {
    match &decision.author {
        Some(decision::Author::Person(name) | decision::Author::Controller(name)) => name.clone(),
        None => NONE.to_owned(),
    }
}

/// The effect of a decision.
pub(super) fn effect(decision: &Decision) -> String {
    use decision::Effect;
    match &decision.effect {
        None => NONE.to_owned(),
        Some(Effect::BaseRateChange(change)) => base_rate_words(change),
        Some(Effect::RateOverride(order)) => override_words(order),
        Some(Effect::OverrideCleared(_)) => "override ended".to_owned(),
        Some(Effect::SchedulePaused(_)) => "schedule paused".to_owned(),
        Some(Effect::ScheduleResumed(_)) => "schedule resumed".to_owned(),
        Some(Effect::SpecChange(_)) => "spec changed".to_owned(),
        Some(Effect::Advice(advice)) => {
            lrs_model::decision::advice_words(advice.topic().as_str_name(), advice.is_withdrawn)
        }
    }
}

/// The base rates that a controller moves, and how they run from there on.
fn base_rate_words(change: &BaseRateChange) -> String {
    let moved = change.groups.iter().filter(|group| group.base_lr.to_bits() != group.previous_base_lr.to_bits());
    let moved =
        moved.map(|group| format!("{} {} → {}", group.group, figure(group.previous_base_lr), figure(group.base_lr)));
    let shape = change.shape.unwrap_or_default();
    let cooldown = shape.cooldown.map(|cooldown| {
        let until = cooldown.start_step.saturating_add(cooldown.steps);
        format!("rate falls to 0 from step {} to {until}", cooldown.start_step)
    });
    let end = shape.cooldown_share.map(|share| format!("rate falls to 0 over the last {}%", figure(share * 100.0)));
    let back = (!change.restore.is_empty()).then(|| "back to an earlier copy".to_owned());
    let moved = Some(some_of(moved.collect())).filter(|moved| !moved.is_empty());
    let parts: Vec<String> = moved.into_iter().chain(cooldown).chain(end).chain(back).collect();
    if parts.is_empty() { "base rates stay".to_owned() } else { parts.join(", ") }
}

fn override_words(order: &RateOverride) -> String {
    let until = order.end_step.map_or_else(String::new, |end| format!(" until step {end}"));
    match &order.setting {
        Some(Setting::Factor(factor)) => format!("rate by hand: × {}{until}", figure(*factor)),
        Some(Setting::Fixed(fixed)) => {
            let rates = fixed.learning_rates.iter().map(|(group, rate)| format!("{group} {}", figure(*rate)));
            format!("rate by hand: {}{until}", some_of(rates.collect()))
        }
        None => "rate by hand".to_owned(),
    }
}

fn some_of(words: Vec<String>) -> String {
    let more = words.len().saturating_sub(NAMED_GROUPS);
    let named = words.into_iter().take(NAMED_GROUPS).collect::<Vec<_>>().join(", ");
    if more > 0 { format!("{named} and {more} more") } else { named }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_told_in_the_units_that_fit() {
        for (seconds, told) in
            [(0.0, "0 s"), (12.345, "12.3 s"), (59.7, "1 min 00 s"), (754.0, "12 min 34 s"), (7384.0, "2 h 03 min")]
        {
            assert_eq!(duration(seconds), told);
        }
    }

    #[test]
    fn of_base_rates_only_what_changes_is_told() {
        let group = |after| lrs_proto::GroupBaseRate { group: "a".to_owned(), previous_base_lr: 0.5, base_lr: after };
        let change = |after, shape| BaseRateChange { groups: vec![group(after)], shape, ..Default::default() };
        assert_eq!(base_rate_words(&change(0.25, None)), "a 0.5 → 0.25");
        assert_eq!(base_rate_words(&change(0.5, None)), "base rates stay");
        let cooldown = Some(lrs_proto::RateCooldown { start_step: 10, steps: 5 });
        let falls = change(0.5, Some(lrs_proto::RateShape { cooldown, ..Default::default() }));
        assert_eq!(base_rate_words(&falls), "rate falls to 0 from step 10 to 15");
    }

    #[test]
    fn many_groups_are_counted() {
        let words = |count: u32| some_of((0..count).map(|i| format!("g{i}")).collect());
        assert_eq!((words(2).as_str(), words(5).as_str()), ("g0, g1", "g0, g1, g2 and 2 more"));
    }
}
