//! Telemetry past its namespace's retention is removed, whatever else is going on, and everyone who asks for it is
//! told.

use std::process::{Command, Output};

use crate::postgres::TestPostgres;
use crate::server::{Server, spec_json, wait_for};
use lrs_proto::{
    CompleteJobRequest, CreateJobRequest, DeleteJobRequest, ForkJobRequest, GetJobRequest, Job, JobSpec,
    ListDecisionsRequest, QueryTelemetryRequest, job::State,
};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

fn plateau() -> JobSpec {
    spec_json(
        r#"{"groups": [{"base_lr": 1.0}],
            "controllers": [{"reduce_lr_on_plateau": {"factor": 0.9, "patience": 2}}]}"#,
    )
}

async fn register(server: &Server, namespace: &str, id: &str) -> String {
    let job = Some(Job { spec: Some(plateau()), ..Job::default() });
    let parent = format!("namespaces/{namespace}");
    let request = CreateJobRequest { parent, job_id: id.to_owned(), job, ..Default::default() };
    server.jobs().await.create_job(request).await.unwrap().into_inner().name
}

/// Trains a job for `steps` steps, ten a report, and ends the job.
async fn trained_and_ended(server: &Server, namespace: &str, id: &str, steps: i64) -> String {
    let job = register(server, namespace, id).await;
    let attempt = server.start_attempt(&job, "t", 0).await;
    let mut stream = server.stream(&job, attempt, 0).await;
    for step in (0..steps).step_by(10) {
        stream.losses(step, &[1.0; 10]).await;
    }
    stream.until_durable(steps - 1).await;
    let request = CompleteJobRequest { name: job.clone(), outcome: State::Completed.into(), ..Default::default() };
    server.jobs().await.complete_job(request).await.unwrap();
    job
}

async fn losses(server: &Server, job: &str) -> Result<usize, Status> {
    let query = QueryTelemetryRequest { job: job.to_owned(), page_size: 100_000, ..Default::default() };
    let series = server.jobs().await.query_telemetry(query).await?.into_inner().series;
    Ok(series.iter().find(|series| series.name == "loss").map_or(0, |loss| loss.step.len()))
}

async fn decisions(server: &Server, job: &str) -> usize {
    let request = ListDecisionsRequest { job: job.to_owned(), page_size: 1000, ..Default::default() };
    server.jobs().await.list_decisions(request).await.unwrap().into_inner().decisions.len()
}

fn lrs(server: &Server, arguments: &[&str]) -> Output {
    let server = format!("http://{}", server.grpc);
    Command::new(env!("CARGO_BIN_EXE_lrs")).args(arguments).env("LRS_SERVER", server).output().unwrap()
}

fn assert_told(status: &Status, job: &str) {
    assert_eq!(status.code(), Code::FailedPrecondition, "{status:?}");
    assert_eq!(status.get_details_error_info().unwrap().reason, "TELEMETRY_REMOVED");
    assert!(status.message().contains(job) && status.message().contains("past its retention"), "{status:?}");
}

