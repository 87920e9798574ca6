//! The recommended controller closes the loop on a real, small training: what it must do for a job whose rate is wrong,
//! that meets faults, or whose trainer can do less. The figures of larger trainings are in docs/controllers.md.

mod toy;

use lrs_control::auto;
use lrs_engine::replay::replay;
use lrs_model::{
    controller::Mode,
    decision::{Action, Decision, Effect},
    spec::{Objective, Spec, Tier},
};
use toy::{Habits, Run, constant, cosine, spec};

const STEPS: u64 = 1000;
/// Of the constant rates, about the best for this training; see `the_anchor_is_the_best_constant_rate`.
const BEST_RATE: f64 = 0.006;
const SEEDS: [u64; 5] = [1, 2, 3, 4, 5];

/// The geometric mean over seeds of the final loss under `spec`.
fn final_loss(spec: &Spec, habits: Habits) -> f64 {
    mean(|seed| Run::new(spec, habits, seed).train_until(STEPS).loss())
}

fn mean(loss: impl Fn(u64) -> f64) -> f64 {
    let product: f64 = SEEDS.iter().map(|&seed| loss(seed)).product();
    libm::pow(product, 1.0 / 5.0)
}

fn restores(decisions: &[Decision]) -> usize {
    let restores = decisions.iter().filter(|decision| match &decision.effect {
        Effect::BaseRates(change) => change.restore.is_some(),
        _ => false,
    });
    restores.count()
}

#[test]
fn the_anchor_is_the_best_constant_rate() {
    let loss = |rate| mean(|seed| constant(rate, STEPS, seed));
    let best = loss(BEST_RATE);
    assert!(best < loss(BEST_RATE * 4.0) && best < loss(BEST_RATE / 4.0), "{best}");
}

#[test]
fn a_rate_that_is_wrong_by_thirty_times_ends_where_the_right_one_does() {
    let anchor = mean(|seed| constant(BEST_RATE, STEPS, seed));
    for wrong in [1.0, 0.1, 10.0, 30.0, 1.0 / 30.0] {
        let found = final_loss(&spec(BEST_RATE * wrong, Tier::Restore, STEPS), Habits::default());
        let untouched = mean(|seed| constant(BEST_RATE * wrong, STEPS, seed));
        println!("rate x{wrong}: {found:.4}, constant {untouched:.4}, best constant {anchor:.4}");
        assert!(found < 1.05 * anchor, "x{wrong}: {found} against {anchor} of the best constant rate");
        assert!(found < 1.05 * untouched, "x{wrong}: {found} against {untouched} of the rate as given");
    }
}

#[test]
fn where_a_search_leaves_the_rate_too_low_evaluations_raise_it() {
    let habits = Habits { floor: 3.5, ..Habits::default() };
    let spec = spec(BEST_RATE, Tier::Restore, STEPS);
    let runs = SEEDS.map(|seed| {
        let mut run = Run::new(&spec, habits, seed);
        run.train_until(STEPS);
        let replayed = replay(&spec, &[], &[], run.records.clone(), 1).unwrap();
        assert_eq!(replayed.decisions, run.decisions);
        assert!(run.missed().is_empty(), "copies were never to be kept");
        run
    });
    // Nothing is raised where no evaluation comes.
    let blind = Habits { evaluates: false, ..habits };
    let before = final_loss(&spec, blind);
    let now = libm::pow(runs.iter().map(Run::loss).product(), 1.0 / 5.0);
    println!("a loss that says little: {now:.4}, without evaluations {before:.4}");
    assert!(now < 0.8 * before, "{now} against {before} without evaluations");
    let raises = |how: &str| {
        let decisions = runs.iter().flat_map(|run| &run.decisions);
        decisions.filter(|decision| decision.reason.ends_with(how)).count()
    };
    assert!(raises("four times the rate is tried") > 0);
}

#[test]
fn a_search_that_runs_out_of_steps_goes_on_from_where_it_is() {
    for (total_steps, rate) in [(100, BEST_RATE), (150, BEST_RATE), (200, 0.1 * BEST_RATE)] {
        let mut run = Run::new(&spec(rate, Tier::Restore, total_steps), Habits::default(), 1);
        run.train_until(total_steps);
        assert!(run.missed().is_empty(), "of {total_steps} steps: {:?} were never to be kept", run.missed());
    }
}

