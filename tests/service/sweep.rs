//! Advice to stop, by a person and by `lrs sweep`: every caller gets the same advice, the advice is durable and on
//! record with its evidence, and asking again changes nothing.

use std::process::{Command, Stdio};

use crate::program::{client_of, succeeds};
use crate::server::{self, PATIENCE, Server, Stream, spec_json, wait_for};
use lrs_proto::{
    AdviseStopRequest, CompleteJobRequest, Decision, ForkJobRequest, ListDecisionsRequest,
    decision::{Author, Effect},
};
use tonic::Code;

fn command(server: &Server, line: &str) -> Command {
    let mut command = client_of(server);
    command.args(line.split_whitespace()).env("USER", "ann");
    command
}

fn lrs(server: &Server, line: &str) -> String {
    succeeds(&command(server, line).output().unwrap())
}

async fn decisions(server: &Server, job: &str) -> Vec<Decision> {
    let request = ListDecisionsRequest { job: job.to_owned(), page_size: 1000, ..Default::default() };
    server.jobs().await.list_decisions(request).await.unwrap().into_inner().decisions
}

async fn advice(server: &Server, job: &str, step: i64) -> String {
    server.ask(job, 0, step, 0, PATIENCE).await.unwrap().directive.unwrap().stop_advice
}

