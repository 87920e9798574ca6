//! Laws of the pure heart: what a job becomes depends on what was reported, not on how it arrived.

use lrs_control::{auto, greedy, plateau, threshold};
use lrs_engine::{
    Directive,
    job::{Job, Taken},
    lineage::{Standing, lineage},
    replay::{recorded, replay, same_decision},
    timeline::Timeline,
};
use lrs_model::{
    controller::{ControllerSpec, Mode, ThresholdAction},
    decision::{Author, Decision, DecisionId, Effect, OverrideSetting, RateOverride},
    job::{AttemptRow, Timestamp},
    schedule::Unit,
    spec::{Group, Objective, Spec, Tier},
    telemetry::{Report, Sample},
};
use proptest::prelude::*;

/// A plateau controller that acts often: every third observation without an improvement cuts.
fn spec(decision_lag: u64, reporting_ranks: u32) -> Spec {
    let plateau = plateau::Params { factor: 0.5, patience: 2, ..plateau::Params::default() };
    Spec {
        groups: vec![Group {
            name: "default".to_owned(),
            base_lr: 1.0,
            base_momentum: None,
            base_weight_decay: None,
            schedule: None,
        }],
        controllers: vec![plateau.into()],
        decision_lag,
        reporting_ranks,
        ..Spec::default()
    }
}

/// The recommended controller, which searches, holds, cuts, backs off and asks for copies, on a short training.
fn auto(decision_lag: u64, reporting_ranks: u32) -> Spec {
    Spec {
        // It is too short for a search, unless that is asked for.
        controllers: vec![auto::Params { search: Some(true), ..auto::Params::default() }.into()],
        total_steps: Some(100),
        tier: Tier::Restore,
        ..spec(decision_lag, reporting_ranks)
    }
}

/// Thresholds of every action, one of them the target of the objective, beside a plateau controller.
fn thresholds(decision_lag: u64, reporting_ranks: u32) -> Spec {
    let mut spec = spec(decision_lag, reporting_ranks);
    let threshold = |metric: &str, below: f64| threshold::Params {
        metric: metric.to_owned(),
        below: Some(below),
        ..threshold::Params::default()
    };
    let cut = ThresholdAction::Cut;
    spec.controllers.extend([
        threshold::Params { patience: 2, action: cut, factor: Some(0.5), ..threshold("loss", 0.5) }.into(),
        threshold::Params { action: ThresholdAction::Stop, ..threshold("grad_norm", 8.5) }.into(),
        threshold::Params { unit: Some(Unit::Epoch), ..threshold("loss", 0.8) }.into(),
    ]);
    let objective = Objective::new("val_loss", Mode::Min);
    let on_target = ThresholdAction::Cooldown;
    let objective = Objective { target: Some(2.0), on_target, cooldown_steps: 10, ..objective };
    Spec { objective: Some(objective), steps_per_epoch: Some(4), ..spec }
}

fn specs(decision_lag: u64, reporting_ranks: u32) -> [Spec; 3] {
    [spec, auto, thresholds].map(|spec| spec(decision_lag, reporting_ranks))
}

fn job(spec: &Spec) -> Job {
    Job::new(Timeline::try_new(spec, []).unwrap(), 1, 0)
}

/// With all that a controller may look at: a norm at each step, an evaluation at every fifth.
fn sample(step: u64, loss: f64) -> Sample {
    let mut sample = Sample { loss: Some(loss), grad_norm: Some(10.0 - loss), ..Sample::new(step) };
    if step % 5 == 4 {
        sample.add_metric("val_loss".into(), loss + 1.0);
    }
    sample
}

fn report(samples: Vec<Sample>, through_step: u64) -> Report {
    Report { samples, through_step: Some(through_step) }
}

fn take(job: &mut Job, rank: u32, report: Report) -> Taken {
    job.take(rank, report, 10_000).unwrap()
}

/// What a job has come to: its directives over the first steps. No rate is NaN, so equal is equal bit by bit.
fn directives(job: &Job, steps: u64) -> Vec<Directive> {
    (0..steps).map(|step| job.timeline().directive_at(step)).collect()
}

