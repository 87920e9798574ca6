//! Searches under trainers whose loss is a function of the step and the rate.

use super::*;
use crate::auto::revision::NEWEST_ROW;
use lrs_model::number::exact;

const STEPS: u64 = 1000;

fn search(decision_lag: u64) -> Search {
    Search { is_cautious: false, decision_lag, revision: NEWEST_ROW }
}

/// The outcome of a search.
#[derive(Debug, PartialEq)]
struct Over {
    scale: f64,
    from: Origin,
    /// The step at which the search's last decision takes effect.
    step: u64,
    /// The scales tried, and the number of steps at each.
    stages: Vec<(f64, u64)>,
}

/// Runs a search whose trainer reports `loss(step, scale)`, or no loss at a step where that is `None`.
fn run(search: Search, loss: impl Fn(u64, f64) -> Option<f64>) -> Over {
    let mut state = SearchState::new(0, Some(STEPS));
    let (mut scale, mut stages) = (state.scale(), vec![(state.scale(), 0)]);
    let mut coming: Vec<(u64, f64)> = Vec::new();
    for step in 0..STEPS {
        if let Some((_, next)) = coming.pop_if(|(from, _)| *from == step) {
            scale = next;
            stages.push((scale, 0));
        }
        if let Some(stage) = stages.last_mut() {
            stage.1 += 1;
        }
        let Some(loss) = loss(step, scale) else { continue };
        let when = When { step, effective_step: step + search.decision_lag };
        match search.observe(&mut state, when, Seen::Loss(loss), true, 1.0) {
            Next::Stay => {}
            Next::Found { scale, from, .. } => return Over { scale, from, step: when.effective_step, stages },
            Next::Begin(_) | Next::Rise { .. } | Next::Restart(_) => {
                coming.insert(0, (when.effective_step, state.scale()));
            }
        }
    }
    panic!("the search did not end")
}

fn wave(step: u64) -> f64 {
    [0.02, -0.01, 0.03, -0.03, 0.0, -0.02, 0.01][usize::try_from(step % 7).expect("a small number")]
}

/// A loss that falls with each stage up to a scale of 1, and blows up beyond 4.
#[expect(clippy::unnecessary_wraps, reason = "as `run` wants it")]
fn bowl(step: u64, scale: f64) -> Option<f64> {
    let fallen = libm::log2(scale.min(1.0) * 4096.0).max(0.0) / 4.0;
    Some(if scale > 4.0 { 90.0 } else { 4.0 - fallen + wave(step) })
}

#[test]
fn the_rate_found_is_the_same_at_any_lag() {
    for lag in [1, 2, 5, 8, 16] {
        let over = run(search(lag), bowl);
        let Origin::Stage(stage) = over.from else { panic!("{lag}: {over:?}") };
        assert!((over.scale - 1.0).abs() < 1e-12 && (over.stages[stage + 1].0 - 1.0).abs() < 1e-12, "{lag}: {over:?}");
    }
}

#[test]
fn stages_do_not_wait_out_the_lag() {
    let steps = |lag| run(search(lag), bowl).step;
    assert!(steps(8) <= steps(1) + 2 * 8, "{} and {}", steps(8), steps(1));
}

#[test]
fn a_stage_that_gained_nothing_does_not_tie_where_the_first_loss_is_close() {
    // The first loss is measured badly: it happens to be high.
    let saddle = |step: u64, scale: f64| {
        let level = if scale > 3.0 { 0.41 } else { 0.52 };
        Some(level + wave(step) * 4.0 + if step < 8 { 0.09 } else { 0.0 } + if scale > 9.0 { 1.0 } else { 0.0 })
    };
    let over = run(search(1), saddle);
    assert_eq!(over.scale.to_bits(), 4.0_f64.to_bits(), "{over:?}");
}

#[test]
fn a_stage_that_is_worse_by_less_than_an_error_does_not_end_the_search() {
    // The stage at an eighth happens to be a little worse.
    let unlucky = |step: u64, scale: f64| {
        let luck = if (scale - 0.125).abs() < 1e-9 { 0.262 } else { 0.0 };
        bowl(step, scale).map(|loss| loss + luck)
    };
    let over = run(search(1), unlucky);
    assert!((0.5..=1.0).contains(&over.scale), "{over:?}");
}

