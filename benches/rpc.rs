//! `GetLearningRate` and telemetry, compared in one run with a bare tonic echo of the same messages.
//!
//! `make bench-rpc`. Each server is a process of its own. Rounds alternate between the servers and medians are printed,
//! so that a noisy machine affects all of them alike. The last line is JSON.
#![allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    missing_docs,
    reason = "figures of a few digits, for people"
)]

#[path = "../tests/support/postgres.rs"]
mod postgres;
#[path = "../tests/support/server.rs"]
#[expect(dead_code, reason = "shared with other tests, which use the rest")]
mod server;

use std::{
    io::{BufRead as _, BufReader},
    pin::Pin,
    process::{Child, Command, Stdio},
    time::Duration,
};

use futures::Stream;
use hdrhistogram::Histogram;
use lrs_proto::{
    Directive, GetLearningRateRequest, GetLearningRateResponse, GroupRate, StartAttemptRequest, StartAttemptResponse,
    StreamTelemetryRequest, StreamTelemetryResponse,
    learning_rate_service_client::LearningRateServiceClient,
    learning_rate_service_server::{LearningRateService, LearningRateServiceServer},
};
use server::{Server, spec_json};
use tokio::{sync::mpsc, task::JoinSet, time::Instant};
use tokio_stream::{StreamExt as _, wrappers::ReceiverStream};
use tonic::{Request, Response, Status, Streaming, transport::Channel};

const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_secs(3);
const CALLERS: usize = 32;
const CHANNELS: usize = 4;
const STREAMS: usize = 8;
const SAMPLES_A_MESSAGE: i64 = 64;
const MESSAGES_IN_FLIGHT: i64 = 8;

/// Answers at once, with as many bytes as the service does, and acknowledges telemetry without keeping it.
struct Echo;

type Answers = Pin<Box<dyn Stream<Item = Result<StreamTelemetryResponse, Status>> + Send>>;

#[tonic::async_trait]
impl LearningRateService for Echo {
    type StreamTelemetryStream = Answers;

    async fn start_attempt(&self, _: Request<StartAttemptRequest>) -> Result<Response<StartAttemptResponse>, Status> {
        Ok(Response::new(StartAttemptResponse { attempt: 1, ..Default::default() }))
    }

    async fn get_learning_rate(
        &self,
        request: Request<GetLearningRateRequest>,
    ) -> Result<Response<GetLearningRateResponse>, Status> {
        let rate = GroupRate { group: "default".to_owned(), learning_rate: 0.1, ..Default::default() };
        let directive = Directive {
            step: request.into_inner().step,
            rates: vec![rate],
            is_final: true,
            source: 1,
            ..Directive::default()
        };
        Ok(Response::new(GetLearningRateResponse { attempt: 1, directive: Some(directive), plan: None }))
    }

    async fn stream_telemetry(
        &self,
        request: Request<Streaming<StreamTelemetryRequest>>,
    ) -> Result<Response<Answers>, Status> {
        let mut messages = 0;
        let answers = request.into_inner().map(move |message| {
            messages += 1;
            let durable_through_step = message?.through_step;
            Ok(StreamTelemetryResponse { durable_through_step, durable_messages: messages, ..Default::default() })
        });
        Ok(Response::new(Box::pin(answers)))
    }
}

async fn run_echo() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!("{}", listener.local_addr().unwrap());
    let incoming = tonic::transport::server::TcpIncoming::from(listener).with_nodelay(Some(true));
    let service = LearningRateServiceServer::new(Echo);
    tonic::transport::Server::builder().add_service(service).serve_with_incoming(incoming).await.unwrap();
}

struct EchoProcess(Child, String);

impl EchoProcess {
    fn start() -> Self {
        let mut child =
            Command::new(std::env::current_exe().unwrap()).arg("--echo").stdout(Stdio::piped()).spawn().unwrap();
        let mut address = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut address).unwrap();
        Self(child, address.trim().to_owned())
    }
}

