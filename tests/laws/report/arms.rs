//! The jobs of an experiment that are compared, and the reasons given for leaving out the others.

use lrs_audit::{Audit, Comparison, JobFigures, Measure, Subject, Verdict, compare};
use lrs_model::{
    controller::Mode::{Max, Min},
    job::{State, Timestamp},
    spec::Arm::{Baseline, Scheduled},
};

use super::builders::Job;

/// A job whose loss falls to `last` over 100 steps, which it reaches by step `reached`.
fn job(id: &str, arm: lrs_model::spec::Arm, seed: i64, last: f64, reached: u64) -> Job {
    let loss = move |step: u64| {
        let done = u32::try_from(step).map(f64::from).unwrap() / u32::try_from(reached).map(f64::from).unwrap();
        last + (3.0 - last) * (1.0 - done).max(0.0)
    };
    Job::new(id, Some(arm), Some(seed))
        .objective("loss", Min, Some(1.0))
        .label("gpus", "8")
        .losses((0..100).map(|step| (step, loss(step))))
}

fn pair(seed: i64) -> [Job; 2] {
    [job(&format!("s{seed}"), Scheduled, seed, 0.5, 40), job(&format!("b{seed}"), Baseline, seed, 0.9, 80)]
}

fn compared(jobs: impl IntoIterator<Item = Job>) -> Comparison {
    compare("digits", &jobs.into_iter().map(Job::figures).collect::<Vec<_>>())
}

#[track_caller]
fn left_out(comparison: &Comparison, subject: &str) -> String {
    let found = comparison.left_out.iter().find(|left| left.subject == subject);
    found.unwrap_or_else(|| panic!("{subject} is not among {:?}", comparison.left_out)).reason.clone()
}

#[test]
fn pairs_of_seeds_are_compared_and_the_savings_told() {
    let found = compared((0..6).flat_map(pair));

    assert_eq!((found.pairs.len(), found.left_out.len()), (6, 0), "{:?}", found.left_out);
    assert!(
        found.verdict.starts_with("final loss: evidence that the scheduled arm is better with 6 seeds"),
        "{}",
        found.verdict
    );
    let measures: Vec<Measure> = found.measures.iter().map(|figures| figures.measure).collect();
    assert_eq!(measures, Measure::ALL);
    let steps = &found.measures[3];
    assert_eq!((steps.pairs[0].scheduled, steps.pairs[0].baseline), (Some(33.0), Some(78.0)));
    // 100 steps in 100 seconds on 8 GPUs.
    assert_eq!((found.savings.pairs, found.savings.steps), (6, Some(270.0)));
    let (seconds, hours) = (found.savings.seconds.unwrap(), found.savings.gpu_hours.unwrap());
    assert!((seconds - 270.0).abs() < 1e-9 && (hours - 270.0 * 8.0 / 3600.0).abs() < 1e-9, "{seconds} {hours}");
    assert!(
        found.savings.sentence.contains("saved 270 steps, 270 s of wall time, 0.6 GPU hours"),
        "{}",
        found.savings.sentence
    );
}

#[test]
fn the_order_of_the_jobs_does_not_matter() {
    let mut jobs: Vec<JobFigures> = (0..4).flat_map(pair).map(Job::figures).collect();
    let subject = || Subject::Experiment { namespace: "test".to_owned(), experiment: "digits".to_owned() };
    let first = Audit::of(subject(), jobs.clone());
    jobs.reverse();
    assert_eq!(Audit::of(subject(), jobs), first);
}

#[test]
fn what_still_runs_or_failed_is_left_out_with_the_reason_and_the_rest_compared() {
    let [scheduled, baseline] = pair(0);
    let mut running = job("running", Scheduled, 1, 0.5, 40).state(State::Running);
    running.row.spec.total_steps = Some(1000);
    let failed = job("failed", Baseline, 1, 0.5, 40).state(State::Failed);
    let empty = job("empty", Scheduled, 2, 0.5, 40).state(State::Pending).losses([]);

    let found = compared([scheduled, baseline, running, failed, empty]);

    assert_eq!(found.pairs.len(), 1);
    let reason = left_out(&found, "namespaces/test/jobs/running");
    assert!(reason.contains("RUNNING, with 100 steps of 1000 trained: it is compared once"), "{reason}");
    assert!(left_out(&found, "namespaces/test/jobs/failed").contains("favours its arm"));
    assert!(left_out(&found, "namespaces/test/jobs/empty").contains("reported nothing and is PENDING"));
    assert_eq!(found.measures[0].verdict, Verdict::OnePair);
}