#[test]
fn one_loss_far_above_the_first_makes_a_stage_too_high() {
    let spiking = |step: u64, scale: f64| {
        let is_spike = scale > 1e-3 && step.is_multiple_of(5);
        bowl(step, scale * 1e3).map(|loss| if is_spike { 90.0 } else { loss.min(4.0) })
    };
    let over = run(search(1), spiking);
    assert!(over.scale < 1e-3 && over.stages.len() > 3, "{over:?}");
}

#[test]
fn a_loss_may_be_negative() {
    for below in [0.0, 4.0, 40.0] {
        let over = run(search(1), |step, scale| bowl(step, scale).map(|loss| loss - below));
        assert!((0.5..=1.0).contains(&over.scale), "{below} lower: {over:?}");
    }
}

#[test]
fn where_no_stage_leaves_the_first_loss_a_rate_that_is_clearly_worse_has_not_held() {
    // The first loss is measured badly, and the possible gain is small against its error.
    let shallow = |step: u64, scale: f64| {
        let level = match scale {
            ..0.25 => 4.0,
            ..4.0 => 3.6,
            ..16.0 => 5.0,
            _ => 90.0,
        };
        Some(level + wave(step) * if step < 8 { 60.0 } else { 1.0 })
    };
    let scale = run(search(1), shallow).scale;
    assert!((scale - 0.25).abs() < 1e-12, "{scale}");
}

#[test]
fn losses_that_come_rarely_or_not_at_all_only_make_stages_longer() {
    for lag in [1, 8] {
        let rarely = |step: u64, scale: f64| if step.is_multiple_of(3) { bowl(step / 3, scale) } else { None };
        let over = run(search(lag), rarely);
        assert!((0.5..=1.0).contains(&over.scale), "{over:?}");
    }
}

/// Reports a loss at a decision lag of 8.
fn see(state: &mut SearchState, step: u64, loss: f64) -> Next {
    search(8).observe(state, When { step, effective_step: step + 8 }, Seen::Loss(loss), true, 1.0)
}

#[test]
fn a_stage_that_ran_otherwise_counts_for_nothing() {
    let mut state = SearchState::new(0, Some(STEPS));
    let begun = (0..12).map(|step| see(&mut state, step, 4.0 + wave(step))).collect::<Vec<_>>();
    assert!(matches!(begun[0], Next::Begin(_)) && matches!(begun[11], Next::Rise { kept: 0, .. }), "{begun:?}");
    state.begin_stage_again();
    assert!((12..20).all(|step| see(&mut state, step, 4.0) == Next::Stay || step == 19));
    assert!(state.stages() <= 1 && (state.scale() - FIRST_SHARE * 4.0).abs() < 1e-12);
}

#[test]
fn a_trainer_that_starts_anew_has_not_kept_what_the_one_before_was_to_keep() {
    let mut state = SearchState::new(0, Some(STEPS));
    let falling = |step: u64| 4.0 - 0.1 * exact(step);
    let begun = (0..13).map(|step| see(&mut state, step, falling(step))).collect::<Vec<_>>();
    assert!(begun.iter().any(|next| matches!(next, Next::Rise { kept: 0, .. })), "{begun:?}");
    state.lose_copies();
    let rest = (13..STEPS).map(|step| see(&mut state, step, if step < 21 { falling(step) } else { 90.0 }));
    let from = rest.into_iter().find_map(|next| match next {
        Next::Found { from, .. } => Some(from),
        _ => None,
    });
    assert_eq!((from, state.stages[0].is_kept), (Some(Origin::Start), false));
}

#[test]
fn a_search_that_runs_out_of_steps_goes_on_from_where_it_is() {
    let slowly = |step: u64, _: f64| Some(4.0 - 0.01 * exact(step) + wave(step));
    let over = run(search(1), slowly);
    assert_eq!(over.from, Origin::Here, "{over:?}");
}