impl Drop for EchoProcess {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn channels(address: &str) -> Vec<Channel> {
    let endpoint = Channel::from_shared(format!("http://{address}")).unwrap().tcp_nodelay(true);
    let mut channels = Vec::new();
    for _ in 0..CHANNELS {
        channels.push(endpoint.connect().await.unwrap());
    }
    channels
}

/// Makes the calls of a round: as fast as answers come, or `pace` calls a second in all. Latencies are in nanoseconds.
async fn call(channels: &[Channel], jobs: &[String], pace: Option<f64>) -> (f64, Histogram<u64>) {
    let begin = Instant::now();
    let mut callers = JoinSet::new();
    for caller in 0..CALLERS {
        let mut client = LearningRateServiceClient::new(channels[caller % CHANNELS].clone());
        let jobs: Vec<String> = jobs.iter().skip(caller).step_by(CALLERS).cloned().collect();
        callers.spawn(async move {
            let mut latencies = Histogram::<u64>::new(3).unwrap();
            let between = pace.map(|pace| Duration::from_secs_f64(CALLERS as f64 / pace));
            let mut due = begin + between.unwrap_or_default().mul_f64(caller as f64 / CALLERS as f64);
            for i in 0.. {
                if let Some(between) = between {
                    due += between;
                    tokio::time::sleep_until(due).await;
                } else {
                    due = Instant::now();
                }
                if begin.elapsed() > ROUND {
                    break;
                }
                let (job, step) = (jobs[i % jobs.len()].clone(), (i / jobs.len()) as i64 % 512);
                let request = GetLearningRateRequest { job, attempt: 1, step, plan_steps: 0, wait: None };
                let answer = client.get_learning_rate(request).await.unwrap().into_inner();
                assert!(answer.directive.unwrap().is_final);
                latencies.record(due.elapsed().as_nanos() as u64).unwrap();
            }
            latencies
        });
    }
    let mut all = Histogram::<u64>::new(3).unwrap();
    while let Some(latencies) = callers.join_next().await {
        all.add(latencies.unwrap()).unwrap();
    }
    (all.len() as f64 / begin.elapsed().as_secs_f64(), all)
}

/// Streams telemetry for a round; returns the samples acknowledged per second.
async fn ingest(channels: &[Channel], jobs: &[String], from_step: i64) -> f64 {
    let begin = Instant::now();
    let mut streams = JoinSet::new();
    for (i, job) in jobs.iter().take(STREAMS).enumerate() {
        let mut client = LearningRateServiceClient::new(channels[i % CHANNELS].clone());
        let job = job.clone();
        streams.spawn(async move {
            let (requests, queue) = mpsc::channel(MESSAGES_IN_FLIGHT as usize);
            let first = StreamTelemetryRequest { job, attempt: 1, ..Default::default() };
            requests.send(first).await.unwrap();
            let mut answers = client.stream_telemetry(ReceiverStream::new(queue)).await.unwrap().into_inner();
            let (mut sent, mut durable, mut step) = (1, 0, from_step);
            while begin.elapsed() < ROUND || durable < sent {
                while begin.elapsed() < ROUND && sent - durable < MESSAGES_IN_FLIGHT {
                    let column = vec![1.0; SAMPLES_A_MESSAGE as usize];
                    let message = StreamTelemetryRequest {
                        step: (step..step + SAMPLES_A_MESSAGE).collect(),
                        loss: column.clone(),
                        grad_norm: column.clone(),
                        learning_rate: column,
                        through_step: Some(step + SAMPLES_A_MESSAGE - 1),
                        ..Default::default()
                    };
                    step += SAMPLES_A_MESSAGE;
                    sent += 1;
                    requests.send(message).await.unwrap();
                }
                durable = answers.message().await.unwrap().unwrap().durable_messages;
            }
            (sent - 1) * SAMPLES_A_MESSAGE
        });
    }
    let samples: i64 = streams.join_all().await.into_iter().sum();
    samples as f64 / begin.elapsed().as_secs_f64()
}

/// The samples per second that COPY reaches with the same samples on one connection.
async fn copy(url: &str) -> f64 {
    use sqlx::Connection as _;
    let mut connection = sqlx::PgConnection::connect(url).await.unwrap();
    let create =
        "create table if not exists samples (step bigint, loss float8, grad_norm float8, learning_rate float8)";
    sqlx::query(create).execute(&mut connection).await.unwrap();
    let begin = Instant::now();
    let mut step = 0;
    // Each statement has as many rows as a transaction of the busy service.
    let rows = STREAMS as i64 * MESSAGES_IN_FLIGHT * SAMPLES_A_MESSAGE;
    while begin.elapsed() < ROUND {
        let lines: Vec<String> = (step..step + rows).map(|step| format!("{step}\t1\t1\t1\n")).collect();
        let text = lines.concat();
        let mut copy = connection.copy_in_raw("copy samples from stdin").await.unwrap();
        copy.send(text.as_bytes()).await.unwrap();
        copy.finish().await.unwrap();
        step += rows;
    }
    step as f64 / begin.elapsed().as_secs_f64()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

async fn register(server: &Server, count: usize) -> Vec<String> {
    let spec = spec_json(r#"{"groups": [{"base_lr": 0.1}], "total_steps": 100000, "schedule": {"cosine": {}}}"#);
    let (mut jobs, mut rates) = (server.jobs().await, server.rates().await);
    let mut names = Vec::new();
    for i in 0..count {
        let job = lrs_proto::Job { spec: Some(spec.clone()), ..Default::default() };
        let request = lrs_proto::CreateJobRequest {
            parent: "namespaces/bench".to_owned(),
            job_id: format!("job-{i}"),
            job: Some(job),
            ..Default::default()
        };
        let job = jobs.create_job(request).await.unwrap().into_inner().name;
        let attempt_token = "t".to_owned();
        rates
            .start_attempt(StartAttemptRequest {
                job: job.clone(),
                attempt_token,
                resume_step: 0,
                ..Default::default()
            })
            .await
            .unwrap();
        names.push(job);
    }
    names
}

#[tokio::main]
async fn main() {
    if std::env::args().any(|argument| argument == "--echo") {
        return run_echo().await;
    }
    let count = 1000;
    let server = Server::sqlite().await;
    let jobs = register(&server, count).await;
    let echo = EchoProcess::start();
    let (ours, theirs) = (channels(&server.grpc).await, channels(&echo.1).await);

    let (mut our_rate, mut echo_rate) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        our_rate.push(call(&ours, &jobs, None).await.0);
        echo_rate.push(call(&theirs, &jobs, None).await.0);
    }
    let ratio = median(our_rate.iter().zip(&echo_rate).map(|(ours, echo)| ours / echo).collect());
    let (our_rate, echo_rate) = (median(our_rate), median(echo_rate));
    println!("GetLearningRate, {count} live jobs, {CALLERS} callers");
    println!("  calls a second        lrs {our_rate:>9.0}   echo {echo_rate:>9.0}   ratio {ratio:.2}");

    let (mut our_p99, mut echo_p99) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        our_p99.push(call(&ours, &jobs, Some(our_rate / 2.0)).await.1.value_at_quantile(0.99) as f64 / 1e3);
        echo_p99.push(call(&theirs, &jobs, Some(our_rate / 2.0)).await.1.value_at_quantile(0.99) as f64 / 1e3);
    }
    let p99_ratio = median(our_p99.iter().zip(&echo_p99).map(|(ours, echo)| ours / echo).collect());
    let (our_p99, echo_p99) = (median(our_p99), median(echo_p99));
    println!("  p99 at half load, µs  lrs {our_p99:>9.0}   echo {echo_p99:>9.0}   ratio {p99_ratio:.2}");

    let postgres = postgres::TestPostgres::private(&[]);
    let pg_server = Server::with(&postgres.create_database().await, &[]).await;
    let pg_jobs = register(&pg_server, STREAMS).await;
    let (pg, copy_url) = (channels(&pg_server.grpc).await, postgres.create_database().await);
    let mut rates = [const { Vec::new() }; 4];
    for round in 0..ROUNDS as i64 {
        let from = round * 100_000_000;
        rates[0].push(ingest(&ours, &jobs, from).await);
        rates[1].push(ingest(&pg, &pg_jobs, from).await);
        rates[2].push(ingest(&theirs, &jobs, from).await);
        rates[3].push(copy(&copy_url).await);
    }
    let to_copy = median(rates[1].iter().zip(&rates[3]).map(|(ours, copy)| ours / copy).collect());
    let [sqlite, pg, echo_ingest, copied] = rates.map(median);
    println!(
        "Telemetry acknowledged as durable, {STREAMS} streams, {SAMPLES_A_MESSAGE} samples a message, samples a second"
    );
    println!("  SQLite {sqlite:>9.0}   PostgreSQL {pg:>9.0}   echo (keeps nothing) {echo_ingest:>9.0}");
    println!("  COPY, one connection {copied:>9.0}   PostgreSQL over COPY {to_copy:.2}");
    let summary = serde_json::json!({
        "get_learning_rate": {"lrs": our_rate, "echo": echo_rate, "ratio": ratio},
        "p99_us_at_half_load": {"lrs": our_p99, "echo": echo_p99, "ratio": p99_ratio},
        "samples_per_second": {"sqlite": sqlite, "postgres": pg, "echo": echo_ingest, "copy": copied, "postgres_over_copy": to_copy},
    });
    println!("{summary}");
}