#[test]
fn a_job_that_runs_but_has_all_its_steps_is_compared() {
    let [mut scheduled, baseline] = pair(0);
    scheduled.row.spec.total_steps = Some(100);
    let found = compared([scheduled.state(State::Running), baseline]);
    assert_eq!(found.pairs.len(), 1);
    assert!(found.savings.steps.is_some() && found.savings.seconds.is_none(), "{:?}", found.savings);
    assert!(found.savings.sentence.contains("only of jobs that have ended"), "{}", found.savings.sentence);
}

#[test]
fn unlike_jobs_are_named_and_not_compared() {
    let mut jobs: Vec<Job> = (0..3).flat_map(pair).collect();
    jobs.push(job("other", Scheduled, 7, 0.5, 40).objective("accuracy", Max, None));
    jobs.push(job("lonely", Baseline, 8, 0.5, 40));
    let mut no_seed = job("no-seed", Baseline, 0, 0.5, 40);
    no_seed.row.spec.seed = None;
    let mut no_arm = job("no-arm", Baseline, 0, 0.5, 40);
    no_arm.row.spec.arm = None;
    jobs.extend([no_seed, no_arm]);
    let mut again = job("s1-again", Scheduled, 1, 0.4, 40);
    again.row.create_time = Timestamp(950_000_000);
    jobs.push(again);

    let found = compared(jobs);

    let reason = left_out(&found, "namespaces/test/jobs/other");
    assert!(reason.contains("accuracy (higher is better), that of most others loss (lower is better)"), "{reason}");
    assert!(left_out(&found, "seed 8").contains("no scheduled job"));
    assert!(left_out(&found, "namespaces/test/jobs/no-seed").contains("no seed"));
    assert!(left_out(&found, "namespaces/test/jobs/no-arm").contains("no arm"));
    assert!(left_out(&found, "namespaces/test/jobs/s1").contains("s1-again has the same arm and seed"));
    assert_eq!(found.pairs.len(), 3);
    assert_eq!(found.pairs[1].scheduled, "namespaces/test/jobs/s1-again");
}

#[test]
fn unequal_lengths_and_targets_are_said() {
    let [scheduled, baseline] = pair(0);
    let longer = baseline.losses((0..120).map(|step| (step, 2.0)));
    let [other, same] = pair(1);
    let found = compared([scheduled, longer, other.objective("loss", Min, Some(2.0)), same]);

    let reason = left_out(&found, "seed 0");
    assert!(reason.contains("up to step 99 and the baseline up to step 119"), "{reason}");
    assert!(left_out(&found, "target").contains("1, 2"));
    let of = |measure| found.measures.iter().find(|figures| figures.measure == measure).unwrap().pairs.len();
    assert_eq!((of(Measure::FinalValue), of(Measure::StepsToTarget)), (2, 1));
}

#[test]
fn an_empty_experiment_and_one_arm_alone_have_nothing_to_compare() {
    let found = compared([]);
    assert_eq!(found.verdict, "nothing can be compared: no seed has a finished job in both arms");
    let [scheduled, _] = pair(0);
    let found = compared([scheduled]);
    assert!(found.verdict.starts_with("nothing can be compared"));
    assert!(left_out(&found, "seed 0").contains("no baseline job"));
    assert!(found.measures.is_empty() && found.savings.steps.is_none());
}

#[test]
fn without_an_objective_the_loss_is_compared_and_there_is_no_target() {
    let jobs = pair(0).map(|mut job| {
        job.row.spec.objective = None;
        job
    });
    let found = compared(jobs);
    assert_eq!((found.objective.metric.as_str(), found.objective.target), ("loss", None));
    assert!(found.savings.sentence.contains("no target is set"));
    assert!(found.measures.iter().all(|figures| !figures.measure.needs_target()));
}