#[test]
fn spikes_and_nans_cost_next_to_nothing() {
    let spec = spec(BEST_RATE, Tier::Restore, STEPS);
    let undisturbed = final_loss(&spec, Habits::default());
    let spike: fn(u64) -> f64 = |step| if matches!(step, 200..203 | 450..453 | 700..703) { 1000.0 } else { 1.0 };
    let nan: fn(u64) -> f64 = |step| if (450..455).contains(&step) { f64::NAN } else { 1.0 };
    for (what, fault) in [("spikes", spike), ("NaNs", nan)] {
        let disturbed = final_loss(&spec, Habits { fault, ..Habits::default() });
        assert!(disturbed < 1.1 * undisturbed, "{what}: {disturbed} against {undisturbed}");
    }
}

#[test]
fn a_trainer_that_cannot_clip_leaves_spikes_out() {
    let spec = spec(BEST_RATE, Tier::Rates, STEPS);
    let spike = |step| if (450..453).contains(&step) { 1000.0 } else { 1.0 };
    let mut run = Run::new(&spec, Habits { fault: spike, ..Habits::default() }, 1);
    run.train_until(STEPS);

    let undisturbed = Run::new(&spec, Habits::default(), 1).train_until(STEPS).loss();
    assert!(run.loss() < 1.1 * undisturbed, "{} against {undisturbed}", run.loss());
    assert_eq!((run.copies(), restores(&run.decisions)), (0, 0), "tier 0 keeps no copies");
    assert!(run.directives.iter().all(|directive| directive.told.bound.clip_norm.is_none()));
    assert!(run.directives.iter().any(|directive| directive.told.bound.skip_above_norm.is_some()));
}

#[test]
fn below_tier_2_the_rate_given_is_trusted() {
    for tier in [Tier::Rates, Tier::Clip] {
        let mut run = Run::new(&spec(BEST_RATE, tier, STEPS), Habits::default(), 1);
        run.train_until(STEPS);
        assert_eq!(run.directives[0].rates[0].learning_rate.to_bits(), BEST_RATE.to_bits());
        assert!(run.directives.iter().all(|directive| directive.told.actions.is_empty()), "{tier:?}");
    }
}

#[test]
fn a_trusted_rate_does_as_well_as_under_a_cosine_and_about_as_well_as_it_is() {
    for (tier, steps) in [(Tier::Clip, STEPS), (Tier::Restore, 255), (Tier::Restore, 128), (Tier::Restore, 30)] {
        for wrong in [4.0, 1.0, 0.1] {
            let rate = BEST_RATE * wrong;
            let trusted =
                mean(|seed| Run::new(&spec(rate, tier, steps), Habits::default(), seed).train_until(steps).loss());
            let cosine = mean(|seed| cosine(rate, steps, seed));
            let constant = mean(|seed| constant(rate, steps, seed));
            println!("{steps} steps, x{wrong}: {trusted:.4}, cosine {cosine:.4}, constant {constant:.4}");
            assert!(trusted < 1.02 * cosine, "{steps} steps, x{wrong}: {trusted} against {cosine} under a cosine");
            // In a run of 30 steps a tenth of it is three steps.
            let near = if steps == 30 { 1.6 } else { 1.2 };
            assert!(trusted < near * constant, "{steps} steps, x{wrong}: {trusted} against {constant} as it is");
        }
    }
}

#[test]
fn a_rate_that_diverges_is_backed_off_from() {
    let trusted = auto::Params { search: Some(false), ..auto::Params::default() };
    let spec = Spec { controllers: vec![trusted.into()], ..spec(8.0, Tier::Restore, STEPS) };
    let mut run = Run::new(&spec, Habits::default(), 1);
    run.train_until(STEPS);

    let back_offs: Vec<_> = run.decisions.iter().filter(|decision| decision.reason.contains("diverged")).collect();
    assert!(!back_offs.is_empty());
    assert!(back_offs[0].evidence.contains_key("lowest_loss"), "{:?}", back_offs[0].evidence);
    assert!(run.loss() < 0.2, "{}: it started at {}", run.loss(), run.records[0].loss.unwrap());
}

#[test]
fn a_long_decision_lag_costs_little_and_is_kept() {
    let undelayed = final_loss(&spec(BEST_RATE, Tier::Restore, STEPS), Habits::default());
    let delayed_spec = Spec { decision_lag: 8, ..spec(BEST_RATE, Tier::Restore, STEPS) };
    let delayed = final_loss(&delayed_spec, Habits::default());
    assert!(delayed < 1.15 * undelayed, "{delayed} against {undelayed}");

    let mut run = Run::new(&delayed_spec, Habits::default(), 1);
    run.train_until(STEPS);
    assert!(run.decisions.iter().all(|decision| decision.effective_step == decision.step + 8));
}