/// As text, so that a NaN in the evidence equals itself.
fn text(decisions: &[Decision]) -> String {
    serde_json::to_string(decisions).unwrap()
}

fn person(seq: u64, effective_step: u64, effect: Effect) -> Decision {
    Decision {
        id: DecisionId::Person { seq },
        attempt: 1,
        step: effective_step.saturating_sub(1),
        effective_step,
        author: Author::Person("ann".to_owned()),
        reason: String::new(),
        evidence: std::collections::BTreeMap::new(),
        effect,
        create_time: Timestamp(0),
    }
}

fn attempt(attempt: u32, resume_step: u64) -> AttemptRow {
    AttemptRow {
        attempt,
        token: attempt.to_string(),
        resume_step,
        parent_attempt: attempt - 1,
        reporting_ranks: None,
        reserved_end: 0,
        create_time: Timestamp(0),
    }
}

/// Losses that improve now and then, with a NaN among them.
fn losses() -> impl Strategy<Value = Vec<f64>> {
    let loss = prop_oneof![8 => 0.0..2.0f64, 1 => Just(f64::NAN), 1 => Just(f64::INFINITY)];
    prop::collection::vec(loss, 20..120)
}

#[test]
fn a_directive_depends_on_no_telemetry_after_its_step_less_the_lag() {
    for lag in [1, 2, 8] {
        let mut job = job(&spec(lag, 1));
        assert_eq!(job.determined_end(), lag);
        // The third loss in a row that is no better than the first is the step the controller acts at.
        let taken = take(&mut job, 0, report((0..4).map(|step| sample(step, 1.0)).collect(), 3));

        assert_eq!(taken.decisions.len(), 1);
        assert_eq!((taken.decisions[0].step, taken.decisions[0].effective_step), (3, 3 + lag));
        assert_eq!(job.determined_end(), 4 + lag);
        let rate = |step| job.timeline().directive_at(step).rates[0].learning_rate;
        assert_eq!((rate(2 + lag), rate(3 + lag)), (1.0, 0.5));
    }
}

#[test]
fn a_step_is_taken_only_when_it_is_closed() {
    let mut job = job(&spec(1, 1));
    let open = Report { samples: (0..10).map(|step| sample(step, 1.0)).collect(), through_step: None };
    assert_eq!(take(&mut job, 0, open).decisions, []);
    assert_eq!(job.determined_end(), 1);

    let taken = take(&mut job, 0, Report { samples: vec![], through_step: Some(9) });
    assert_eq!(taken.decisions.len(), 3);
    assert_eq!(job.complete_end(), 10);
}

#[test]
fn a_repeat_changes_nothing_and_a_conflict_is_counted_and_changes_nothing() {
    let mut job = job(&spec(1, 1));
    take(&mut job, 0, Report { samples: vec![sample(0, 1.0), sample(1, f64::NAN)], through_step: None });

    let again = take(&mut job, 0, Report { samples: vec![sample(0, 1.0), sample(1, f64::NAN)], through_step: None });
    assert_eq!((again.repeated, again.conflicting, again.accepted.len()), (2, 0, 0));

    let other = take(&mut job, 0, Report { samples: vec![sample(0, 1.5), sample(1, 1.0)], through_step: None });
    assert_eq!((other.repeated, other.conflicting, other.conflict_step), (0, 2, Some(0)));
    assert_eq!(other.accepted, []);

    take(&mut job, 0, Report { samples: vec![], through_step: Some(0) });
    assert_eq!(job.latest().unwrap().loss, Some(1.0));
}

#[test]
fn a_sample_of_a_closed_step_is_set_aside() {
    let mut job = job(&spec(1, 1));
    take(&mut job, 0, report(vec![sample(0, 1.0)], 4));
    let taken = take(&mut job, 0, report(vec![sample(0, 2.0), sample(3, 1.0)], 4));
    assert_eq!(taken.closed, [sample(0, 2.0), sample(3, 1.0)]);
    assert_eq!((taken.accepted.len(), taken.through_rose), (0, false));
}

