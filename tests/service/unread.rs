//! Callers that do not read what they asked for. A server that keeps their answers for them runs out of memory.

use std::time::Duration;

use crate::limits::{another_trains, assert_small, many_groups};
use crate::raw::{Http2, at_most_sockets, code_of, rest_of, send, sockets};
use crate::server::{PATIENCE, Server, spec, wait_for};
use lrs_proto::{GetLearningRateRequest, JobSpec, ParameterGroup, PreviewScheduleRequest, WatchJobRequest};
use tokio::{
    io::AsyncReadExt as _,
    time::{Instant, timeout},
};
use tonic::Code;

const PREVIEW: &str = "POST /v1/schedules:preview";
/// Room for some ten previews.
const ARGUMENTS: [&str; 6] = ["--response-bytes", "8388608", "--write-timeout", "5s", "--read-timeout", "5s"];

/// A preview of 8 groups over 5000 steps: some 800 kB in JSON, 350 kB in gRPC.
fn preview() -> PreviewScheduleRequest {
    let group = |number| ParameterGroup { name: format!("g{number}"), base_lr: 0.1, ..ParameterGroup::default() };
    let spec = JobSpec { groups: (0..8).map(group).collect(), ..JobSpec::default() };
    PreviewScheduleRequest { spec: Some(spec), every: Some(1), end_step: Some(5000), ..Default::default() }
}

