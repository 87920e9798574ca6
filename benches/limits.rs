//! The latencies of a well-behaved trainer while others abuse the server, beside its latencies without them.
//!
//! `make bench-limits`. The server is a process of its own, and so is every abuser. Abusers run at the lowest priority,
//! so that the bench measures what they do to the service rather than what they take from the shared cores. Quiet and
//! abused rounds alternate. A call's time counts from the moment when it was due, so that a call that had to wait for
//! the one before it does not look fast. The last line is JSON.
#![allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    missing_docs,
    reason = "figures of a few digits, for people"
)]

#[path = "../tests/support/large.rs"]
mod large;
#[path = "../tests/support/server.rs"]
#[expect(dead_code, reason = "shared with other tests, which use the rest")]
mod server;

use std::{
    fs,
    process::{Child, Stdio},
    time::Duration,
};

use hdrhistogram::Histogram;
use large::large;
use lrs_proto::{
    CreateJobRequest, DeleteJobRequest, GetLearningRateRequest, Job, JobSpec, MultiStep, ParameterGroup, Schedule,
    StartAttemptRequest, StreamTelemetryRequest, job_service_client::JobServiceClient,
    learning_rate_service_client::LearningRateServiceClient, schedule,
};
use server::{Server, spec_json};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    sync::mpsc,
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval, sleep_until, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;

const ROUNDS: usize = 3;
const ROUND: Duration = Duration::from_secs(4);
/// The time between two calls of the well-behaved trainer, and between two of its reports.
const BETWEEN: Duration = Duration::from_millis(4);
/// The goal: a p99 of at most this many times the quiet p99.
const GOAL: f64 = 2.0;
const NAMESPACE: &str = "namespaces/bench";

/// The abusers: a name, and what they do to the server.
const ABUSERS: [(&str, &str); 6] = [
    ("fast", "8 trainers that send 10,000 steps a message without waiting"),
    ("deaf", "8 trainers that never read an answer"),
    ("idle", "10,000 idle streams on 10 connections"),
    ("plans", "4 callers of plans of a million steps, refused"),
    ("longest", "4 callers of the longest plan: 2048 steps of 64 groups"),
    ("specs", "2 callers who register the largest spec and delete it"),
];

async fn connect(address: &str) -> Channel {
    Channel::from_shared(format!("http://{address}")).unwrap().tcp_nodelay(true).connect().await.unwrap()
}

/// Registers a job and starts its first attempt.
async fn begin(channel: &Channel, id: &str, spec: JobSpec) -> String {
    let job = Some(Job { spec: Some(spec), ..Job::default() });
    let (parent, job_id) = (NAMESPACE.to_owned(), id.to_owned());
    let request = CreateJobRequest { parent, job_id, job, ..CreateJobRequest::default() };
    let job = JobServiceClient::new(channel.clone()).create_job(request).await.unwrap().into_inner().name;
    let start =
        StartAttemptRequest { job: job.clone(), attempt_token: "t".to_owned(), resume_step: 0, ..Default::default() };
    LearningRateServiceClient::new(channel.clone()).start_attempt(start).await.unwrap();
    job
}