#[test]
fn more_open_steps_than_the_bound_are_refused_and_nothing_is_taken() {
    let mut job = job(&spec(1, 1));
    let many = Report { samples: (0..6).map(|step| sample(step, 1.0)).collect(), through_step: None };
    assert!(job.take(0, many.clone(), 5).is_err());
    assert_eq!(take(&mut job, 0, many).accepted.len(), 6);
}

#[test]
fn a_held_step_meets_the_decision_that_was_waited_for() {
    let spec = spec(1, 1);
    let mut job = job(&spec);
    job.hold_at(3);
    let held = take(&mut job, 0, report((0..8).map(|step| sample(step, 1.0)).collect(), 7));
    assert_eq!(held.decisions, [], "the controller acts at step 3, for step 4, which is held");
    assert_eq!(job.determined_end(), 3);

    // Paused from step 3 on, the controllers look at nothing.
    let paused = Timeline::try_new(&spec, &[person(1, 3, Effect::Pause)]).unwrap();
    assert_eq!(job.apply(&paused), []);
    assert_eq!(job.determined_end(), 9);
}

#[test]
fn releasing_a_hold_gives_what_would_have_been() {
    let spec = spec(1, 1);
    let samples: Vec<Sample> = (0..8).map(|step| sample(step, 1.0)).collect();
    let mut free = job(&spec);
    let expected = take(&mut free, 0, report(samples.clone(), 7)).decisions;

    let mut held = job(&spec);
    held.hold_at(2);
    let mut decisions = take(&mut held, 0, report(samples, 7)).decisions;
    decisions.extend(held.release());
    assert_eq!(decisions, expected);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn batching_does_not_matter(losses in losses(), cuts in prop::collection::vec(1usize..9, 40), lag in 1u64..9) {
        for spec in specs(lag, 1) {
            let samples: Vec<Sample> = (0..).zip(&losses).map(|(step, loss)| sample(step, *loss)).collect();
            let last = samples.len() as u64 - 1;
            let mut whole = job(&spec);
            let expected = take(&mut whole, 0, report(samples.clone(), last)).decisions;

            let mut pieces = job(&spec);
            let mut decisions = Vec::new();
            let mut rest = samples;
            for &cut in cuts.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let piece: Vec<Sample> = rest.drain(..cut.min(rest.len())).collect();
                let through = piece.last().unwrap().step;
                decisions.extend(take(&mut pieces, 0, report(piece, through)).decisions);
            }

            prop_assert_eq!(text(&decisions), text(&expected));
            prop_assert_eq!(directives(&pieces, last + lag), directives(&whole, last + lag));
        }
    }

    #[test]
    fn the_order_in_which_ranks_arrive_does_not_matter(losses in losses(), seed in any::<u64>()) {
        let ranks = 3u32;
        for spec in specs(2, ranks) {
            let per_rank = |rank: u32| (0..).zip(&losses).map(move |(step, loss)| sample(step, loss * f64::from(rank + 1)));
            let last = losses.len() as u64 - 1;
            let mut in_order = job(&spec);
            for rank in 0..ranks {
                take(&mut in_order, rank, report(per_rank(rank).collect(), last));
            }

            let mut mixed = job(&spec);
            let mut queues: Vec<Vec<Sample>> = (0..ranks).map(|rank| per_rank(rank).collect()).collect();
            let mut random = seed;
            while queues.iter().any(|queue| !queue.is_empty()) {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let rank = usize::try_from((random >> 33) % u64::from(ranks)).unwrap();
                let queue = &mut queues[rank];
                let piece: Vec<Sample> = queue.drain(..queue.len().min(4)).collect();
                if let Some(through) = piece.last().map(|sample| sample.step) {
                    take(&mut mixed, u32::try_from(rank).unwrap(), report(piece, through));
                }
            }
            prop_assert_eq!(directives(&mixed, last + 2), directives(&in_order, last + 2));
        }
    }

    #[test]
    fn a_job_that_crashes_anywhere_goes_on_from_its_snapshot_as_if_nothing_had_been(
        losses in losses(), pieces in prop::collection::vec((1usize..12, any::<bool>()), 20), lag in 1u64..9,
    ) {
        for spec in specs(lag, 1) {
            let samples: Vec<Sample> = (0..).zip(&losses).map(|(step, loss)| sample(step, *loss)).collect();
            let last = samples.len() as u64 - 1;
            let mut whole = job(&spec);
            let expected = take(&mut whole, 0, report(samples.clone(), last)).decisions;

            let timeline = Timeline::try_new(&spec, []).unwrap();
            let mut crashing = job(&spec);
            let mut decisions = Vec::new();
            let mut rest = samples;
            for &(length, crashes) in pieces.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let piece: Vec<Sample> = rest.drain(..length.min(rest.len())).collect();
                // The last sample stays open across the crash.
                let newest = piece.last().unwrap().step;
                let through = if rest.is_empty() { Some(newest) } else { newest.checked_sub(1) };
                decisions.extend(take(&mut crashing, 0, Report { samples: piece, through_step: through }).decisions);
                if crashes && let Some(saved) = crashing.saved() {
                    let stored = serde_json::to_string(&saved).unwrap();
                    crashing = Job::from_saved(&timeline, 1, None, serde_json::from_str(&stored).unwrap()).unwrap();
                }
            }

            prop_assert_eq!(text(&decisions), text(&expected));
            prop_assert_eq!(directives(&crashing, last + lag), directives(&whole, last + lag));
        }
    }

    #[test]
    fn a_replay_finds_the_same_decisions_over_a_rewind_and_under_peoples_orders(
        first in losses(), second in losses(), resume in 1u64..19, lag in 1u64..9,
    ) {
        for spec in specs(lag, 1) {
        let attempts = [attempt(1, 0), attempt(2, resume)];
        let halved = RateOverride { setting: OverrideSetting::Factor(0.5), end_step: Some(30) };
        let group = Group { base_lr: 3.0, ..spec.groups[0].clone() };
        let other = Spec { groups: vec![group], ..spec.clone() };
        // What was ordered ahead of the rewind counts from its step on.
        let people = [
            person(1, 12, Effect::Pause),
            person(2, 15, Effect::Resume),
            person(3, 17, Effect::Override(halved)),
            person(4, 20, Effect::Spec(Box::new(other))),
        ];
        let timeline = Timeline::of_attempt(&spec, &people, &Standing::new(&attempts, 2)).unwrap();
        let records = |losses: &[f64], start: u64| -> Vec<Sample> {
            (start..).zip(losses).map(|(step, loss)| sample(step, *loss)).collect()
        };
        let shared: Vec<Sample> = records(&first, 0).into_iter().filter(|sample| sample.step < resume).collect();
        let after = records(&second, resume);
        let last = after.last().unwrap().step;

        // The live job: the first attempt up to its rewind, then the second.
        let mut live = Job::new(timeline, 1, 0);
        live.expect(&lineage(&attempts, 2)[1..]);
        let mut decisions = take(&mut live, 0, report(shared.clone(), resume - 1)).decisions;
        decisions.extend(live.begin_attempt(2, resume));
        decisions.extend(take(&mut live, 0, report(after.clone(), last)).decisions);

        let replayed = replay(&spec, &attempts, &people, shared.into_iter().chain(after), 2).unwrap();

        let found = recorded(&decisions, &attempts, 2);
        prop_assert_eq!(found.len(), decisions.len());
        prop_assert_eq!(replayed.decisions.len(), found.len());
        for (a, b) in replayed.decisions.iter().zip(found) {
            prop_assert!(same_decision(a, b), "{a:?} is not {b:?}");
        }
        for step in 0..last + lag {
            prop_assert_eq!(replayed.directive_at(step), live.timeline().directive_at(step));
        }
        }
    }
}