fn preview_json() -> String {
    serde_json::to_string(&preview()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_http_callers_that_do_not_read_are_cut_off() {
    let server = Server::with_sqlite(&ARGUMENTS).await;
    let before = sockets(&server);
    let mut callers = Vec::new();
    for _ in 0..100 {
        callers.push(send(&server, PREVIEW, &preview_json()).await);
    }

    another_trains(&server).await;
    at_most_sockets(&server, before).await;

    assert_small(&server);
    let mut refused = 0;
    for caller in callers {
        let answer = rest_of(caller).await;
        assert!(answer.len() < 500_000, "an answer came whole: {}", answer.len());
        if answer.starts_with("HTTP/1.1 429") {
            // There is no memory for the answer, or too many others are being made.
            let says_why = ["response_bytes", "the list of large requests"].iter().any(|why| answer.contains(why));
            assert!(says_why && answer.contains("retry-after"), "{answer}");
            refused += 1;
        }
    }
    println!("{refused} of 100 were refused, the others cut off");
    let (status, body) = server.http_request("POST", "/v1/schedules:preview", &preview_json()).await;
    assert_eq!(status, 200, "{}", &body[..body.len().min(300)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_readers_of_rates_that_do_not_read_are_no_heavier() {
    let server = Server::with_sqlite(&["--write-timeout", "5s", "--read-timeout", "5s"]).await;
    let before = sockets(&server);
    let job = server.register("wide", many_groups()).await.name;
    server.start_attempt(&job, "t", 0).await;
    let outlook = format!("GET /v1/{job}/outlook?start_step=0&end_step=100000&points=2000");
    let mut callers = Vec::new();
    for _ in 0..100 {
        callers.push(send(&server, &outlook, "").await);
    }

    another_trains(&server).await;
    drop(callers);
    at_most_sockets(&server, before).await;
    assert_small(&server);
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_without_a_window_are_reset_and_their_connection_goes_on() {
    let server = Server::with_sqlite(&ARGUMENTS).await;
    let mut caller = Http2::connect(&server, 0).await;
    let mut calls = Vec::new();
    for _ in 0..200 {
        calls.push(caller.call("ScheduleService/PreviewSchedule", &preview()).await);
    }

    another_trains(&server).await;
    let mut refused = 0;
    for call in calls {
        match code_of(call).await {
            Some(Code::ResourceExhausted) => refused += 1,
            None => {}
            other => panic!("{other:?}"),
        }
    }

    println!("{refused} of 200 were refused, the others reset");
    assert_small(&server);
    caller.open_window(1 << 20).await;
    let code = wait_for("room for an answer", async || {
        let answer = caller.call("ScheduleService/PreviewSchedule", &preview()).await;
        code_of(answer).await.filter(|code| *code == Code::Ok)
    });
    assert_eq!(code.await, Code::Ok);
}

#[tokio::test(flavor = "multi_thread")]
async fn small_answers_that_are_read_in_part_end_the_connection() {
    let server = Server::with_sqlite(&ARGUMENTS).await;
    let job = server.register("a", many_groups()).await.name;
    let attempt = server.start_attempt(&job, "t", 0).await;
    // The answers, of some 2 kB, are handed over as a whole, and so can no longer be reset.
    let mut caller = Http2::connect(&server, 1).await;
    let request = GetLearningRateRequest { job, attempt, ..Default::default() };
    let mut calls = Vec::new();
    for _ in 0..500 {
        calls.push(caller.call("LearningRateService/GetLearningRate", &request).await);
    }

    another_trains(&server).await;
    caller.closed().await;
    assert_small(&server);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_holds_its_slot_until_its_answer_is_read_or_given_up() {
    let server = Server::with_sqlite(&["--max-calls", "4"]).await;
    let begun = Instant::now();
    let mut callers = Vec::new();
    let (_, refusal) = wait_for("all slots to be taken", async || {
        callers.push(send(&server, PREVIEW, &preview_json()).await);
        let (status, body) = server.http_get("/v1/namespaces/test/jobs").await;
        (status == 429).then_some((status, body))
    })
    .await;
    assert!(refusal.contains("max_calls"), "{refusal}");

    // The others are in sooner than after the thirty seconds of write_timeout, because somebody waits for a slot.
    wait_for("a slot", async || (server.http_get("/v1/namespaces/test/jobs").await.0 == 200).then_some(())).await;
    println!("in again after {:?}", begun.elapsed());
    assert!(begun.elapsed() < Duration::from_secs(25));
}

#[tokio::test(flavor = "multi_thread")]
async fn watchers_that_never_read_are_cut_off_and_quiet_watchers_live_on() {
    let server = Server::with_sqlite(&["--write-timeout", "500ms", "--read-timeout", "500ms"]).await;
    let job = server.register("seen", many_groups()).await.name;
    let attempt = server.start_attempt(&job, "t", 0).await;
    let quiet = server.register("quiet", spec(0.1)).await.name;
    let request = WatchJobRequest { name: quiet.clone() };
    let mut quiet_grpc = server.jobs().await.watch_job(request).await.unwrap().into_inner();
    quiet_grpc.message().await.unwrap().unwrap();
    let mut quiet_sse = send(&server, &format!("GET /v1/{quiet}:watch"), "").await;
    let mut seen = vec![0; 1 << 16];
    assert!(quiet_sse.read(&mut seen).await.unwrap() > 0);

    let mut deaf = Http2::connect(&server, 0).await;
    let mut calls = Vec::new();
    for _ in 0..50 {
        calls.push(deaf.call("JobService/WatchJob", &WatchJobRequest { name: job.clone() }).await);
    }
    let mut deaf_sse = Vec::new();
    for _ in 0..5 {
        deaf_sse.push(send(&server, "GET /v1/fleet:watch", "").await);
    }
    for call in calls {
        assert_eq!(code_of(call).await, None);
    }

    // The kernel takes some megabytes of events before the server notices that nobody reads them. Each step sends a row
    // of 15 kB for each job.
    let mut streams = vec![server.stream(&job, attempt, 0).await];
    for number in 0..15 {
        let job = server.register(&format!("seen-{number}"), many_groups()).await.name;
        let attempt = server.start_attempt(&job, "t", 0).await;
        streams.push(server.stream(&job, attempt, 0).await);
    }
    let mut step = 0;
    let before = sockets(&server) - deaf_sse.len();
    let cut = async {
        while sockets(&server) > before {
            for stream in &mut streams {
                stream.losses(step, &[1.0]).await;
            }
            for stream in &mut streams {
                stream.until_durable(step).await;
            }
            step += 1;
        }
    };
    let is_cut = timeout(2 * PATIENCE, cut).await.is_ok();
    println!("event streams cut off after {step} steps: {is_cut}");
    assert!(is_cut, "{} sockets, {before} before", sockets(&server));
    drop(deaf_sse);

    server.start_attempt(&quiet, "t", 0).await;
    let event = timeout(PATIENCE, quiet_grpc.message()).await.expect("a quiet stream goes on");
    assert!(event.unwrap().is_some());
    assert!(timeout(PATIENCE, quiet_sse.read(&mut seen)).await.unwrap().unwrap() > 0);
    another_trains(&server).await;
    assert_small(&server);
}
