//! The report of one job.

use lrs_audit::{MAX_METRICS, SlopeChange};
use lrs_model::{controller::Mode::Max, job::State, telemetry::Sample};

use super::builders::Job;

#[test]
fn the_target_is_reached_at_an_evaluation_and_its_cost_told() {
    let figures = Job::new("a", None, None)
        .objective("accuracy", Max, Some(0.9))
        .label("gpus", "4")
        .losses((0..100).map(|step| (step, 1.0)))
        .metric("accuracy", |step| (step % 10 == 9).then_some(if step < 49 { 0.5 } else { 0.95 }))
        .figures();

    let objective = figures.objective.as_ref().unwrap();
    assert_eq!((objective.steps_to_target, objective.seconds_to_target), (Some(50), Some(50.0)));
    assert_eq!((objective.metric.count, objective.metric.max), (10, Some((0.95, 49))));
    assert_eq!((figures.wall_seconds, figures.gpu_hours(figures.wall_seconds)), (Some(100.0), Some(100.0 / 900.0)));
    // The loss stands still all the time.
    assert_eq!(figures.plateau_seconds, Some(100.0));
    assert_eq!(figures.notes, Vec::<String>::new());
}

#[test]
fn what_is_missing_is_said() {
    let notes = |job: Job| job.figures().notes.join(" ");
    assert!(notes(Job::new("a", None, None)).contains("Nothing has been reported"));
    let running = Job::new("a", None, None).losses([(0, 1.0)]).state(State::Running);
    assert!(notes(running).contains("no wall time yet"));
    let job = Job::new("a", None, None).objective("accuracy", Max, None).losses([(0, 1.0)]);
    assert!(notes(job).contains("metric accuracy was never reported"));
    let job = Job::new("a", None, None).objective("loss", Max, None).label("gpus", "many").losses([(0, 1.0)]);
    assert!(notes(job).contains("label gpus is \"many\""));
    let mut job = Job::new("a", None, None);
    job.records = vec![Sample { grad_norm: Some(1.0), ..Sample::new(0) }];
    assert!(notes(job).contains("No loss was reported"));
    let mut job = Job::new("a", None, None);
    job.row.telemetry_removed_time = Some(lrs_model::job::Timestamp(0));
    assert!(notes(job).contains("retention"));
}

#[test]
fn a_run_of_many_metrics_is_bounded_and_its_objective_is_kept() {
    let mut job = Job::new("a", None, None).objective("zzz", Max, None).losses([(0, 1.0)]);
    for i in 0..100 {
        job.records[0].add_metric(format!("m{i:03}").into(), 1.0);
    }
    job.records[0].add_metric("zzz".into(), 5.0);
    let figures = job.figures();
    assert_eq!(figures.metrics.len(), MAX_METRICS + 1);
    assert_eq!((figures.objective.unwrap().metric.last, figures.metrics_left_out), (5.0, 37));
}

#[test]
fn a_decision_is_shown_with_what_the_loss_did() {
    let loss = |step: u64| if step < 100 { 2.0 } else { 2.0 - 0.01 * f64::from(u32::try_from(step).unwrap() - 100) };
    let figures = Job::new("a", None, None).losses((0..200).map(|step| (step, loss(step)))).cut(100).figures();
    assert_eq!(figures.decisions.shown[0].change, Some(SlopeChange::Faster));
    assert_eq!((figures.decisions.by_controllers, figures.decisions.total()), (1, 1));
}

#[test]
fn a_million_steps_make_curves_of_a_few_hundred_points_that_keep_the_spike() {
    let losses = (0..1_000_000_u64).map(|step| (step, if step == 654_321 { 50.0 } else { 1.0 }));
    let figures = Job::new("a", None, None).losses(losses).figures();
    let curve = figures.curves.iter().find(|curve| curve.name == "loss").unwrap();
    assert!(curve.steps.len() < 700, "{}", curve.steps.len());
    assert!(curve.values.contains(&50.0));
    assert_eq!(figures.loss.unwrap().stability.spikes, 1);
}
