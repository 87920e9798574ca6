//! Writes data as the release that this is compiled in writes it: `scripts/write-fixture.sh COMMIT NAME` puts this file
//! into the tests of that release and runs it there. It is no test of the release it lies in.
//!
//! What comes out: the databases as SQL, and `expected.json`, what that release served.

#[path = "support/postgres.rs"]
mod postgres;
#[path = "support/server.rs"]
mod server;

use std::{fs, path::Path, process::Command};

use lrs_proto::{CompleteJobRequest, ForkJobRequest, JobSpec, ListDecisionsRequest, ListJobsRequest, MetricSeries, OverrideLearningRateRequest, PauseJobRequest, QueryTelemetryRequest, RateOverride, StreamTelemetryRequest, override_learning_rate_request::Order, rate_override::Setting};
use postgres::TestPostgres;
use serde_json::{Value, json};
use server::{Server, spec, spec_json};

/// Snapshots and merges, of which a short history has none otherwise.
const ARGUMENTS: [&str; 4] = ["--snapshot-after-records", "64", "--merge-after-chunks", "8"];

fn loss(step: i64) -> f64 {
    1.0 + f64::from(u32::try_from(step.rem_euclid(7)).unwrap()) / 10.0
}

fn plateau(ranks: i32) -> JobSpec {
    let text = r#"{"groups": [{"name": "body", "base_lr": 1.0}, {"name": "head", "base_lr": 0.5}], "decision_lag": 2,
        "labels": {"team": "größe"},
        "controllers": [{"reduce_lr_on_plateau": {"factor": 0.9, "patience": 3}}]}"#;
    JobSpec { reporting_ranks: Some(ranks), ..spec_json(text) }
}

/// Reports `from..to` in messages of ten steps.
async fn report(server: &Server, job: &str, attempt: i64, rank: i32, from: i64, to: i64) {
    let mut stream = server.stream(job, attempt, rank).await;
    let mut step = from;
    while step < to {
        let end = to.min(step + 10);
        stream.losses(step, &(step..end).map(loss).collect::<Vec<_>>()).await;
        stream.until_durable(end - 1).await;
        step = end;
    }
}

/// A job under the recommended controller.
fn closed_loop(decision_lag: u32) -> JobSpec {
    spec_json(&format!(
        r#"{{"groups": [{{"base_lr": 0.1}}], "total_steps": "1000", "tier": 2, "decision_lag": {decision_lag},
            "controller": "auto", "objective": {{"metric": "val_loss"}}}}"#
    ))
}

/// Reports `to` steps from the first on as a training that falls, rests from step 250 on, and blows up for a while at
/// 420.
async fn train(server: &Server, job: &str, attempt: i64, to: i64) {
    let mut stream = server.stream(job, attempt, 0).await;
    for from in (0..to).step_by(20) {
        let step: Vec<i64> = (from..to.min(from + 20)).collect();
        let level = |step: i64| {
            let fallen = f64::from(u32::try_from(step.min(250)).unwrap()) / 100.0;
            if (420..450).contains(&step) { 40.0 } else { 4.0 - fallen }
        };
        let message = StreamTelemetryRequest {
            loss: step.iter().map(|&step| level(step) * (0.95 + loss(step) / 20.0)).collect(),
            grad_norm: step.iter().map(|&step| loss(3 * step)).collect(),
            metrics: vec![MetricSeries {
                name: "val_loss".to_owned(),
                step: vec![step[step.len() - 1]],
                value: vec![level(from) + 0.01 * loss(from)],
            }],
            through_step: Some(step[step.len() - 1]),
            step,
            ..Default::default()
        };
        let last = message.through_step();
        stream.send(message).await;
        stream.until_durable(last).await;
    }
}

