//! Limits on callers: no caller can fill the memory or keep others from being served. Each caller here does its worst.
//! During and after that the server stays small, answers others, and tells a refused caller what is refused and when to
//! come back.

use std::{fs, time::Duration};

use crate::large::large;
use crate::server::{PATIENCE, Server, spec, spec_json, wait_for};
use lrs_proto::{
    JobSpec, ParameterGroup, StreamTelemetryRequest, learning_rate_service_client::LearningRateServiceClient,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::mpsc,
    task::JoinSet,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

/// The memory that a server with a few jobs may use, whatever its callers do, with the limits that each test sets. A
/// debug build at rest uses 40 MB.
const MEMORY_MB: u64 = 250;

/// The most memory that the process has used.
fn peak_mb(server: &Server) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", server.process_id())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

pub fn assert_small(server: &Server) {
    let peak = peak_mb(server);
    println!("the server had at most {peak} MB in memory");
    assert!(peak < MEMORY_MB, "{peak} MB");
}

/// Another user's job trains undisturbed.
pub async fn another_trains(server: &Server) {
    let job = server.register("other", spec(0.1)).await.name;
    let attempt = server.start_attempt(&job, "t", 0).await;
    let mut stream = server.stream(&job, attempt, 0).await;
    for step in 0..20 {
        assert_eq!(stream.directive(step).await.rates[0].learning_rate.to_bits(), 0.1f64.to_bits());
        stream.losses(step, &[1.0]).await;
    }
    stream.until_durable(19).await;
}

/// A spec with as many parameter groups as a job may have.
pub fn many_groups() -> JobSpec {
    let group = |number| ParameterGroup { name: format!("g{number}"), base_lr: 0.1, ..ParameterGroup::default() };
    JobSpec { groups: (0..64).map(group).collect(), ..JobSpec::default() }
}

fn retry_delay(status: &Status) -> Option<Duration> {
    status.get_error_details().retry_info()?.retry_delay
}

#[tokio::test(flavor = "multi_thread")]
async fn trainers_that_send_as_fast_as_they_can_are_held_back() {
    let server = Server::with_sqlite(&["--queue-values", "500000"]).await;
    let mut trainers = JoinSet::new();
    for number in 0..8 {
        let job = server.register(&format!("fast-{number}"), spec(0.1)).await.name;
        let attempt = server.start_attempt(&job, "t", 0).await;
        let mut stream = server.stream(&job, attempt, 0).await;
        trainers.spawn(async move {
            // Waits for no answer, so the messages queue up as far as the server lets them.
            for message in 0..10 {
                stream.send(large(message * 10_000)).await;
            }
            stream.until_durable(99_999).await;
        });
    }
    another_trains(&server).await;
    tokio::time::timeout(2 * PATIENCE, trainers.join_all()).await.expect("all of it is durable in the end");
    assert_small(&server);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trainer_that_never_reads_is_held_back_and_loses_nothing() {
    let server = Server::with_sqlite(&["--queue-values", "500000"]).await;
    let job = server.register("deaf", many_groups()).await.name;
    let attempt = server.start_attempt(&job, "t", 0).await;
    let (messages, queue) = mpsc::channel(1);
    let first = StreamTelemetryRequest {
        job: job.clone(),
        attempt,
        want_directives: true,
        ..StreamTelemetryRequest::default()
    };
    messages.send(first).await.unwrap();
    let mut answers = server.rates().await.stream_telemetry(ReceiverStream::new(queue)).await.unwrap().into_inner();

    // The answers are large, because each has directives of 64 groups. Each message has more than 256 bytes: with
    // smaller messages, HTTP/2 closes the connection when some two thousand wait to be read.
    let mut sent = 0;
    loop {
        let step: Vec<i64> = (sent..sent + 100).collect();
        let through_step = step.last().copied();
        let message =
            StreamTelemetryRequest { step, loss: vec![1.0; 100], through_step, ..StreamTelemetryRequest::default() };
        match tokio::time::timeout(Duration::from_secs(2), messages.send(message)).await {
            Ok(taken) => taken.unwrap(),
            Err(_) => break,
        }
        sent += 100;
        assert!(sent < 10_000_000, "a trainer that reads nothing is never held back");
    }
    println!("held back after {sent} samples");
    another_trains(&server).await;

    let durable = async {
        loop {
            let answer = answers.message().await.unwrap().unwrap();
            if answer.durable_through_step == Some(sent - 1) {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, durable).await.expect("once it reads, all that was taken is durable");
    assert_small(&server);
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_idle_streams_stand_in_nobodys_way() {
    let server = Server::with_sqlite(&[]).await;
    let job = server.register("idle", spec(0.1)).await.name;
    let attempt = server.start_attempt(&job, "t", 0).await;
    let before = peak_mb(&server);
    let mut idle = Vec::new();
    for _ in 0..10 {
        let channel = server.channel().await;
        let mut opening = JoinSet::new();
        for _ in 0..1000 {
            let (mut client, job) = (LearningRateServiceClient::new(channel.clone()), job.clone());
            opening.spawn(async move {
                let (messages, queue) = mpsc::channel(1);
                let first = StreamTelemetryRequest { job, attempt, ..StreamTelemetryRequest::default() };
                messages.send(first).await.unwrap();
                let answers = client.stream_telemetry(ReceiverStream::new(queue)).await.unwrap().into_inner();
                (messages, answers)
            });
        }
        idle.extend(opening.join_all().await);
    }

    another_trains(&server).await;

    let grown = peak_mb(&server) - before;
    println!("{} idle streams use {grown} MB", idle.len());
    assert!(grown < 200, "{grown} MB for ten thousand streams");
    let (messages, answers) = &mut idle[4321];
    let sample = StreamTelemetryRequest {
        step: vec![0],
        loss: vec![1.0],
        through_step: Some(0),
        ..StreamTelemetryRequest::default()
    };
    messages.send(sample).await.unwrap();
    let durable = async { while answers.message().await.unwrap().unwrap().durable_through_step != Some(0) {} };
    tokio::time::timeout(PATIENCE, durable).await.expect("a stream that was idle is a stream");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_too_many_is_told_when_to_come_back() {
    let server = Server::with_sqlite(&["--max-calls", "4"]).await;
    // The call waits for telemetry that never comes.
    let plateau = r#"{"groups": [{"base_lr": 1.0}], "controllers": [{"reduce_lr_on_plateau": {}}]}"#;
    let job = server.register("a", spec_json(plateau)).await.name;
    let attempt = server.start_attempt(&job, "t", 0).await;
    let mut waiting = JoinSet::new();
    for step in 0..4 {
        let (mut rates, job) = (server.rates().await, job.clone());
        waiting.spawn(async move {
            let wait = Some(Duration::from_mins(1).into());
            let request = lrs_proto::GetLearningRateRequest { job, attempt, step: 100 + step, plan_steps: 0, wait };
            // A call is refused while three others and the probe below take the four places; it is then repeated.
            loop {
                let answer = rates.get_learning_rate(request.clone()).await;
                if answer.as_ref().err().is_none_or(|refusal| refusal.code() != Code::ResourceExhausted) {
                    return answer;
                }
            }
        });
    }
    let refused = wait_for("a refusal", async || server.ask(&job, attempt, 0, 0, Duration::ZERO).await.err()).await;

    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused:?}");
    assert!(refused.message().contains('4'), "it says the limit: {refused:?}");
    assert!(retry_delay(&refused).is_some_and(|delay| delay > Duration::ZERO), "{refused:?}");
    // Probes do not count as calls.
    assert_eq!(server.http_get("/livez").await.0, 200);
    waiting.abort_all();
    wait_for("room again", async || server.ask(&job, attempt, 0, 0, Duration::ZERO).await.ok()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_of_a_million_steps_is_refused_and_one_of_the_longest_is_given() {
    let server = Server::with_sqlite(&[]).await;
    let groups =
        (0..64).map(|number| ParameterGroup { name: format!("g{number}"), base_lr: 0.1, ..ParameterGroup::default() });
    let job = server.register("a", JobSpec { groups: groups.collect(), ..JobSpec::default() }).await.name;
    let attempt = server.start_attempt(&job, "t", 0).await;

    let status = server.ask(&job, attempt, 0, 1_000_000, Duration::ZERO).await.unwrap_err();

    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.message().contains("plan_steps: 1000000") && status.message().contains("65536"), "{status:?}");
    let plan = server.ask(&job, attempt, 0, 65_536, Duration::ZERO).await.unwrap().plan.unwrap();
    assert_eq!((plan.groups.len(), plan.groups[63].learning_rate.len()), (64, 2048), "1 MiB, which every client reads");
    let single = server.register("b", spec(0.1)).await.name;
    let attempt = server.start_attempt(&single, "t", 0).await;
    let plan = server.ask(&single, attempt, 0, 65_536, Duration::ZERO).await.unwrap().plan.unwrap();
    assert_eq!(plan.groups[0].learning_rate.len(), 65_536);
    another_trains(&server).await;
    assert_small(&server);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spec_as_large_as_is_allowed_is_taken_and_a_larger_one_refused() {
    let server = Server::with_sqlite(&[]).await;
    let with = |groups: usize, milestones: usize| {
        let milestones: Vec<String> = (1..=milestones).map(|i| (10 * i).to_string()).collect();
        let schedule = format!(r#"{{"multi_step": {{"milestones": [{}], "gamma": 0.999}}}}"#, milestones.join(","));
        let group = |i| format!(r#"{{"name": "g{i}", "base_lr": 0.1, "schedule": {schedule}}}"#);
        let groups: Vec<String> = (0..groups).map(group).collect();
        spec_json(&format!(r#"{{"total_steps": 100000, "groups": [{}]}}"#, groups.join(",")))
    };

    for (spec, what) in [(with(1025, 1), "groups"), (with(1, 4096), "parts"), (with(64, 155), "10048 parts")] {
        let refused = server.try_register("beyond", spec).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
        assert!(refused.message().contains(what) && refused.message().len() < 2000, "{refused:?}");
        assert_eq!(server.http_get("/v1/namespaces/test/jobs/beyond").await.0, 404, "nothing of it is stored");
    }
    let largest = server.register("largest", with(64, 154)).await.name;
    let attempt = server.start_attempt(&largest, "t", 0).await;
    assert_eq!(server.final_rate(&largest, attempt, 0).await.to_bits(), 0.1f64.to_bits());

    let (status, body) =
        server.http_request("POST", "/v1/namespaces/test/jobs?job_id=huge", &"x".repeat(9 << 20)).await;
    assert_eq!(status, 413, "{body}");
    another_trains(&server).await;
    assert_small(&server);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_http_client_that_says_nothing_is_shown_out() {
    let server = Server::with_sqlite(&["--read-timeout", "300ms", "--max-connections", "2"]).await;
    let mut mute = TcpStream::connect(&server.http).await.unwrap();
    let mut slow = TcpStream::connect(&server.http).await.unwrap();
    slow.write_all(b"GET /livez HTTP/1.1\r\nhost: ").await.unwrap();

    // Both places are taken. A third caller waits only until one of the two connections is closed.
    assert_eq!(server.http_get("/livez").await.0, 200);

    for connection in [&mut mute, &mut slow] {
        let mut rest = Vec::new();
        tokio::time::timeout(PATIENCE, connection.read_to_end(&mut rest)).await.unwrap().unwrap();
    }
}

/// An open stream of events: its connection, and the events received so far.
async fn watch(server: &Server, path: &str) -> (TcpStream, String) {
    let mut socket = TcpStream::connect(&server.http).await.unwrap();
    socket.write_all(format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n").as_bytes()).await.unwrap();
    let mut head = vec![0; 4096];
    let length = tokio::time::timeout(PATIENCE, socket.read(&mut head)).await.unwrap().unwrap();
    (socket, String::from_utf8_lossy(&head[..length]).into_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watcher_too_many_is_told_when_to_come_back() {
    let server = Server::with_sqlite(&["--max-watchers", "2"]).await;
    let job = server.register("a", spec(0.1)).await.name;
    let (path, fleet) = (format!("/v1/{job}:watch"), "/v1/fleet:watch");
    let (_first, head) = watch(&server, &path).await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    let (second, head) = watch(&server, fleet).await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");

    for path in [&*path, fleet] {
        let (_, refused) = watch(&server, path).await;
        assert!(refused.starts_with("HTTP/1.1 429") && refused.contains("\r\nretry-after: 1\r\n"), "{refused}");
        assert!(refused.contains("max_watchers") && refused.contains("(2)"), "it says the limit: {refused}");
    }
    assert_eq!(server.http_get("/v1/fleet").await.0, 200, "who watches stands in nobody's way");

    drop(second);
    wait_for("a place", async || watch(&server, fleet).await.1.starts_with("HTTP/1.1 200").then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn watchers_that_never_read_cost_the_server_little() {
    let server = Server::with_sqlite(&[]).await;
    let mut trainers = Vec::new();
    for number in 0..20 {
        let job = server.register(&format!("seen-{number}"), many_groups()).await.name;
        let attempt = server.start_attempt(&job, "t", 0).await;
        trainers.push((server.stream(&job, attempt, 0).await, job));
    }
    let mut deaf = Vec::new();
    for number in 0..100 {
        let path = if number % 2 == 0 { "/v1/fleet:watch".to_owned() } else { format!("/v1/{}:watch", trainers[0].1) };
        deaf.push(watch(&server, &path).await);
    }
    let before = peak_mb(&server);

    // A row of the fleet is some 15 kB here, and each of these steps sends a row.
    for step in 0..60 {
        for (stream, _) in &mut trainers {
            stream.losses(step, &[1.0]).await;
            stream.until_durable(step).await;
        }
    }

    let grown = peak_mb(&server) - before;
    println!("{} watchers that do not read use {grown} MB", deaf.len());
    assert!(grown < 150, "{grown} MB");
    another_trains(&server).await;
}
