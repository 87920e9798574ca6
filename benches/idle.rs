//! What registered jobs cost that nobody uses: how long a server takes to be ready, and its memory; the first look at
//! the fleet; and thousands of trainers that come back at once after a restart.
//!
//! `make bench-idle`, or `cargo bench --bench idle -- [WAITING [RUNNING [TRAINERS]]]`. The server is a process of its
//! own, over SQLite and then over a private PostgreSQL with fsync on. The last line of each is JSON.
#![allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    missing_docs,
    reason = "figures of a few digits, for people"
)]

#[path = "../tests/support/crowd.rs"]
mod crowd;
#[path = "../tests/support/postgres.rs"]
mod postgres;
#[path = "../tests/support/server.rs"]
#[expect(dead_code, reason = "shared with other tests, which use the rest")]
mod server;

use std::{fs, time::Duration};

use futures::{StreamExt as _, stream};
use hdrhistogram::Histogram;
use lrs_proto::{GetLearningRateRequest, learning_rate_service_client::LearningRateServiceClient};
use postgres::TestPostgres;
use serde_json::json;
use server::{Server, spec};
use tokio::time::Instant;
use tonic::transport::Channel;

/// Connections of the trainers.
const CONNECTIONS: usize = 16;
/// How often a trainer asks again that gets no final rate.
const TRIES: usize = 1000;

#[derive(Clone, Copy)]
struct Sizes {
    waiting: usize,
    running: usize,
    trainers: usize,
}

#[tokio::main]
async fn main() {
    let mut numbers = std::env::args().skip(1).filter_map(|argument| argument.parse().ok());
    let mut next = |default| numbers.next().unwrap_or(default);
    let sizes = Sizes { waiting: next(1_000_000), running: next(100_000), trainers: next(10_000) };
    measure("SQLite", Server::sqlite().await, sizes).await;
    let postgres = TestPostgres::private(&[]);
    let url = postgres.create_database().await;
    measure("PostgreSQL", Server::with(&url, &[]).await, sizes).await;
}

async fn measure(database: &str, mut server: Server, sizes: Sizes) {
    let waiting = server.register("waiting", spec(1.0)).await.name;
    let running = server.register("running", spec(0.5)).await.name;
    let attempt = server.start_attempt(&running, "t", 0).await;
    let mut stream = server.stream(&running, attempt, 0).await;
    stream.losses(0, &[1.0; 8]).await;
    stream.until_durable(7).await;
    drop(stream);
    server.terminate().await;
    let begun = Instant::now();
    crowd::copy(server.database_url(), &waiting, sizes.waiting).await;
    crowd::copy(server.database_url(), &running, sizes.running).await;
    println!("{database}: {} s to make {} jobs", begun.elapsed().as_secs(), sizes.waiting + sizes.running);

    let begun = Instant::now();
    server.start_again().await;
    let ready = begun.elapsed();
    let ready_mb = memory_mb(&server, "VmRSS:");
    println!("{database}: ready after {} ms with {ready_mb} MB", ready.as_millis());

    let begun = Instant::now();
    let (status, _) = server.http_get("/v1/fleet").await;
    assert_eq!(status, 200);
    let look = begun.elapsed();
    let look_mb = memory_mb(&server, "VmRSS:");
    println!("{database}: the first look at the fleet took {} ms, {look_mb} MB", look.as_millis());

    let mut channels = Vec::new();
    for _ in 0..CONNECTIONS {
        channels.push(server.channel().await);
    }
    let begun = Instant::now();
    let trainers = (0..sizes.trainers).map(|number| {
        let job = format!("{running}-{}", number % sizes.running + 1);
        come_back(channels[number % CONNECTIONS].clone(), job, attempt)
    });
    let mut times = Histogram::<u64>::new(3).unwrap();
    let mut refused = 0;
    let mut trainers = stream::iter(trainers).buffer_unordered(sizes.trainers);
    while let Some((milliseconds, tries)) = trainers.next().await {
        times.record(milliseconds).unwrap();
        refused += tries;
    }
    let back = begun.elapsed();
    let (back_mb, peak_mb) = (memory_mb(&server, "VmRSS:"), memory_mb(&server, "VmHWM:"));
    let of = |share| times.value_at_quantile(share);
    println!(
        "{database}: {} trainers back after {} ms (median {} ms, p99 {} ms; {refused} calls to be repeated), {back_mb} MB, peak {peak_mb} MB",
        sizes.trainers,
        back.as_millis(),
        of(0.5),
        of(0.99)
    );
    let result = json!({
        "database": database,
        "waiting": sizes.waiting,
        "running": sizes.running,
        "trainers": sizes.trainers,
        "ready_ms": ready.as_millis() as u64,
        "ready_mb": ready_mb,
        "look_ms": look.as_millis() as u64,
        "look_mb": look_mb,
        "back_ms": back.as_millis() as u64,
        "back_p50_ms": of(0.5),
        "back_p99_ms": of(0.99),
        "back_refused": refused,
        "back_mb": back_mb,
        "peak_mb": peak_mb,
    });
    println!("{result}");
    server.terminate().await;
}

/// Asks for a step until its rate is final; the milliseconds that took, and how many answers were none.
async fn come_back(channel: Channel, job: String, attempt: i64) -> (u64, u64) {
    let begun = Instant::now();
    let mut rates = LearningRateServiceClient::new(channel);
    for tries in 0..TRIES {
        let wait = Some(pbjson_types::Duration { seconds: 5, nanos: 0 });
        let request =
            GetLearningRateRequest { job: job.clone(), attempt, step: 3, wait, ..GetLearningRateRequest::default() };
        match rates.get_learning_rate(request).await {
            Ok(answer) if answer.get_ref().directive.as_ref().is_some_and(|directive| directive.is_final) => {
                return (begun.elapsed().as_millis() as u64, tries as u64);
            }
            // As clients do: twice as long each time, and not all at once.
            _ => {
                let longest = 100 << tries.min(5);
                tokio::time::sleep(Duration::from_millis(rand::random_range(longest / 2..longest))).await;
            }
        }
    }
    panic!("{job} does not come back");
}

/// The server's memory by the kernel's word for it.
fn memory_mb(server: &Server, word: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", server.process_id())).unwrap();
    let line = status.lines().find(|line| line.starts_with(word)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}
