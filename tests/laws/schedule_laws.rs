//! Laws that every schedule obeys, tried on random schedules.

mod plain;
mod trees;

use lrs_model::{
    MAX_STEP,
    schedule::{Ease, Past, Repeat, ScheduleSpec as S, Sequence, Shape, Shift, Stair},
    violation::Violations,
};
use lrs_schedule::{MAX_BREAKPOINTS, Schedule, expand};
use proptest::prelude::*;

use trees::{any_form, any_step, flat_form, reaching_shape, value, written_form};

fn schedule(spec: &S) -> Schedule {
    let mut violations = Violations::new();
    Schedule::try_new(spec, Some(1000), &mut violations).unwrap_or_else(|| panic!("{violations}: {spec:?}"))
}

fn ease(start: S, end: S, over: f64, shape: Shape) -> S {
    S::Ease(Box::new(Ease { start, end, over, shape, past: Past::Hold, warp: 1.0 }))
}

fn repeat(body: S, first: f64) -> S {
    S::Repeat(Box::new(Repeat { body, first, growth: 1.0, scale: 1.0, limit: None, after: S::Constant(0.0) }))
}

/// Equal, where zeros of either sign are equal.
fn same(left: f64, right: f64) -> bool {
    (left + 0.0).to_bits() == (right + 0.0).to_bits()
}

