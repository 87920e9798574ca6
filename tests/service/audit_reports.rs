//! Audit reports of a real server: over gRPC, as JSON, as a page, and on the command line; and the experiments that
//! they report on.

use std::process::Output;

use crate::program::{client_of, succeeds};
use crate::server::{Server, spec_json};
use lrs_proto::{
    AuditReport, CompleteJobRequest, DecisionReport, GetAuditReportRequest, JobSpec, MetricSeries,
    StreamTelemetryRequest, decision::Effect, decision_report::SlopeChange, get_audit_report_request::Subject,
    job::State, measure_report::Verdict, report_service_client::ReportServiceClient,
};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

const STEPS: u32 = 240;

fn spec(arm: &str, seed: i64) -> JobSpec {
    let controllers = if arm == "ARM_SCHEDULED" {
        r#"[{"reduce_lr_on_plateau": {"metric": "val_loss", "factor": 0.5, "patience": 2}}]"#
    } else {
        "[]"
    };
    spec_json(&format!(
        r#"{{"groups": [{{"base_lr": 1.0}}], "total_steps": "{STEPS}", "experiment": "a b/c:d", "arm": "{arm}", "seed": "{seed}",
            "objective": {{"metric": "val_loss", "target": 1.0}}, "labels": {{"gpus": "4"}}, "controllers": {controllers}}}"#
    ))
}

/// Registers and trains a job.
async fn train(server: &Server, id: &str, spec: JobSpec, last: f64) -> String {
    let job = server.register(id, spec).await.name;
    report_steps(server, &job, last).await;
    job
}

/// Trains a job: a loss that falls to `last` and stands there, evaluated every ten steps.
async fn report_steps(server: &Server, job: &str, last: f64) {
    let attempt = server.start_attempt(job, "t", 0).await;
    let mut stream = server.stream(job, attempt, 0).await;
    let loss = |step: u32| last + (2.0 - last) * (1.0 - f64::from(step) / 100.0).max(0.0);
    for first in (0..STEPS).step_by(40) {
        let steps = first..first + 40;
        let evaluated: Vec<u32> = steps.clone().filter(|step| step % 10 == 9).collect();
        let series = MetricSeries {
            name: "val_loss".to_owned(),
            step: evaluated.iter().copied().map(i64::from).collect(),
            value: evaluated.iter().copied().map(loss).collect(),
        };
        let request = StreamTelemetryRequest {
            step: steps.clone().map(i64::from).collect(),
            loss: steps.clone().map(loss).collect(),
            metrics: vec![series],
            through_step: steps.last().map(i64::from),
            ..Default::default()
        };
        stream.send(request).await;
    }
    stream.until_durable(i64::from(STEPS - 1)).await;
}

async fn complete(server: &Server, name: &str) {
    let request = CompleteJobRequest { name: name.to_owned(), outcome: State::Completed.into(), ..Default::default() };
    server.jobs().await.complete_job(request).await.unwrap();
}

/// An experiment of two seeds whose jobs have all ended.
async fn experiment(server: &Server) {
    for seed in 0..2_i32 {
        for (arm, id, last) in [("ARM_SCHEDULED", "s", 0.5), ("ARM_BASELINE", "b", 0.8)] {
            let last = last + 0.01 * f64::from(seed);
            let job = train(server, &format!("{id}{seed}"), spec(arm, seed.into()), last).await;
            complete(server, &job).await;
        }
    }
}

async fn report(server: &Server, subject: impl Into<Option<Subject>>) -> Result<AuditReport, Status> {
    let subject = subject.into();
    let mut reports = ReportServiceClient::new(server.channel().await);
    reports.get_audit_report(GetAuditReportRequest { subject, target: None }).await.map(tonic::Response::into_inner)
}

fn of_experiment(name: &str) -> Subject {
    Subject::Experiment(name.to_owned())
}

const EXPERIMENT: &str = "namespaces/test/experiments/a b/c:d";
const EXPERIMENT_PATH: &str = "/v1/namespaces/test/experiments/a%20b%2Fc%3Ad:report";