/// Groups are unfrozen on the way, and what the controllers remember goes on: live, resumed and replayed alike.
#[test]
fn groups_that_are_added_leave_the_others_as_they_were() {
    let fast =
        greedy::Params { patience: 2, factor: 0.5, reset_after: 2, min_lr: vec![0.01], ..greedy::Params::default() };
    let greedy = Spec { controllers: vec![fast.into()], ..spec(3, 1) };
    for alone in [spec(3, 1), greedy, auto(3, 1)] {
        let mut grown = alone.clone();
        grown.groups.push(Group { name: "no decay".to_owned(), base_lr: 0.5, ..alone.groups[0].clone() });
        let people = [person(1, 31, Effect::Spec(Box::new(grown)))];
        let loss = |step: u64| 5.0 + f64::from(u32::try_from(step * 7 % 5).unwrap());
        let samples: Vec<_> = (0..90).map(|step| sample(step, loss(step))).collect();

        let mut without = job(&alone);
        take(&mut without, 0, report(samples.clone(), 89));
        let mut live = job(&alone);
        let mut decisions = take(&mut live, 0, report(samples[..25].to_vec(), 24)).decisions;
        live.hold_at(31);
        decisions.extend(live.apply(&Timeline::try_new(&alone, &people).unwrap()));
        decisions.extend(take(&mut live, 0, report(samples[25..].to_vec(), 89)).decisions);
        let replayed = replay(&alone, &[attempt(1, 0)], &people, samples, 1).unwrap();

        for step in 0..93 {
            let (told, before) = (live.timeline().directive_at(step), without.timeline().directive_at(step));
            assert_eq!(told.rates[0], before.rates[0], "step {step}");
            assert_eq!(told.rates.len(), if step < 31 { 1 } else { 2 });
            assert_eq!(told, replayed.directive_at(step));
        }
        // A move at that very step moves the new group too.
        let rate = |step, group: usize| live.timeline().directive_at(step).rates[group].learning_rate;
        assert!((rate(31, 1) - 0.5 * rate(31, 0) / rate(30, 0)).abs() < 1e-12, "it begins with {}", rate(31, 1));
        assert!(decisions.iter().any(|decision| decision.effective_step > 31));
        assert_eq!(text(&replayed.decisions), text(&decisions));
    }
}

