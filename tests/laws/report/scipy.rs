//! The statistics against SciPy's and NumPy's: `tests/fixtures/report/scipy_figures.py` says how they were made.

use lrs_audit::{Measure, Slope, compare};
use lrs_model::spec::Arm;
use serde::Deserialize;

use super::builders::Job;

#[derive(Deserialize)]
struct Fixture {
    pairs: Vec<Pairs>,
    runs: Vec<Run>,
    plateaus: Vec<Plateaus>,
}

#[derive(Deserialize)]
struct Pairs {
    scheduled: Vec<f64>,
    baseline: Vec<f64>,
    mean: f64,
    effect_size: f64,
    sign_flip_p: f64,
    interval: [f64; 2],
}

#[derive(Deserialize)]
struct Run {
    steps: Vec<u64>,
    losses: Vec<f64>,
    effective_step: u64,
    before: ExpectedSlope,
    after: ExpectedSlope,
    area: f64,
    mean: f64,
    final_value: f64,
    best: (f64, u64),
}

#[derive(Deserialize)]
struct ExpectedSlope {
    count: u64,
    median: f64,
    slope: f64,
    low: f64,
    high: f64,
}

#[derive(Deserialize)]
struct Plateaus {
    losses: Vec<f64>,
    stretches: Vec<(u64, u64)>,
}

fn fixture() -> Fixture {
    serde_json::from_str(include_str!("../../fixtures/report/scipy_figures.json")).unwrap()
}

#[track_caller]
fn close(found: f64, expected: f64, tolerance: f64, what: &str) {
    assert!((found - expected).abs() <= tolerance * expected.abs().max(1.0), "{what}: {found} is not {expected}");
}

#[test]
fn what_is_said_between_arms_is_scipys() {
    let cases = fixture().pairs;
    assert!(cases.len() > 10);
    for (i, case) in cases.into_iter().enumerate() {
        let what = format!("case {i} of {} pairs", case.scheduled.len());
        let jobs = |arm: Arm, values: &[f64]| {
            let job = |(seed, &loss): (i64, &f64)| {
                let id = format!("{}-{seed}", if arm == Arm::Scheduled { "s" } else { "b" });
                Job::new(&id, Some(arm), Some(seed)).losses([(0, loss)]).figures()
            };
            (0..).zip(values).map(job).collect::<Vec<_>>()
        };
        let all = [jobs(Arm::Scheduled, &case.scheduled), jobs(Arm::Baseline, &case.baseline)].concat();

        let found = compare(&what, &all);

        let measure = found.measures.iter().find(|figures| figures.measure == Measure::FinalValue).unwrap();
        let difference = measure.difference.unwrap();
        assert_eq!(difference.pairs, case.scheduled.len());
        close(difference.mean, case.mean, 1e-12, &what);
        close(difference.effect_size.unwrap(), case.effect_size, 1e-9, &what);
        // Exact where all signs are tried; else both are samples.
        let is_exact = case.scheduled.len() <= 12;
        close(difference.p_value.unwrap(), case.sign_flip_p, if is_exact { 1e-12 } else { 0.02 }, &what);
        // Both are samples: ours of 10,000, SciPy's of 200,000.
        let (interval, [low, high]) = (difference.interval.unwrap(), case.interval);
        close(interval.low, low, 0.04 * (high - low), &what);
        close(interval.high, high, 0.04 * (high - low), &what);
    }
}

#[test]
fn what_is_said_of_a_run_is_scipys_and_numpys() {
    for (i, run) in fixture().runs.into_iter().enumerate() {
        let what = format!("run {i}");
        let points = run.steps.iter().copied().zip(run.losses.iter().copied());

        let figures = Job::new("a", None, None).losses(points).cut(run.effective_step).figures();

        let loss = figures.loss.as_ref().unwrap();
        close(loss.area.unwrap(), run.area, 1e-12, &what);
        close(loss.mean.unwrap(), run.mean, 1e-12, &what);
        let metric = &figures.metrics[0];
        close(metric.final_value, run.final_value, 1e-15, &what);
        assert_eq!(metric.min, Some(run.best), "{what}");
        let decision = &figures.decisions.shown[0];
        for (found, expected) in [(decision.before, run.before), (decision.after, run.after)] {
            let Slope { count, median, slope, low, high } = found.unwrap();
            assert_eq!(count, expected.count, "{what}");
            close(median, expected.median, 1e-15, &what);
            close(slope, expected.slope, 1e-12, &what);
            close(low, expected.low, 1e-12, &what);
            close(high, expected.high, 1e-12, &what);
        }
    }
}

#[test]
fn the_plateaus_are_where_kendalls_test_finds_no_fall() {
    for (i, case) in fixture().plateaus.into_iter().enumerate() {
        let figures = Job::new("a", None, None).losses((0..).zip(case.losses.iter().copied())).figures();
        let found = figures.loss.unwrap().plateau.unwrap();
        assert_eq!(found.stretches, case.stretches, "case {i} of {} losses", case.losses.len());
    }
}