#[test]
fn a_replay_of_the_records_gives_the_same_decisions_and_directives() {
    for decision_lag in [1, 8] {
        let spec = Spec { decision_lag, ..spec(BEST_RATE * 10.0, Tier::Restore, STEPS) };
        let mut run = Run::new(&spec, Habits::default(), 7);
        run.train_until(STEPS);
        assert!(run.decisions.len() > 5, "{}", run.decisions.len());

        let replayed = replay(&spec, &[], &[], run.records.clone(), 1).unwrap();

        assert_eq!(replayed.decisions, run.decisions);
        for directive in &run.directives {
            assert_eq!(replayed.directive_at(directive.step), *directive);
        }
    }
}

#[test]
fn a_restart_in_the_middle_of_the_search_is_survived() {
    let spec = spec(BEST_RATE * 30.0, Tier::Restore, STEPS);
    let mut run = Run::new(&spec, Habits::default(), 3);
    run.train_until(45).restart(2, 45);
    run.train_until(400).restart(3, 400);
    run.train_until(STEPS);

    let at = |step: usize| &run.directives[step].told.actions;
    assert_eq!(at(45)[..], [Action::Keep("start".to_owned())]);
    let anchor = constant(BEST_RATE, STEPS, 3);
    assert!(run.loss() < 1.3 * anchor, "{} against {anchor}", run.loss());
}

#[test]
fn copies_are_few_at_any_time() {
    let mut run = Run::new(&spec(BEST_RATE, Tier::Restore, STEPS), Habits::default(), 1);
    let mut most = 0;
    for step in 1..=STEPS {
        most = most.max(run.train_until(step).copies());
    }
    assert!(most <= 20, "{most} copies at once");
    assert!(run.copies() <= 6, "{} copies after the search", run.copies());
}

#[test]
fn without_a_norm_or_an_evaluation_it_does_without_and_says_so() {
    let blind = Habits { reports_norm: false, evaluates: false, ..Habits::default() };
    let spec = Spec { objective: None, ..spec(BEST_RATE, Tier::Restore, STEPS) };
    let mut run = Run::new(&spec, blind, 1);
    run.train_until(STEPS);

    let anchor = constant(BEST_RATE, STEPS, 1);
    assert!(run.loss() < 1.3 * anchor, "{} against {anchor}", run.loss());
    let missing = run.job.statuses()[0].missing.join("; ");
    assert!(
        missing.starts_with("grad_norm has not been reported yet: there is no bound on the gradient's norm"),
        "{missing}"
    );
    assert!(missing.contains("val_loss has not been reported yet: there are no cuts on a plateau"), "{missing}");
    let rate = |step: usize| run.directives[step].rates[0].learning_rate;
    assert!(rate(750) < rate(400), "half the training is cooldown");
    assert!(missing.contains("half the training is cooldown"), "{missing}");

    let trusted = Spec { tier: Tier::Clip, ..spec };
    let mut run = Run::new(&trusted, blind, 1);
    run.train_until(STEPS);
    let missing = run.job.statuses()[0].missing.join("; ");
    assert!(missing.ends_with("val_loss has not been reported yet: there are no cuts on a plateau"), "{missing}");
}

#[test]
fn where_higher_is_better_it_decides_the_same_and_shows_evaluations_as_they_were_reported() {
    let lower = spec(30.0 * BEST_RATE, Tier::Restore, STEPS);
    let objective = lower.objective.clone().map(|objective| Objective { mode: Mode::Max, ..objective });
    let higher = Spec { objective, ..lower.clone() };
    let mut run = Run::new(&lower, Habits::default(), 1);
    run.train_until(STEPS);
    let mut turned = Run::new(&higher, Habits { negates: true, ..Habits::default() }, 1);
    turned.train_until(STEPS);

    assert_eq!(run.directives, turned.directives);
    let shown = |decision: &Decision| {
        ["best", "last", "evaluation", "evaluation_before"].map(|name| decision.evidence.get(name).copied())
    };
    let mut seen = 0;
    for (decision, turned) in run.decisions.iter().zip(&turned.decisions) {
        assert_eq!(shown(decision), shown(turned).map(|value| value.map(|value| -value)), "{turned:?}");
        seen += usize::from(shown(decision)[0].is_some());
    }
    assert!(seen > 0, "no decision rests on evaluations");
}

