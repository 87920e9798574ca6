//! The demo's training while the server is killed.

use std::process::{Command, Stdio};

use crate::server::{Server, wait_for};
use lrs_proto::ListJobsRequest;

const JOBS: usize = 6;

/// The lowest watermark of the jobs; -1 until all of them report.
async fn progress(server: &Server) -> i64 {
    let request = ListJobsRequest { parent: "namespaces/demo".to_owned(), ..Default::default() };
    let jobs = server.jobs().await.list_jobs(request).await.unwrap().into_inner().jobs;
    let watermark = |job: &lrs_proto::Job| job.progress.as_ref().and_then(|progress| progress.watermark_step);
    if jobs.len() < JOBS { -1 } else { jobs.iter().map(|job| watermark(job).unwrap_or(-1)).min().unwrap_or(-1) }
}

#[tokio::test(flavor = "multi_thread")]
async fn six_networks_train_through_two_kills_and_every_decision_can_be_replayed() {
    let mut server = Server::sqlite().await;
    let endpoint = format!("http://{}", server.grpc);
    let page = tempfile::NamedTempFile::new().unwrap();
    let demo = Command::new(env!("CARGO_BIN_EXE_lrs"))
        .args(["demo", "--server", &endpoint, "--format", "json", "--report", page.path().to_str().unwrap()])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    for step in [200, 900] {
        wait_for("the networks to train", async || (progress(&server).await >= step).then_some(())).await;
        server.kill();
        server.start_again().await;
    }
    let output = tokio::task::spawn_blocking(|| demo.wait_with_output().unwrap()).await.unwrap();
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{log}");

    let result: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let arm = |arm: &str, figure: &str| result["arms"][arm][figure].clone();
    assert_eq!((arm("scheduled", "reached_target"), arm("baseline", "decisions")), (3.into(), 0.into()), "{result}");
    let accuracy = |arm: &str| result["arms"][arm]["final_accuracy"]["mean"].as_f64().unwrap();
    assert!(accuracy("scheduled") > accuracy("baseline"), "{result}");

    let report = std::fs::read_to_string(page.path()).unwrap();
    assert!(report.contains("Audit report") && report.contains("3 seeds compared"), "{}", report.len());

    let jobs = result["jobs"].as_array().unwrap();
    assert_eq!(jobs.len(), JOBS);
    for job in jobs {
        let replay = Command::new(env!("CARGO_BIN_EXE_lrs"))
            .args(["replay", job["name"].as_str().unwrap(), "--server", &endpoint])
            .output()
            .unwrap();
        assert!(replay.status.success(), "{job}: {}", String::from_utf8_lossy(&replay.stdout));
    }
}