fn plain() -> JobSpec {
    spec_json(r#"{"groups": [{"base_lr": 0.1}], "total_steps": 100000, "schedule": {"cosine": {}}}"#)
}

fn many_groups(schedule: Option<&Schedule>) -> JobSpec {
    let group = |number| ParameterGroup {
        name: format!("g{number}"),
        base_lr: 0.1,
        schedule: schedule.cloned(),
        ..ParameterGroup::default()
    };
    JobSpec { groups: (0..64).map(group).collect(), total_steps: Some(100_000), ..JobSpec::default() }
}

fn largest_spec() -> JobSpec {
    // 156 parts for each group, 9984 in all.
    let milestones = (1..155).map(|i| 10 * i).collect();
    let form = schedule::Form::MultiStep(MultiStep { milestones, gamma: Some(0.999) });
    many_groups(Some(&Schedule { form: Some(form), ..Schedule::default() }))
}

/// Sends messages as fast as the server lets it. Reads the answers unless it `is_deaf`.
async fn send_without_end(channel: Channel, job: String, is_deaf: bool, at_it: mpsc::Sender<()>) {
    let (messages, queue) = mpsc::channel(1);
    let first = StreamTelemetryRequest { job, attempt: 1, want_directives: is_deaf, ..Default::default() };
    messages.send(first).await.unwrap();
    let mut client = LearningRateServiceClient::new(channel);
    let mut answers = client.stream_telemetry(ReceiverStream::new(queue)).await.unwrap().into_inner();
    if is_deaf {
        // The answers are neither read nor dropped.
        std::mem::forget(answers);
    } else {
        drop(tokio::spawn(async move { while let Ok(Some(_)) = answers.message().await {} }));
    }
    for number in 0.. {
        let message = if is_deaf {
            let step: Vec<i64> = (number * 100..(number + 1) * 100).collect();
            let through_step = step.last().copied();
            StreamTelemetryRequest { step, loss: vec![1.0; 100], through_step, ..Default::default() }
        } else {
            large(number * 10_000)
        };
        // An abuser that is held back counts as busy too.
        let sent = timeout(Duration::from_secs(1), messages.reserve()).await;
        if number >= 10 || sent.is_err() {
            let _ = at_it.try_send(());
        }
        let place = match sent {
            Ok(place) => place,
            Err(_) => messages.reserve().await,
        };
        place.unwrap().send(message);
    }
}

/// The process of an abuser: abuses the server until it is killed, and says when it has begun.
async fn abuse(name: &str, address: &str, run: &str) {
    let mut tasks = JoinSet::new();
    let (at_it, mut ready) = mpsc::channel::<()>(1);
    let id = |number: usize| format!("{name}-{run}-{number}");
    match name {
        "fast" | "deaf" => {
            for number in 0..8 {
                let channel = connect(address).await;
                let spec = if name == "fast" { plain() } else { many_groups(None) };
                let (job, at_it, is_deaf) = (begin(&channel, &id(number), spec).await, at_it.clone(), name == "deaf");
                tasks.spawn(send_without_end(channel, job, is_deaf, at_it));
            }
        }
        "idle" => {
            let job = begin(&connect(address).await, &id(0), plain()).await;
            let mut streams = Vec::new();
            for _ in 0..10 {
                let channel = connect(address).await;
                let mut opening = JoinSet::new();
                for _ in 0..1000 {
                    let (mut client, job) = (LearningRateServiceClient::new(channel.clone()), job.clone());
                    opening.spawn(async move {
                        let (messages, queue) = mpsc::channel(1);
                        let first = StreamTelemetryRequest { job, attempt: 1, ..Default::default() };
                        messages.send(first).await.unwrap();
                        (messages, client.stream_telemetry(ReceiverStream::new(queue)).await.unwrap())
                    });
                }
                streams.extend(opening.join_all().await);
            }
            at_it.send(()).await.unwrap();
            tasks.spawn(async move {
                std::future::pending::<()>().await;
                drop(streams);
            });
        }
        "plans" | "longest" => {
            let job = begin(&connect(address).await, &id(0), many_groups(None)).await;
            for _ in 0..4 {
                let client = LearningRateServiceClient::new(connect(address).await);
                let mut client = client.max_decoding_message_size(64 << 20);
                let (job, at_it) = (job.clone(), at_it.clone());
                let plan_steps = if name == "plans" { 1_000_000 } else { 65_536 };
                tasks.spawn(async move {
                    for number in 0.. {
                        let request =
                            GetLearningRateRequest { job: job.clone(), attempt: 1, step: 0, plan_steps, wait: None };
                        let _ = client.get_learning_rate(request).await;
                        if number == 2 {
                            let _ = at_it.try_send(());
                        }
                    }
                });
            }
        }
        "specs" => {
            for caller in 0..2 {
                let client = JobServiceClient::new(connect(address).await);
                let mut client = client.max_decoding_message_size(64 << 20);
                let (at_it, run, spec) = (at_it.clone(), run.to_owned(), largest_spec());
                tasks.spawn(async move {
                    for number in 0.. {
                        let request = CreateJobRequest {
                            parent: NAMESPACE.to_owned(),
                            job_id: format!("spec-{run}-{caller}-{number}"),
                            job: Some(Job { spec: Some(spec.clone()), ..Job::default() }),
                            ..CreateJobRequest::default()
                        };
                        let job = client.create_job(request).await.unwrap().into_inner();
                        let delete = DeleteJobRequest { name: job.name, force: true, ..DeleteJobRequest::default() };
                        client.delete_job(delete).await.unwrap();
                        let _ = at_it.try_send(());
                    }
                });
            }
        }
        other => panic!("there is no abuser {other}"),
    }
    ready.recv().await;
    println!("ready");
    tasks.join_next().await;
}

struct Abuser(Child);

impl Abuser {
    async fn start(name: &str, address: &str, run: &str) -> Self {
        let mut command = tokio::process::Command::new("nice");
        command.args(["-n", "19"]).arg(std::env::current_exe().unwrap()).args(["--abuse", name, address, run]);
        let command = command.as_std_mut().stdout(Stdio::piped());
        let mut child = command.spawn().expect("coreutils have nice");
        let stdout = tokio::process::ChildStdout::from_std(child.stdout.take().unwrap()).unwrap();
        let mut line = String::new();
        let mut lines = BufReader::new(stdout);
        timeout(Duration::from_mins(2), lines.read_line(&mut line)).await.expect("it gets at it").unwrap();
        assert_eq!(line.trim(), "ready", "{name} has ended");
        Self(child)
    }
}

impl Drop for Abuser {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Latencies in microseconds.
struct Latencies {
    rates: Histogram<u64>,
    acknowledgements: Histogram<u64>,
}

impl Latencies {
    fn new() -> Self {
        let none = || Histogram::new(3).unwrap();
        Self { rates: none(), acknowledgements: none() }
    }

    fn add(&mut self, more: &Self) {
        self.rates.add(&more.rates).unwrap();
        self.acknowledgements.add(&more.acknowledgements).unwrap();
    }
}

/// The well-behaved trainer: it asks and reports at an even pace.
struct Trainer {
    job: String,
    rates: Channel,
    requests: mpsc::Sender<StreamTelemetryRequest>,
    answers: tonic::Streaming<lrs_proto::StreamTelemetryResponse>,
    step: i64,
}

impl Trainer {
    async fn new(address: &str) -> Self {
        let channel = connect(address).await;
        let job = begin(&channel, "well-behaved", plain()).await;
        let (requests, queue) = mpsc::channel(1000);
        let first = StreamTelemetryRequest { job: job.clone(), attempt: 1, ..Default::default() };
        requests.send(first).await.unwrap();
        let mut client = LearningRateServiceClient::new(channel.clone());
        let answers = client.stream_telemetry(ReceiverStream::new(queue)).await.unwrap().into_inner();
        Self { job, rates: channel, requests, answers, step: 0 }
    }

    async fn round(&mut self) -> Latencies {
        let mut latencies = Latencies::new();
        let end = Instant::now() + ROUND;
        let (job, channel) = (self.job.clone(), self.rates.clone());
        let rates = tokio::spawn(async move {
            let mut found = Histogram::<u64>::new(3).unwrap();
            let mut client = LearningRateServiceClient::new(channel);
            let mut due = Instant::now();
            for step in 0.. {
                due += BETWEEN;
                if due > end {
                    break;
                }
                sleep_until(due).await;
                let request = GetLearningRateRequest {
                    job: job.clone(),
                    attempt: 1,
                    step: step % 500,
                    plan_steps: 8,
                    wait: None,
                };
                client.get_learning_rate(request).await.unwrap();
                found.record(due.elapsed().as_micros() as u64).unwrap();
            }
            found
        });
        let first = self.step;
        let (requests, begun) = (self.requests.clone(), Instant::now());
        let reports = tokio::spawn(async move {
            let mut ticks = interval(BETWEEN);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
            let mut step = first;
            while ticks.tick().await < end {
                let (loss, through_step) = (vec![1.0], Some(step));
                requests
                    .send(StreamTelemetryRequest { step: vec![step], loss, through_step, ..Default::default() })
                    .await
                    .unwrap();
                step += 1;
            }
            step
        });
        let mut next = first;
        while !reports.is_finished() || next < first {
            let Ok(answer) = timeout(BETWEEN, self.answers.message()).await else { continue };
            self.note(answer.unwrap().unwrap().durable_through_step, first, begun, &mut next, &mut latencies);
        }
        self.step = reports.await.unwrap();
        while next < self.step {
            let answer = self.answers.message().await.unwrap().unwrap();
            self.note(answer.durable_through_step, first, begun, &mut next, &mut latencies);
        }
        latencies.rates = rates.await.unwrap();
        latencies
    }

    /// Notes that steps up to `through` have been acknowledged.
    #[expect(clippy::unused_self, reason = "it is a trainer's")]
    fn note(&self, through: Option<i64>, first: i64, begun: Instant, next: &mut i64, latencies: &mut Latencies) {
        while through.is_some_and(|through| *next <= through) {
            let due = begun + BETWEEN * u32::try_from(*next - first).unwrap();
            latencies.acknowledgements.record(due.elapsed().as_micros() as u64).unwrap();
            *next += 1;
        }
    }
}

/// The most memory that the server has used since the last call, in MB.
fn peak_mb(server: &Server) -> u64 {
    let process = format!("/proc/{}", server.process_id());
    let status = fs::read_to_string(format!("{process}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    // Measures again from here, where the system allows it.
    let _ = fs::write(format!("{process}/clear_refs"), "5");
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(place) = arguments.iter().position(|argument| argument == "--abuse") {
        return abuse(&arguments[place + 1], &arguments[place + 2], &arguments[place + 3]).await;
    }
    let wanted: Vec<&String> = arguments.iter().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let server = Server::sqlite().await;
    let mut trainer = Trainer::new(&server.grpc).await;
    trainer.round().await;
    let mut summary = serde_json::Map::new();
    println!(
        "p50 / p99 in ms of GetLearningRate and of a report until it is durable; goal: p99 at most {GOAL} times the quiet one"
    );
    for (name, what) in ABUSERS {
        if !wanted.is_empty() && !wanted.iter().any(|wanted| *wanted == name) {
            continue;
        }
        let (mut quiet, mut beside, mut peak) = (Latencies::new(), Latencies::new(), 0);
        for round in 0..ROUNDS {
            quiet.add(&trainer.round().await);
            peak_mb(&server);
            let abuser = Abuser::start(name, &server.grpc, &round.to_string()).await;
            beside.add(&trainer.round().await);
            drop(abuser);
            peak = peak.max(peak_mb(&server));
            // Lets the server work off what the abuser left behind.
            trainer.round().await;
        }
        println!("{name}: {what}; server's peak {peak} MB");
        let mut figures = serde_json::Map::new();
        for (of, quiet, beside) in [
            ("get_learning_rate", &quiet.rates, &beside.rates),
            ("acknowledgement", &quiet.acknowledgements, &beside.acknowledgements),
        ] {
            let ms = |histogram: &Histogram<u64>, quantile| histogram.value_at_quantile(quantile) as f64 / 1e3;
            let [p50, p99] = [0.5, 0.99].map(|quantile| [ms(quiet, quantile), ms(beside, quantile)]);
            let ratio = p99[1] / p99[0];
            let verdict = if ratio <= GOAL { "" } else { "  beyond the goal" };
            println!(
                "  {of:<18} quiet {:>7.2} / {:>7.2}   abused {:>7.2} / {:>7.2}   p99 ratio {ratio:>6.2}{verdict}",
                p50[0], p99[0], p50[1], p99[1]
            );
            figures.insert(of.to_owned(), serde_json::json!({"p50_ms": p50, "p99_ms": p99, "p99_ratio": ratio}));
        }
        figures.insert("peak_mb".to_owned(), peak.into());
        summary.insert(name.to_owned(), figures.into());
    }
    println!("{}", serde_json::Value::from(summary));
}
