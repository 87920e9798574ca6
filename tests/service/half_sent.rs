//! Callers that connect and say nothing, or do not finish what they began to say.

use std::time::Duration;

use crate::limits::{another_trains, assert_small};
use crate::raw::{Http2, code_of, framed, rest_of};
use crate::server::{PATIENCE, Server, spec, wait_for};
use axum::body::Bytes;
use h2::SendStream;
use lrs_proto::{GetJobRequest, StreamTelemetryRequest};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinSet,
    time::{Instant, interval, timeout},
};
use tonic::Code;

/// Begins a request whose body is said to have a million bytes.
async fn half_sent(server: &Server, path: &str) -> TcpStream {
    let mut socket = TcpStream::connect(&server.http).await.unwrap();
    let head = format!("POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000000\r\n\r\n{{");
    socket.write_all(head.as_bytes()).await.unwrap();
    socket
}

/// The first bytes of a gRPC message of a million.
fn beginning() -> Bytes {
    let length = 1_000_000_u32.to_be_bytes();
    Bytes::from([&[0], &length[..], &[7; 100]].concat())
}

/// Sends a byte now and then.
async fn trickle(mut sending: SendStream<Bytes>) {
    let mut ticks = interval(Duration::from_millis(50));
    loop {
        ticks.tick().await;
        if sending.send_data(Bytes::from_static(&[7]), false).is_err() {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn mute_and_idle_connections_keep_nobody_out() {
    let server = Server::with_sqlite(&["--max-connections", "2", "--read-timeout", "300ms"]).await;
    let mute = [TcpStream::connect(&server.grpc).await.unwrap(), TcpStream::connect(&server.grpc).await.unwrap()];
    let job = timeout(PATIENCE, server.register("a", spec(0.1))).await.expect("mute connections are closed").name;
    for socket in mute {
        rest_of(socket).await;
    }

    let polite = [Http2::connect(&server, 1 << 16).await, Http2::connect(&server, 1 << 16).await];
    let request = GetJobRequest { name: job };
    timeout(PATIENCE, server.jobs().await.get_job(request.clone())).await.expect("they never call").unwrap();
    for connection in polite {
        connection.closed().await;
    }

    let mut idle = [Http2::connect(&server, 1 << 16).await, Http2::connect(&server, 1 << 16).await];
    for connection in &mut idle {
        assert_eq!(code_of(connection.call("JobService/GetJob", &request).await).await, Some(Code::Ok));
    }
    timeout(PATIENCE, server.jobs().await.get_job(request)).await.expect("their calls are over").unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_connection_stays_open_while_there_are_places() {
    let server = Server::with_sqlite(&["--read-timeout", "200ms"]).await;
    let request = GetJobRequest { name: server.register("a", spec(0.1)).await.name };
    let mut idle = Http2::connect(&server, 1 << 16).await;
    assert_eq!(code_of(idle.call("JobService/GetJob", &request).await).await, Some(Code::Ok));
    // A connection that says nothing is closed meanwhile.
    let mute = TcpStream::connect(&server.grpc).await.unwrap();
    rest_of(mute).await;
    assert_eq!(code_of(idle.call("JobService/GetJob", &request).await).await, Some(Code::Ok));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_not_finished_is_given_up() {
    let server = Server::with_sqlite(&["--read-timeout", "500ms"]).await;
    let silent = rest_of(half_sent(&server, "/v1/schedules:preview").await).await;
    assert!(silent.starts_with("HTTP/1.1 408") && silent.contains("read_timeout"), "{silent}");
    let mut slow = half_sent(&server, "/v1/namespaces/test/jobs").await;
    let mut answer = vec![0; 1 << 16];
    let mut ticks = interval(Duration::from_millis(50));
    let answered = async {
        loop {
            tokio::select! {
                length = slow.read(&mut answer) => return length.unwrap(),
                _ = ticks.tick() => {}
            }
            slow.write_all(b"x").await.unwrap();
        }
    };
    let length = timeout(PATIENCE, answered).await.expect("a byte now and then is not enough");
    assert!(answer[..length].starts_with(b"HTTP/1.1 408"), "{}", String::from_utf8_lossy(&answer[..length]));

    let mut caller = Http2::connect(&server, 1 << 16).await;
    let mut tricklers = JoinSet::new();
    for method in ["JobService/GetJob", "JobService/WatchJob", "LearningRateService/StreamTelemetry"] {
        for is_slow in [false, true] {
            let (answer, mut sending) = caller.begin(method).await;
            sending.send_data(beginning(), false).unwrap();
            if is_slow {
                tricklers.spawn(trickle(sending));
            } else {
                tricklers.spawn(async move {
                    let _ = std::future::poll_fn(|context| sending.poll_reset(context)).await;
                });
            }
            assert_eq!(code_of(answer).await, Some(Code::DeadlineExceeded), "{method}, slow: {is_slow}");
        }
    }
    // A whole message, but no end of the request.
    let (answer, mut sending) = caller.begin("JobService/GetJob").await;
    sending.send_data(framed(&GetJobRequest { name: "namespaces/test/jobs/a".to_owned() }), false).unwrap();
    assert_eq!(code_of(answer).await, Some(Code::DeadlineExceeded));
    tricklers.abort_all();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_may_pause_between_two_messages() {
    let server = Server::with_sqlite(&["--read-timeout", "200ms", "--write-timeout", "200ms"]).await;
    let job = server.register("a", spec(0.1)).await.name;
    let attempt = server.start_attempt(&job, "t", 0).await;
    let mut stream = server.stream(&job, attempt, 0).await;
    stream.losses(0, &[1.0]).await;
    stream.until_durable(0).await;
    // Long enough for a mute connection to be closed ten times.
    for _ in 0..10 {
        rest_of(TcpStream::connect(&server.grpc).await.unwrap()).await;
    }
    stream.losses(1, &[1.0]).await;
    stream.until_durable(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_are_not_finished_take_no_more_memory_than_is_set() {
    let server = Server::with_sqlite(&["--request-bytes", "8388608"]).await;
    let mut callers = JoinSet::new();
    for _ in 0..40 {
        let mut socket = half_sent(&server, "/v1/schedules:preview").await;
        callers.spawn(async move {
            // The server may refuse it before that.
            let _ = socket.write_all(&vec![b' '; 900_000]).await;
            rest_of(socket).await
        });
    }
    let mut streams = Http2::connect(&server, 1 << 16).await;
    let job = server.register("a", spec(0.1)).await.name;
    let attempt = server.start_attempt(&job, "t", 0).await;
    let mut calls = Vec::new();
    for _ in 0..100 {
        let (answer, mut sending) = streams.begin("LearningRateService/StreamTelemetry").await;
        let first = StreamTelemetryRequest { job: job.clone(), attempt, ..Default::default() };
        sending.send_data(framed(&first), false).unwrap();
        sending.send_data(beginning(), false).unwrap();
        sending.send_data(Bytes::from(vec![7; 900_000]), false).unwrap();
        calls.push((answer, sending));
    }

    another_trains(&server).await;
    let answers = callers.join_all().await;
    let refused = answers.iter().filter(|answer| answer.starts_with("HTTP/1.1 429")).count();
    println!("{refused} of {} were refused", answers.len());
    assert!(refused > 0 && answers.iter().any(|answer| answer.contains("request_bytes")), "{answers:?}");
    assert_small(&server);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_holds_up_a_server_that_is_told_to_end() {
    let mut server = Server::sqlite().await;
    let job = server.register("a", spec(0.1)).await.name;
    let attempt = server.start_attempt(&job, "t", 0).await;
    let _mute = [TcpStream::connect(&server.grpc).await.unwrap(), TcpStream::connect(&server.http).await.unwrap()];
    let mut half_a_head = TcpStream::connect(&server.http).await.unwrap();
    half_a_head.write_all(b"GET /livez HTTP/1.1\r\nhost: ").await.unwrap();
    let _half_a_body = half_sent(&server, "/v1/schedules:preview").await;
    let mut preface = TcpStream::connect(&server.grpc).await.unwrap();
    preface.write_all(b"PRI * HTTP/2.0\r\n").await.unwrap();
    let mut caller = Http2::connect(&server, 0).await;
    let mut calls = Vec::new();
    for method in ["JobService/GetJob", "LearningRateService/StreamTelemetry"] {
        let (answer, mut sending) = caller.begin(method).await;
        sending.send_data(beginning(), false).unwrap();
        calls.push((answer, sending));
    }
    let (answer, mut sending) = caller.begin("LearningRateService/StreamTelemetry").await;
    let first = StreamTelemetryRequest { job, attempt, want_directives: true, ..Default::default() };
    sending.send_data(framed(&first), false).unwrap();
    calls.push((answer, sending));
    // Whoever came before it is in.
    wait_for("the server to be asked", async || (server.http_get("/readyz").await.0 == 200).then_some(())).await;

    let begun = Instant::now();
    assert_eq!(server.terminate().await, Some(0), "{}", server.log());
    println!("ended after {:?}", begun.elapsed());
    assert!(begun.elapsed() < Duration::from_secs(10));
}