#[test]
fn without_a_horizon_nothing_cools_down() {
    let open = Spec { total_steps: None, ..spec(BEST_RATE, Tier::Restore, STEPS) };
    let mut run = Run::new(&open, Habits::default(), 1);
    run.train_until(STEPS);
    let held: Vec<_> = run.directives.iter().filter(|directive| directive.step > 600).collect();
    let changes = held.windows(2).filter(|pair| pair[0].rates != pair[1].rates).count();
    assert!(changes <= 4, "{changes} changes of the rate while holding");
    assert!(run.loss() < 0.1, "{}", run.loss());
}

#[test]
fn all_groups_keep_their_proportion() {
    let mut two = spec(BEST_RATE, Tier::Restore, STEPS);
    two.groups.push(lrs_model::spec::Group {
        name: "head".to_owned(),
        base_lr: BEST_RATE * 3.0,
        ..two.groups[0].clone()
    });
    let mut run = Run::new(&two, Habits::default(), 1);
    run.train_until(STEPS);
    for directive in &run.directives {
        let (first, second) = (directive.rates[0].learning_rate, directive.rates[1].learning_rate);
        assert!((second - 3.0 * first).abs() <= 1e-12 * second, "step {}: {first} and {second}", directive.step);
    }
}

#[test]
fn a_loss_that_is_not_finite_is_missing_and_no_verdict() {
    let spec = spec(BEST_RATE, Tier::Restore, STEPS);
    let undisturbed = final_loss(&spec, Habits::default());
    let scaler: fn(u64) -> bool = |step| matches!(step, 0..12 | 40 | 41 | 100..103 | 600);
    for habits in [
        Habits { bad: 0.01, ..Habits::default() },
        Habits { bad: 0.02, ..Habits::default() },
        Habits { bad: 0.05, ..Habits::default() },
        Habits { bad: 0.2, ..Habits::default() },
        Habits { bad: 0.05, evaluates: false, ..Habits::default() },
        Habits { skips: scaler, ..Habits::default() },
    ] {
        let plain = if habits.evaluates {
            undisturbed
        } else {
            final_loss(&spec, Habits { evaluates: false, ..Habits::default() })
        };
        let disturbed = final_loss(&spec, habits);
        println!("{}% of the losses are NaN: {disturbed:.4}, without {plain:.4}", 100.0 * habits.bad);
        assert!(disturbed < 1.25 * plain, "{}: {disturbed} against {plain}", habits.bad);
    }
}

#[test]
fn losses_of_any_size_lead_to_the_same_rates() {
    let spec = spec(10.0 * BEST_RATE, Tier::Restore, STEPS);
    let rates = |unit: f64| {
        let mut run = Run::new(&spec, Habits { unit, ..Habits::default() }, 1);
        run.train_until(STEPS);
        run.directives.iter().map(|told| told.rates[0].learning_rate.to_bits()).collect::<Vec<_>>()
    };
    let plain = rates(1.0);
    for power in [60, -60] {
        assert_eq!(rates(libm::ldexp(1.0, power)), plain, "times 2^{power}");
    }
}

#[test]
fn a_run_without_a_finite_loss_is_told_to_stop_and_keeps_its_rate() {
    for tier in [Tier::Rates, Tier::Clip, Tier::Restore] {
        let mut run = Run::new(&spec(BEST_RATE, tier, STEPS), Habits { bad: 1.0, ..Habits::default() }, 1);
        run.train_until(STEPS);
        let advice: Vec<_> = run.decisions.iter().filter(|one| matches!(one.effect, Effect::Advice(_))).collect();
        assert_eq!(advice.len(), 1, "{tier:?}: {:?}", run.decisions);
        assert!(advice[0].reason.starts_with("no loss has been finite since step 0"), "{}", advice[0].reason);
        assert!(run.directives.last().is_some_and(|last| last.told.stop_advice.is_some()));
    }
}

#[test]
fn without_any_loss_the_rate_is_the_one_given() {
    let mut run =
        Run::new(&spec(BEST_RATE, Tier::Restore, STEPS), Habits { reports_loss: false, ..Habits::default() }, 1);
    run.train_until(STEPS);
    let given = run.directives.iter().position(|told| told.rates[0].learning_rate >= BEST_RATE).expect("it is given");
    assert!(given <= 60, "step {given}");
    let said = run.decisions.iter().any(|decision| decision.reason.starts_with("no loss has been reported for"));
    assert!(said, "{:?}", run.decisions);
}