async fn write_history(server: &mut Server) {
    let steered = server.register("steered", plateau(1)).await.name;
    let attempt = server.start_attempt(&steered, "first", 0).await;
    report(server, &steered, attempt, 0, 0, 150).await;
    let set = RateOverride { setting: Some(Setting::Factor(0.5)), end_step: Some(5000) };
    let order = OverrideLearningRateRequest {
        name: steered.clone(),
        order: Some(Order::Set(set)),
        reason: "spikes".to_owned(),
        ..Default::default()
    };
    server.jobs().await.override_learning_rate(order).await.unwrap();
    report(server, &steered, attempt, 0, 150, 200).await;

    let ranks = server.register("ranks", plateau(2)).await.name;
    let attempt = server.start_attempt(&ranks, "first", 0).await;
    report(server, &ranks, attempt, 0, 0, 120).await;
    report(server, &ranks, attempt, 1, 0, 95).await;

    let rewound = server.register("rewound", plateau(1)).await.name;
    let attempt = server.start_attempt(&rewound, "first", 0).await;
    report(server, &rewound, attempt, 0, 0, 100).await;
    let attempt = server.start_attempt(&rewound, "second", 60).await;
    report(server, &rewound, attempt, 0, 60, 130).await;

    let ended = server.register("ended", plateau(1)).await.name;
    let attempt = server.start_attempt(&ended, "first", 0).await;
    report(server, &ended, attempt, 0, 0, 80).await;
    let complete = CompleteJobRequest { name: ended, outcome: 5, reason: "done".to_owned(), ..Default::default() };
    server.jobs().await.complete_job(complete).await.unwrap();

    let fork = ForkJobRequest { name: steered, step: 120, job_id: "forked".to_owned(), ..Default::default() };
    let forked = server.jobs().await.fork_job(fork).await.unwrap().into_inner().name;
    let attempt = server.start_attempt(&forked, "fork", 120).await;
    report(server, &forked, attempt, 0, 120, 170).await;

    let odd = server.register("odd", plateau(1)).await.name;
    let attempt = server.start_attempt(&odd, "first", 0).await;
    let mut stream = server.stream(&odd, attempt, 0).await;
    let series = |name: &str, step: &[i64], value: &[f64]| MetricSeries {
        name: name.to_owned(),
        step: step.to_vec(),
        value: value.to_vec(),
    };
    let message = StreamTelemetryRequest {
        step: vec![0, 1, 2, 5, 9],
        loss: vec![f64::NAN, f64::INFINITY, -0.0, 5e-324, f64::NEG_INFINITY],
        grad_norm: vec![1.0, 2.0, f64::NAN, 4.0, 1e300],
        learning_rate: vec![1.0; 5],
        metrics: vec![series("val_loss", &[2, 9], &[0.5, f64::NAN]), series("größe", &[5], &[7.0])],
        through_step: Some(9),
        ..Default::default()
    };
    stream.send(message).await;
    stream.until_durable(9).await;

    let paused = server.register("paused", plateau(1)).await.name;
    let attempt = server.start_attempt(&paused, "first", 0).await;
    report(server, &paused, attempt, 0, 0, 40).await;
    server.jobs().await.pause_job(PauseJobRequest { name: paused, ..Default::default() }).await.unwrap();

    for (id, decision_lag, steps) in
        [("searching", 1, 60), ("searching-late", 8, 60), ("held", 1, 600), ("held-late", 8, 600)]
    {
        let job = server.register(id, closed_loop(decision_lag)).await.name;
        let attempt = server.start_attempt(&job, "first", 0).await;
        train(server, &job, attempt, steps).await;
    }

    server.register("pending", spec(0.1)).await;
    let torch = r#"{"groups": [{"base_lr": 0.1}], "total_steps": "500", "schedule":
        {"library": "torch", "scheduler": "OneCycleLR", "params": {"max_lr": 0.1, "total_steps": 500}}}"#;
    let torch = server.register("torch", spec_json(torch)).await.name;
    server.start_attempt(&torch, "first", 0).await;
}

/// What the server says of every job.
async fn served(server: &Server) -> Value {
    let all = ListJobsRequest { parent: "namespaces/test".to_owned(), page_size: 100, ..Default::default() };
    let mut jobs = Vec::new();
    for job in server.jobs().await.list_jobs(all).await.unwrap().into_inner().jobs {
        let request = ListDecisionsRequest { job: job.name.clone(), page_size: 1000, ..Default::default() };
        let decisions = server.jobs().await.list_decisions(request).await.unwrap().into_inner().decisions;
        let mut series = Vec::new();
        let mut rates = Vec::new();
        if job.attempt > 0 {
            let query = QueryTelemetryRequest { job: job.name.clone(), page_size: 10_000, ..Default::default() };
            let answer = server.jobs().await.query_telemetry(query).await.unwrap().into_inner();
            for found in answer.series {
                let values: Vec<Value> =
                    found.step.iter().zip(&found.value).map(|(step, value)| json!([step, bits(*value)])).collect();
                series.push(json!({"name": found.name, "values": values}));
            }
        }
        if job.attempt > 0 && job.end_time.is_none() {
            let watermark = job.progress.as_ref().and_then(|progress| progress.watermark_step).unwrap_or(-1);
            for step in 0..=watermark + 1 {
                rates.push(bits(server.final_rate(&job.name, job.attempt, step).await));
            }
        }
        jobs.push(json!({
            "name": job.name,
            "job": serde_json::to_value(&job).unwrap(),
            "decisions": serde_json::to_value(&decisions).unwrap(),
            "series": series,
            "rates": rates,
        }));
    }
    json!({ "jobs": jobs })
}

/// Every bit, NaN too.
fn bits(value: f64) -> String {
    format!("{:016x}", value.to_bits())
}

fn dump(command: &mut Command, path: &Path) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    fs::write(path, output.stdout).unwrap();
}

async fn write(mut server: Server, expected: &Path) -> Server {
    write_history(&mut server).await;
    let before = served(&server).await;
    fs::write(expected, serde_json::to_string(&before).unwrap()).unwrap();
    // As a crash leaves it: telemetry past the snapshots, blocks reserved.
    server.kill();
    server
}

#[tokio::test(flavor = "multi_thread")]
async fn write_fixture() {
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join("fixture");
    fs::create_dir_all(&out).unwrap();

    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("lrs.db");
    let server = Server::with(&format!("sqlite://{}", file.display()), &ARGUMENTS).await;
    drop(write(server, &out.join("sqlite.expected.json")).await);
    dump(Command::new("sqlite3").arg(&file).arg(".dump"), &out.join("sqlite.sql"));

    let postgres = TestPostgres::private(&[]);
    let url = postgres.create_database().await;
    let server = Server::with(&url, &ARGUMENTS).await;
    drop(write(server, &out.join("postgres.expected.json")).await);
    let mut pg_dump = Command::new("pg_dump");
    pg_dump.args(["--inserts", "--rows-per-insert=50", "--no-owner", "--no-privileges"]).arg(&url);
    dump(&mut pg_dump, &out.join("postgres.sql"));
}