/// A trainer has begun and reported nothing; then a person changes the spec it begins under.
#[test]
fn a_spec_that_changes_where_the_trainer_begins_is_the_spec_it_began_under() {
    let with = |controllers: Vec<ControllerSpec>| Spec { controllers, ..spec(1, 1) };
    let others = vec![greedy::Params { patience: 0, ..greedy::Params::default() }.into()];
    for (first, second) in [(vec![], spec(1, 1).controllers), (spec(1, 1).controllers, others)] {
        let (first, second) = (with(first), with(second));
        let change = [person(1, 0, Effect::Spec(Box::new(second)))];
        let timeline = Timeline::try_new(&first, &change).unwrap();
        let samples = || report((0..8).map(|step| sample(step, 1.0)).collect(), 7);
        let mut from_the_start = Job::new(timeline.clone(), 1, 0);
        let expected = take(&mut from_the_start, 0, samples()).decisions;

        let mut live = job(&first);
        live.hold_at(0);
        assert_eq!(live.apply(&timeline), []);
        assert_eq!(take(&mut live, 0, samples()).decisions, expected);
        assert!(!expected.is_empty());
    }
}

#[test]
fn a_rank_that_lags_can_always_catch_up() {
    let mut job = job(&spec(1, 2));
    // The first rank is far ahead, and is refused at the bound.
    let step = |step: u64| report(vec![sample(step, 1.0)], step);
    let ahead = (0..20).take_while(|&k| job.take(0, step(k), 5).is_ok()).count();
    assert_eq!(ahead, 5);
    for k in 0..5 {
        job.take(1, step(k), 5).unwrap_or_else(|_| panic!("step {k} of the rank that lags is refused"));
    }
    assert_eq!(job.complete_end(), 5);
    assert!(job.take(0, step(5), 5).is_ok());
}