async fn telemetry_goes_when_its_time_has_come(url: &str) {
    let mut server = Server::with(url, &["--retention", "2s,archive=forever"]).await;
    let live = register(&server, "test", "live").await;
    let attempt = server.start_attempt(&live, "t", 0).await;
    let mut stream = server.stream(&live, attempt, 0).await;
    let kept = trained_and_ended(&server, "archive", "kept", 100).await;
    // More telemetry than one transaction removes.
    let old = trained_and_ended(&server, "test", "old", 1500).await;
    let decided = decisions(&server, &old).await;
    assert!(decided > 100, "{decided}");

    let mut step = 0;
    let mut train = async || {
        stream.losses(step, &[1.0; 5]).await;
        step += 5;
        stream.until_durable(step - 1).await;
    };
    let refusal = wait_for("the telemetry to go", async || {
        train().await;
        match losses(&server, &old).await {
            // All or nothing: telemetry that is being removed is never given out in part.
            Ok(count) => {
                assert_eq!(count, 1500);
                None
            }
            Err(refusal) => Some(refusal),
        }
    })
    .await;
    assert_told(&refusal, &old);
    wait_for("its removal to be told", async || {
        train().await;
        server.log().contains("Removed the telemetry of namespaces/test/jobs/old").then_some(())
    })
    .await;
    let (status, metrics) = server.http_get("/metrics").await;
    assert_eq!(status, 200);
    assert!(metrics.contains("lrs_telemetry_removed_jobs_total 1"), "{metrics}");
    assert!(metrics.contains("lrs_telemetry_removed_chunks_total 150"), "{metrics}");

    // Telemetry within its retention is complete, and so is the record of the decisions.
    let trained = usize::try_from(step).unwrap();
    assert_eq!(losses(&server, &live).await.unwrap(), trained, "a job that runs is older than the retention");
    assert_eq!(losses(&server, &kept).await.unwrap(), 100);
    assert_eq!(decisions(&server, &old).await, decided);
    let job = server.jobs().await.get_job(GetJobRequest { name: old.clone() }).await.unwrap().into_inner();
    assert_eq!(job.state(), State::Completed);
    let removed_time = job.telemetry_removed_time.expect("the job says that its telemetry was removed");
    assert!(removed_time.seconds >= job.end_time.unwrap().seconds + 2);

    let replay = lrs(&server, &["replay", &old]);
    let told = String::from_utf8(replay.stderr).unwrap();
    assert_eq!(replay.status.code(), Some(4), "{told}");
    assert!(told.contains("past its retention") && told.contains("hint: "), "{told}");
    assert!(lrs(&server, &["replay", &kept]).status.success());
    let fork = ForkJobRequest { name: old.clone(), step: 100, job_id: "again".to_owned(), ..Default::default() };
    assert_told(&server.jobs().await.fork_job(fork).await.unwrap_err(), &old);

    // The same holds after a crash.
    server.kill();
    server.start_again().await;
    assert_eq!(losses(&server, &live).await.unwrap(), trained);
    assert_told(&losses(&server, &old).await.unwrap_err(), &old);
    let rate = server.final_rate(&live, attempt, step).await;
    assert!(rate < 1.0, "the controller has decided on all of it: {rate}");
    let doctor = lrs(&server, &["doctor", "--database-url", url, "--format", "json"]);
    let diagnosis: serde_json::Value = serde_json::from_slice(&doctor.stdout).unwrap();
    assert!(doctor.status.success(), "{diagnosis}");
    assert_eq!(diagnosis["counts"]["jobs_without_telemetry"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_is_deleted_while_it_is_read_is_not_read_in_part() {
    let server = Server::sqlite().await;
    for number in 0..20 {
        let job = register(&server, "test", &format!("job-{number}")).await;
        let attempt = server.start_attempt(&job, "t", 0).await;
        let mut stream = server.stream(&job, attempt, 0).await;
        // The steps lie far apart, so that they are read one chunk after another.
        for i in 0..40 {
            stream.losses(i * 20_000, &[1.0]).await;
        }
        stream.until_durable(39 * 20_000).await;
        let delete = async {
            let request = DeleteJobRequest { name: job.clone(), force: true, ..DeleteJobRequest::default() };
            server.jobs().await.delete_job(request).await.unwrap();
        };
        let (read, ()) = tokio::join!(losses(&server, &job), delete);
        match read {
            Ok(count) => assert_eq!(count, 40),
            Err(refusal) => assert_eq!(refusal.code(), Code::NotFound, "{refusal:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn telemetry_goes_when_its_time_has_come_on_sqlite() {
    let directory = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", directory.path().join("lrs.db").display());
    telemetry_goes_when_its_time_has_come(&url).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn telemetry_goes_when_its_time_has_come_on_postgres() {
    telemetry_goes_when_its_time_has_come(&TestPostgres::shared().create_database().await).await;
}