fn lrs(server: &Server, arguments: &[&str]) -> Output {
    client_of(server).args(arguments).env("LRS_NAMESPACE", "test").output().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_experiment_is_reported_in_every_way_with_the_same_bits() {
    let server = Server::sqlite().await;
    experiment(&server).await;

    let found = report(&server, of_experiment(EXPERIMENT)).await.unwrap();
    let again = report(&server, of_experiment(EXPERIMENT)).await.unwrap();

    assert_eq!(found, again);
    assert_eq!((found.name.as_str(), found.jobs.len()), (EXPERIMENT, 4));
    let comparison = found.comparison.as_ref().unwrap();
    assert_eq!((comparison.pairs.len(), comparison.left_out.len()), (2, 0), "{:?}", comparison.left_out);
    let last = &comparison.measures[0];
    assert_eq!((last.title.as_str(), last.better, last.verdict()), ("final val_loss", 2, Verdict::Hint));
    assert!((last.difference.unwrap().mean + 0.3).abs() < 1e-9, "{:?}", last.difference);
    // 2 - 1.5 s / 100 <= 1 first at the evaluation of step 69; the baseline first at step 89.
    let savings = comparison.savings.as_ref().unwrap();
    assert_eq!((savings.pairs, savings.steps), (2, Some(40.0)));
    assert!(savings.seconds.is_some() && savings.gpu_hours.is_some());

    let job = found.jobs.iter().find(|job| job.job.ends_with("/s0")).unwrap();
    assert_eq!((job.records, job.gpus, job.state()), (STEPS.into(), Some(4.0), State::Completed));
    assert!(job.wall_seconds.unwrap() > 0.0);
    let decisions = job.decisions.as_ref().unwrap();
    assert!(decisions.by_controllers > 0 && decisions.by_people == 0);
    let moves = |found: &&DecisionReport| !matches!(found.decision.as_ref().unwrap().effect, Some(Effect::Advice(_)));
    let first = decisions.decisions.iter().find(moves).unwrap();
    assert!(first.before.is_some() && first.after.is_some() && first.change() != SlopeChange::Unspecified, "{first:?}");
    let plateau = job.loss.as_ref().unwrap().plateau.as_ref().unwrap();
    assert!((0.4..0.7).contains(&plateau.share), "{plateau:?}");

    let (status, json) = server.http_get(EXPERIMENT_PATH).await;
    assert_eq!(status, 200, "{json}");
    assert_eq!(serde_json::from_str::<AuditReport>(&json).unwrap(), found);
    let printed = succeeds(&lrs(&server, &["report", "--experiment", "a b/c:d", "--json"]));
    assert_eq!(serde_json::from_str::<AuditReport>(&printed).unwrap(), found);

    let (status, page) = server.http_get(&format!("{EXPERIMENT_PATH}?format=html")).await;
    assert_eq!(status, 200);
    assert!(page.starts_with("<!DOCTYPE html>") && page.contains("Plotly") && page.contains("final val_loss"));
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().to_str().unwrap();
    succeeds(&lrs(&server, &["report", "--experiment", "a b/c:d", "--format", "html", "-o", path]));
    assert!(std::fs::read_to_string(path).unwrap() == page, "the page of the command differs from the server's");

    let (_, markdown) = server.http_get(&format!("{EXPERIMENT_PATH}?format=markdown")).await;
    std::fs::write(path, &json).unwrap();
    assert_eq!(succeeds(&lrs(&server, &["report", "--from", path])), markdown);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_target_can_be_asked_for_and_changes_only_what_is_about_the_target() {
    let server = Server::sqlite().await;
    experiment(&server).await;
    let own = report(&server, of_experiment(EXPERIMENT)).await.unwrap();

    let (status, json) = server.http_get(&format!("{EXPERIMENT_PATH}?target=1.5")).await;
    assert_eq!(status, 200, "{json}");
    let asked: AuditReport = serde_json::from_str(&json).unwrap();

    let [own_arms, arms] = [&own, &asked].map(|report| report.comparison.as_ref().unwrap());
    assert_eq!(arms.measures[..2], own_arms.measures[..2]);
    assert_eq!(arms.objective.as_ref().unwrap().target, Some(1.5));
    // 2 - 1.5 s / 100 <= 1.5 first at the evaluation of step 39; the baseline first at step 49.
    assert_eq!((arms.savings.as_ref().unwrap().pairs, arms.savings.as_ref().unwrap().steps), (2, Some(20.0)));
    let printed = succeeds(&lrs(&server, &["report", "--experiment", "a b/c:d", "--target", "1.5", "--json"]));
    assert_eq!(serde_json::from_str::<AuditReport>(&printed).unwrap(), asked);
    for wrong in ["NaN", "inf", "x", ""] {
        let (status, answer) = server.http_get(&format!("{EXPERIMENT_PATH}?target={wrong}")).await;
        assert!(status == 400 && answer.contains("target"), "{wrong}: {status} {answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_still_runs_is_reported_as_far_as_it_has_come() {
    let server = Server::sqlite().await;
    let mut open = spec("ARM_SCHEDULED", 0);
    open.total_steps = Some(1000);
    let job = train(&server, "a", open, 0.5).await;

    let found = report(&server, Subject::Job(job.clone())).await.unwrap();

    assert!(found.comparison.is_none());
    let figures = &found.jobs[0];
    assert_eq!((figures.records, figures.wall_seconds, figures.state()), (STEPS.into(), None, State::Running));
    assert!(figures.notes[0].contains("RUNNING"), "{:?}", figures.notes);
    let (status, page) = server.http_get("/v1/namespaces/test/jobs/a:report?format=html").await;
    assert!(status == 200 && page.contains("Training loss"));
    let text = succeeds(&lrs(&server, &["report", "a"]));
    assert!(text.starts_with("# a\n") && text.contains("running"), "{text}");

    let comparison = report(&server, of_experiment(EXPERIMENT)).await.unwrap().comparison.unwrap();
    assert!(comparison.left_out[0].reason.contains("240 steps of 1000 trained"), "{:?}", comparison.left_out);
    assert!(comparison.verdict.starts_with("nothing can be compared"), "{}", comparison.verdict);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_is_reported_as_the_history_that_counts() {
    let server = Server::sqlite().await;
    let job = train(&server, "a", spec("ARM_SCHEDULED", 0), 0.5).await;
    let attempt = server.start_attempt(&job, "again", 100).await;
    let mut stream = server.stream(&job, attempt, 0).await;
    stream.losses(100, &[7.0; 20]).await;
    stream.until_durable(119).await;
    complete(&server, &job).await;

    let found = report(&server, Subject::Job(job)).await.unwrap();

    let figures = &found.jobs[0];
    assert_eq!((figures.attempt, figures.records, figures.last_step), (2, 120, Some(119)));
    let loss = figures.metrics.iter().find(|metric| metric.name == "loss").unwrap();
    assert_eq!((loss.last_value, loss.max_value), (7.0, Some(7.0)));
    // The first attempt's decisions from step 100 on do not count.
    let decisions = &figures.decisions.as_ref().unwrap().decisions;
    assert!(decisions.iter().all(|shown| shown.decision.as_ref().unwrap().step < 120), "{decisions:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_not_be_reported_is_said() {
    let directory = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", directory.path().join("lrs.db").display());
    let server = Server::with(&url, &["--max-report-jobs", "2"]).await;
    for id in ["a", "b", "c"] {
        server.register(id, spec("ARM_BASELINE", 0)).await;
    }

    let too_many = report(&server, of_experiment(EXPERIMENT)).await.unwrap_err();
    assert_eq!(too_many.code(), Code::InvalidArgument);
    assert!(too_many.message().contains("at most 2 jobs (max_report_jobs)"), "{}", too_many.message());
    let none = report(&server, of_experiment("namespaces/test/experiments/none")).await.unwrap_err();
    assert_eq!(
        (none.code(), none.get_details_error_info().unwrap().reason.as_str()),
        (Code::NotFound, "EXPERIMENT_NOT_FOUND")
    );
    let job = Subject::Job("namespaces/test/jobs/none".to_owned());
    assert_eq!(report(&server, job).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(report(&server, None).await.unwrap_err().code(), Code::InvalidArgument);
    assert_eq!(report(&server, of_experiment("digits")).await.unwrap_err().code(), Code::InvalidArgument);

    let (status, text) = server.http_get("/v1/namespaces/test/jobs/a:report?format=pdf").await;
    assert!(status == 400 && text.contains("json, html or markdown"), "{text}");
    assert_eq!(server.http_get("/v1/namespaces/test/experiments/x").await.0, 404);
    assert_eq!(server.http_get("/v1/namespaces/test/experiments/x:report").await.0, 404);
    let empty = succeeds(&lrs(&server, &["report", "a"]));
    assert!(empty.contains("No attempt has been started"), "{empty}");
    assert_eq!(lrs(&server, &["report", "none"]).status.code(), Some(3));
    assert_eq!(lrs(&server, &["report", "--experiment", "none"]).status.code(), Some(3));
}

const EXPERIMENT_FILE: &str = "
name: warmup
namespace: test
seeds: [3, 5]
command: train --job {job} --seed {seed} --server {server}
spec:
  groups: [{base_lr: 1}]
  total_steps: 240
  objective: {metric: val_loss, target: 1}
arms:
  scheduled: {spec: {schedule: {warmup: {warmup_steps: 10}}}}
  baseline: {}
";

fn file(text: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    file
}

fn experiment_run(server: &Server, file: &tempfile::NamedTempFile, arguments: &[&str]) -> Output {
    let first = ["experiment", "run", "-f", file.path().to_str().unwrap()];
    lrs(server, &[&first, arguments].concat())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_experiment_is_registered_once_however_often_it_is_run() {
    let server = Server::sqlite().await;
    let written = file(EXPERIMENT_FILE);

    let checked = succeeds(&experiment_run(&server, &written, &["--dry-run"]));
    assert!(checked.contains("checked"), "{checked}");
    assert_eq!(
        lrs(&server, &["job", "get", "warmup-scheduled-3"]).status.code(),
        Some(3),
        "a dry run registers nothing"
    );

    let commands = succeeds(&experiment_run(&server, &written, &["--format", "commands"]));
    let lines: Vec<&str> = commands.lines().collect();
    assert_eq!(lines.len(), 4, "{commands}");
    let expected =
        format!("train --job namespaces/test/jobs/warmup-scheduled-5 --seed 5 --server http://{}", server.grpc);
    assert_eq!(lines[1], expected);
    let again: serde_json::Value =
        serde_json::from_str(&succeeds(&experiment_run(&server, &written, &["--json"]))).unwrap();
    let jobs = again["jobs"].as_array().unwrap();
    assert!(jobs.len() == 4 && jobs.iter().all(|job| job["is_new"] == false), "{again}");
    let specs = succeeds(&experiment_run(&server, &written, &["--format", "specs"]));
    assert_eq!(specs.matches("experiment: warmup").count(), 4, "{specs}");

    let other = file(&EXPERIMENT_FILE.replace("total_steps: 240", "total_steps: 241"));
    let refused = experiment_run(&server, &other, &[]);
    assert_eq!(refused.status.code(), Some(4));
    assert!(
        String::from_utf8_lossy(&refused.stderr).contains("exists already, with another spec: total_steps"),
        "{refused:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_experiment_registers_nothing_and_says_what_is_wrong() {
    let server = Server::sqlite().await;
    // Only the last job is wrong, and only the server can tell.
    let wrong = file(&EXPERIMENT_FILE.replace("baseline: {}", "baseline: {spec: {groups: [{base_lr: -1}]}}"));
    let refused = experiment_run(&server, &wrong, &[]);
    assert_eq!(refused.status.code(), Some(2));
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("warmup-baseline-3") && said.contains("groups[0].base_lr"), "{said}");
    assert_eq!(lrs(&server, &["job", "get", "warmup-scheduled-3"]).status.code(), Some(3));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_experiment_is_waited_for_and_reported() {
    let server = Server::sqlite().await;
    let written = file(EXPERIMENT_FILE);
    succeeds(&experiment_run(&server, &written, &[]));
    let late = experiment_run(&server, &written, &["--wait", "--wait-timeout", "0s"]);
    assert_eq!(late.status.code(), Some(5));

    let waiting = client_of(&server)
        .args(["experiment", "run", "-f", written.path().to_str().unwrap(), "--wait", "--report", "markdown"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    for (id, last) in [("scheduled-3", 0.5), ("scheduled-5", 0.5), ("baseline-3", 0.6), ("baseline-5", 0.7)] {
        let job = format!("namespaces/test/jobs/warmup-{id}");
        report_steps(&server, &job, last).await;
        if id != "baseline-5" {
            complete(&server, &job).await;
        }
    }

    let text = succeeds(&waiting.wait_with_output().unwrap());
    assert!(text.starts_with("# warmup\n") && text.contains("2 seeds compared"), "{text}");
}