proptest! {
    #[test]
    fn every_value_is_finite(spec in any_form(), step in any_step(), base in any::<f64>()) {
        prop_assert!(schedule(&spec).value_at(step, base).is_finite());
    }

    #[test]
    fn asking_again_and_out_of_order_gives_the_same_bits(
        spec in any_form(), steps in prop::collection::vec(any_step(), 1..20), base in value(),
    ) {
        let schedule = schedule(&spec);
        let forward: Vec<u64> = steps.iter().map(|&step| schedule.value_at(step, base).to_bits()).collect();
        let mut backward: Vec<u64> = steps.iter().rev().map(|&step| schedule.value_at(step, base).to_bits()).collect();
        backward.reverse();
        prop_assert_eq!(forward, backward);
    }

    #[test]
    fn a_plain_reading_of_the_formulas_gives_the_same_values(spec in written_form(), step in 0_u64..5000, base in value()) {
        let mut violations = Violations::new();
        let expanded = expand(&spec, Some(1000), &mut violations);
        prop_assert!(violations.is_empty(), "{}", violations);
        let mut peak = 0.0;
        let plain = plain::value(&expanded, trees::time(step), base, &mut peak);
        prop_assume!(f64::is_finite(peak) && peak < 1e200);
        let value = schedule(&spec).value_at(step, base);
        prop_assert!((value - plain).abs() <= 1e-12 * peak, "{} is not {}", value, plain);
    }

    #[test]
    fn what_a_form_expands_to_is_the_form(spec in any_form(), step in any_step(), base in value()) {
        let mut violations = Violations::new();
        let expanded = expand(&spec, Some(1000), &mut violations);
        prop_assert!(violations.is_empty(), "{}", violations);
        // An expansion has all of its lengths, so it needs no horizon.
        let again = Schedule::try_new(&expanded, None, &mut violations).expect("an expansion is a schedule");
        prop_assert_eq!(&again, &schedule(&spec));
        prop_assert_eq!(again.value_at(step, base).to_bits(), schedule(&spec).value_at(step, base).to_bits());
    }

    #[test]
    fn without_a_base_in_it_the_base_rate_changes_nothing(spec in any_form(), step in any_step(), a in value(), b in value()) {
        let schedule = schedule(&spec);
        if !schedule.uses_base() {
            prop_assert_eq!(schedule.value_at(step, a).to_bits(), schedule.value_at(step, b).to_bits());
        }
    }

    #[test]
    fn an_ease_stays_between_its_ends_and_reaches_them(
        start in value(), end in value(), over in 1_u64..1000, shape in reaching_shape(), step in 0_u64..2000,
    ) {
        let ease = schedule(&ease(S::Constant(start), S::Constant(end), trees::time(over), shape));
        let value = ease.value_at(step, 1.0);
        prop_assert!(start.min(end) <= value && value <= start.max(end));
        prop_assert!(same(ease.value_at(0, 1.0), start));
        prop_assert!(same(ease.value_at(over, 1.0), end));
        prop_assert!(same(ease.value_at(over + step, 1.0), end));
    }

    #[test]
    fn each_part_of_a_seq_begins_at_its_boundary(
        parts in prop::collection::vec((written_form(), 0_u64..200), 1..5), last in written_form(), step in 0_u64..300, base in value(),
    ) {
        let mut begin = 0;
        let mut boundaries = Vec::new();
        let mut seen = Vec::new();
        for (part, length) in &parts {
            if step < *length {
                seen.push((begin + step, part.clone()));
            }
            begin += length;
            boundaries.push(trees::time(begin));
        }
        seen.push((begin + step, last.clone()));
        // Here each part has a length of its own. Another test tries lengths that come from what is left of the job.
        let written_out = |spec: &S| expand(spec, Some(1000), &mut Violations::new());
        let all = parts.iter().map(|(part, _)| written_out(part)).chain([written_out(&last)]).collect();
        let seq = schedule(&S::Seq(Sequence { boundaries, parts: all }));
        for (at, part) in seen {
            prop_assert_eq!(seq.value_at(at, base).to_bits(), schedule(&part).value_at(step, base).to_bits());
        }
    }

    #[test]
    fn product_and_sum_are_pointwise(a in any_form(), b in any_form(), step in any_step(), base in value()) {
        let (x, y) = (schedule(&a).value_at(step, base), schedule(&b).value_at(step, base));
        let product = schedule(&S::Product { factors: vec![a.clone(), b.clone()] }).value_at(step, base);
        let sum = schedule(&S::Sum { terms: vec![a, b] }).value_at(step, base);
        prop_assert!(same(product, (x * y).clamp(-f64::MAX, f64::MAX)));
        prop_assert!(same(sum, (x + y).clamp(-f64::MAX, f64::MAX)));
    }

    #[test]
    fn equal_cycles_are_periodic(body in flat_form(), first in 1_u64..1 << 30, step in 0_u64..1 << 30, cycles in 0_u64..1 << 20, base in value()) {
        let repeat = schedule(&repeat(body, trees::time(first)));
        prop_assert_eq!(repeat.value_at(step, base).to_bits(), repeat.value_at(step + first * cycles, base).to_bits());
    }

    #[test]
    fn a_stair_is_constant_from_one_to_the_next(spec in any_form(), every in 1_u64..1000, step in any_step(), base in value()) {
        let stair = schedule(&S::Stair(Box::new(Stair { schedule: spec.clone(), every: trees::time(every) })));
        let begin = step - step % every;
        prop_assert_eq!(stair.value_at(step, base).to_bits(), schedule(&spec).value_at(begin, base).to_bits());
    }

    #[test]
    fn shifts_add_up(spec in any_form(), a in 0_u64..1000, b in 0_u64..1000, step in 0_u64..1 << 50, base in value()) {
        let spec = expand(&spec, Some(1000), &mut Violations::new());
        let shift = |schedule: S, steps: u64| S::Shift(Box::new(Shift { schedule, steps: trees::time(steps) }));
        let twice = schedule(&shift(shift(spec.clone(), a), b));
        let once = schedule(&shift(spec.clone(), a + b));
        prop_assert_eq!(twice.value_at(step, base).to_bits(), once.value_at(step, base).to_bits());
        prop_assert_eq!(once.value_at(step, base).to_bits(), schedule(&spec).value_at(step + a + b, base).to_bits());
    }

    #[test]
    fn breakpoints_rise_within_the_range_and_are_bounded(spec in any_form(), end in any_step()) {
        let breakpoints = schedule(&spec).breakpoints(end);
        prop_assert!(breakpoints.is_sorted_by(|a, b| a < b));
        prop_assert_eq!(breakpoints.first(), Some(&0));
        prop_assert_eq!(breakpoints.last(), Some(&end.min(MAX_STEP)));
        prop_assert!(breakpoints.len() <= MAX_BREAKPOINTS);
    }

    #[test]
    fn every_jump_of_a_piecewise_constant_curve_is_between_breakpoints(spec in flat_form(), end in 1_u64..600) {
        let schedule = schedule(&spec);
        let breakpoints = schedule.breakpoints(end);
        for step in 1..=end {
            if !same(schedule.value_at(step - 1, 1.0), schedule.value_at(step, 1.0)) {
                prop_assert!(breakpoints.binary_search(&(step - 1)).is_ok(), "before {}: {:?}", step, breakpoints);
                prop_assert!(breakpoints.binary_search(&step).is_ok(), "at {}: {:?}", step, breakpoints);
            }
        }
    }
}