#[tokio::test(flavor = "multi_thread")]
async fn advice_is_told_from_the_first_step_not_given_out_and_survives_the_server() {
    let mut server = Server::sqlite().await;
    let job = server.register("advised", server::spec(0.1)).await.name;
    let attempt = server.start_attempt(&job, "t", 0).await;
    assert_eq!(advice(&server, &job, 5).await, "");
    let request = AdviseStopRequest {
        name: job.clone(),
        reason: "the data was wrong".to_owned(),
        author: "ann".to_owned(),
        evidence: [("loss".to_owned(), f64::NAN)].into(),
        request_id: "once".to_owned(),
        ..Default::default()
    };
    let decision = server.jobs().await.advise_stop(request.clone()).await.unwrap().into_inner();
    let repeat = server.jobs().await.advise_stop(request.clone()).await.unwrap().into_inner();
    assert_eq!((decision.name.as_str(), decision.effective_step), (repeat.name.as_str(), repeat.effective_step));
    let other = AdviseStopRequest { evidence: [("loss".to_owned(), 1.0)].into(), ..request };
    assert_eq!(server.jobs().await.advise_stop(other).await.unwrap_err().code(), Code::FailedPrecondition);

    let first = decision.effective_step;
    assert!(first > 5, "{first}");
    let told = async |server: &Server| {
        let before = if first > 6 { advice(server, &job, first - 1).await } else { String::new() };
        (before, advice(server, &job, first).await, advice(server, &job, first + 3).await)
    };
    let now = told(&server).await;
    assert_eq!(now, (String::new(), "the data was wrong".to_owned(), "the data was wrong".to_owned()));
    assert_eq!(server.final_rate(&job, attempt, first).await.to_bits(), 0.1f64.to_bits(), "advice changes no rate");
    server.kill();
    server.start_again().await;
    assert_eq!(told(&server).await, now);

    let fork = ForkJobRequest { name: job.clone(), step: 0, job_id: "fork".to_owned(), ..Default::default() };
    let fork = server.jobs().await.fork_job(fork).await.unwrap().into_inner().name;
    server.start_attempt(&fork, "t", 0).await;
    assert_eq!(advice(&server, &fork, first + 3).await, "", "a fork goes on");

    let (status, answer) =
        server.http_request("POST", "/v1/namespaces/test/jobs/fork:adviseStop", r#"{"reason": "over HTTP"}"#).await;
    assert_eq!((status, answer.contains("over HTTP")), (200, true), "{answer}");

    lrs(&server, "job advise-stop test/advised --withdraw --reason mistaken");
    let withdrawn = decisions(&server, &job).await.pop().unwrap();
    assert!(withdrawn.effective_step > first);
    assert_eq!(advice(&server, &job, withdrawn.effective_step).await, "");
    assert_eq!(advice(&server, &job, first).await, "the data was wrong", "what was told stays told");
    let refused = command(&server, "job advise-stop test/advised").output().unwrap();
    assert_eq!(refused.status.code(), Some(2), "without a reason there is nothing to tell");
}

/// A job of the experiment `study` that has begun to train.
async fn begun(server: &Server, id: &str, objective: &str) -> (String, Stream) {
    let spec = spec_json(&format!(
        r#"{{"groups": [{{"base_lr": 1.0}}], "experiment": "study", "objective": {objective}, "commit_ahead": 4}}"#
    ));
    let job = server.register(id, spec).await.name;
    let attempt = server.start_attempt(&job, "t", 0).await;
    let stream = server.stream(&job, attempt, 0).await;
    (job, stream)
}

async fn report(stream: &mut Stream, first_step: i64, losses: &[f64]) {
    stream.losses(first_step, losses).await;
    stream.until_durable(first_step + i64::try_from(losses.len()).unwrap() - 1).await;
}

/// Losses of five jobs. The third stands still at a loss that is good at step 10 but not at step 20; the last is behind
/// from the start.
fn losses(job: usize, steps: std::ops::Range<i64>) -> Vec<f64> {
    let loss = |step: i64| match job {
        2 => 0.25,
        4 if step == 5 => f64::NAN,
        4 => 5.0,
        _ => 1.0 / (1.0 + f64::from(i32::try_from(step).unwrap())),
    };
    steps.map(loss).collect()
}

const OBJECTIVE: &str = r#"{"metric": "loss"}"#;
const RULE: &str = "sweep study -n test --every 10 --min-jobs 2 --json";

fn findings(text: &str) -> Vec<(String, i64, String)> {
    let mut found: Vec<_> = text
        .lines()
        .map(|line| {
            let said: serde_json::Value = serde_json::from_str(line).unwrap();
            let figures = format!("{} {} {}", said["best"], said["median"], said["jobs"]);
            (said["job"].as_str().unwrap().to_owned(), said["step"].as_i64().unwrap(), figures)
        })
        .collect();
    found.sort();
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_says_the_same_live_and_after_the_fact() {
    let mut server = Server::sqlite().await;
    let mut jobs = Vec::new();
    for id in ["a", "b", "c", "d", "e"] {
        jobs.push(begun(&server, id, OBJECTIVE).await);
    }
    let live = command(&server, RULE)
        .args(["--interval", "20ms"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();

    // The last job reports first, and waits for the jobs that began before it.
    for (place, steps) in
        [(4, 0..21), (0, 0..21), (1, 0..11), (2, 0..16), (3, 0..41), (1, 11..41), (2, 16..41), (0, 21..41)]
    {
        report(&mut jobs[place].1, steps.start, &losses(place, steps)).await;
    }
    let told = wait_for("the two that are behind to be told", async || {
        let c = decisions(&server, &jobs[2].0).await.pop()?;
        Some((c, decisions(&server, &jobs[4].0).await.pop()?))
    })
    .await;
    for (decision, (job, _)) in [(&told.0, &jobs[2]), (&told.1, &jobs[4])] {
        assert_eq!(decision.author, Some(Author::Person("sweep".to_owned())));
        assert!(matches!(&decision.effect, Some(Effect::Advice(advice)) if !advice.is_withdrawn));
        assert!(decision.evidence["best"] > decision.evidence["median"], "{decision:?}");
        assert_eq!(advice(&server, job, decision.effective_step).await, decision.reason);
    }
    // A sweep is a client like any other: it goes on once the server is back.
    server.kill();
    server.start_again().await;
    for (job, _) in &jobs {
        let request = CompleteJobRequest { name: job.clone(), ..Default::default() };
        server.jobs().await.complete_job(request).await.unwrap();
    }
    let live = tokio::task::spawn_blocking(|| succeeds(&live.wait_with_output().unwrap())).await.unwrap();

    let (live, again) = (findings(&live), findings(&lrs(&server, &format!("{RULE} --dry-run --once"))));
    assert_eq!(
        live.iter().map(|(job, step, _)| (job.as_str(), *step)).collect::<Vec<_>>(),
        [("namespaces/test/jobs/c", 20), ("namespaces/test/jobs/e", 10),]
    );
    assert!(again.is_empty(), "what was advised is on record, and not found again: {again:?}");

    // The same telemetry, reported in another order and judged once.
    let other = Server::sqlite().await;
    let mut jobs = Vec::new();
    for id in ["a", "b", "c", "d", "e"] {
        jobs.push(begun(&other, id, OBJECTIVE).await);
    }
    for (place, (_, stream)) in jobs.iter_mut().enumerate() {
        report(stream, 0, &losses(place, if place == 4 { 0..21 } else { 0..41 })).await;
    }
    assert_eq!(findings(&lrs(&other, &format!("{RULE} --dry-run --once"))), live);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_finds_what_a_sweep_would_and_changes_nothing() {
    let server = Server::sqlite().await;
    let mut jobs = Vec::new();
    for (place, id) in ["a", "b", "c", "d", "e"].into_iter().enumerate() {
        let (job, mut stream) = begun(&server, id, OBJECTIVE).await;
        report(&mut stream, 0, &losses(place, 0..41)).await;
        jobs.push(job);
    }
    let dry = findings(&lrs(&server, &format!("{RULE} --dry-run --once")));
    assert_eq!(decisions(&server, &jobs[4]).await.len(), 0);
    let once = findings(&lrs(&server, &format!("{RULE} --once")));
    assert_eq!(dry, once);
    assert_eq!(dry.len(), 2);
    assert_eq!(decisions(&server, &jobs[4]).await.len(), 1);
    // A person can overrule the sweep.
    lrs(&server, "job advise-stop test/e --withdraw");
    assert!(findings(&lrs(&server, &format!("{RULE} --once"))).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_not_be_compared_is_refused() {
    let server = Server::sqlite().await;
    begun(&server, "a", OBJECTIVE).await;
    begun(&server, "b", r#"{"metric": "accuracy", "mode": "MODE_MAX"}"#).await;
    let refused = command(&server, RULE).output().unwrap();
    assert_eq!(refused.status.code(), Some(2));
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(said.contains("jobs/a and") && said.contains("different objectives"), "{said}");
    let refused = command(&server, "sweep nothing -n test --every 10").output().unwrap();
    assert_eq!(refused.status.code(), Some(2));
}
