//! Two servers on one PostgreSQL: only one decides, and one that was replaced forgets all it knew. A database that comes
//! back older is the same to its only server.

use std::{collections::BTreeMap, time::Duration};

use futures::{StreamExt as _, stream};
use rustix::process::Signal;
use sqlx::{Connection as _, PgConnection};
use tokio::time::Instant;

use crate::postgres::TestPostgres;
use crate::program::{program, succeeds};
use crate::server::{Server, Stream, spec, spec_json, wait_for};
use lrs_proto::{
    Decision, JobSpec, ListDecisionsRequest, OverrideLearningRateRequest, PauseJobRequest, QueryTelemetryRequest,
    RateOverride, ResumeJobRequest, StreamTelemetryRequest, WatchJobRequest, override_learning_rate_request::Order,
    rate_override::Setting,
};

const LEASE: Duration = Duration::from_secs(3);
const SHORT_LEASE: [&str; 2] = ["--owner-lease", "3s"];

fn plateau() -> JobSpec {
    spec_json(
        r#"{"groups": [{"base_lr": 1.0}], "decision_lag": 2,
            "controllers": [{"reduce_lr_on_plateau": {"factor": 0.9, "patience": 3}}]}"#,
    )
}

fn losses(steps: std::ops::Range<i64>) -> Vec<f64> {
    steps.map(|step| 1.0 + f64::from(u32::try_from(step.rem_euclid(7)).unwrap()) / 10.0).collect()
}

fn halve(job: &str, request_id: &str) -> OverrideLearningRateRequest {
    let set = RateOverride { setting: Some(Setting::Factor(0.5)), end_step: None };
    let (name, request_id) = (job.to_owned(), request_id.to_owned());
    OverrideLearningRateRequest { name, request_id, order: Some(Order::Set(set)), ..Default::default() }
}

/// Every stored loss of the newest attempt, by step.
async fn stored(server: &Server, job: &str) -> BTreeMap<i64, f64> {
    let query = QueryTelemetryRequest { job: job.to_owned(), page_size: 100_000, ..Default::default() };
    let series = server.jobs().await.query_telemetry(query).await.unwrap().into_inner().series;
    let loss = series.into_iter().find(|series| series.name == "loss");
    loss.map_or_else(BTreeMap::new, |loss| loss.step.into_iter().zip(loss.value).collect())
}

async fn decisions(server: &Server, job: &str) -> Vec<String> {
    let request = ListDecisionsRequest { job: job.to_owned(), page_size: 1000, ..Default::default() };
    let decisions = server.jobs().await.list_decisions(request).await.unwrap().into_inner().decisions;
    decisions.into_iter().map(|decision| format!("{} from {}", decision.name, decision.effective_step)).collect()
}

async fn is_ready(server: &Server) -> bool {
    server.http_get("/readyz").await.0 == 200
}

async fn until_ready(server: &Server) {
    wait_for("a server to be ready", async || is_ready(server).await.then_some(())).await;
}

/// Waits until `server` says that it waits for `other`.
async fn until_waiting_for(server: &Server, other: &Server) {
    let wanted = format!("pid {} since ", other.process_id());
    wait_for("a server to wait for the other one", async || {
        let (status, body) = server.http_get("/readyz").await;
        (status == 503 && body.contains("another lrs server has this database open") && body.contains(&wanted))
            .then_some(())
    })
    .await;
    assert_eq!(server.http_get("/livez").await.0, 200);
}

/// Cuts the session that holds the lock, as a firewall would.
async fn cut_owner(url: &str) {
    let mut connection = PgConnection::connect(url).await.unwrap();
    let cut: Vec<bool> = sqlx::query_scalar(
        "select pg_terminate_backend(pid, 10000) from pg_locks where locktype = 'advisory' and granted
             and database = (select oid from pg_database where datname = current_database())",
    )
    .fetch_all(&mut connection)
    .await
    .unwrap();
    assert_eq!(cut, [true], "one session owns the database");
    connection.close().await.unwrap();
}

async fn doctor_finds_nothing(url: &str) {
    let url = url.to_owned();
    let output = tokio::task::spawn_blocking(move || program().args(["doctor", "--database-url", &url]).output());
    succeeds(&output.await.unwrap().unwrap());
}

/// Asks for a step, and fails if the answer calls it final.
async fn assert_not_final(server: &Server, job: &str, attempt: i64, step: i64) {
    let answer = server.ask(job, attempt, step, 0, Duration::ZERO).await;
    let is_final = answer.as_ref().is_ok_and(|answer| answer.directive.as_ref().is_some_and(|told| told.is_final));
    assert!(!is_final, "an owner that was replaced calls step {step} final: {answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_that_was_replaced_within_its_lease_refuses_nothing_for_good() {
    let postgres = TestPostgres::private(&[]);
    let url = postgres.create_database().await;
    let first = Server::with(&url, &["--owner-lease", "1m"]).await;
    let job = first.register("a", spec(1.0)).await.name;
    first.start_attempt(&job, "t1", 0).await;
    let second = Server::standby(&url, &[]).await;
    until_waiting_for(&second, &first).await;
    first.signal(Signal::STOP);
    cut_owner(&url).await;
    until_ready(&second).await;
    second.start_attempt(&job, "t2", 0).await;
    let other = second.register("b", spec(1.0)).await.name;
    let pause = PauseJobRequest { name: job.clone(), request_id: "p".to_owned(), ..Default::default() };
    second.jobs().await.pause_job(pause).await.unwrap();

    // The questions come before it can find out.
    let resume = ResumeJobRequest { name: job.clone(), request_id: "r".to_owned(), ..Default::default() };
    let mut jobs = first.jobs().await;
    let (unknown_attempt, unknown_job, nothing_to_change, ()) = tokio::join!(
        first.ask(&job, 2, 0, 0, Duration::ZERO),
        first.ask(&other, 1, 0, 0, Duration::ZERO),
        jobs.resume_job(resume),
        async { first.signal(Signal::CONT) },
    );

    for status in [unknown_attempt.unwrap_err(), unknown_job.unwrap_err(), nothing_to_change.unwrap_err()] {
        assert_eq!(status.code(), tonic::Code::Unavailable, "trainers take it for good: {status:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_that_stood_still_says_nothing_final_once_another_has_taken_over() {
    let postgres = TestPostgres::private(&[]);
    let url = postgres.create_database().await;
    let first = Server::with(&url, &SHORT_LEASE).await;
    let job = first.register("a", plateau()).await.name;
    let old = first.start_attempt(&job, "t1", 0).await;
    let mut stream = first.stream(&job, old, 0).await;
    stream.losses(0, &losses(0..20)).await;
    stream.until_durable(19).await;
    first.final_rate(&job, old, 20).await;
    let mut second = Server::standby(&url, &SHORT_LEASE).await;
    until_waiting_for(&second, &first).await;

    let stopped = Instant::now();
    first.signal(Signal::STOP);
    cut_owner(&url).await;
    until_ready(&second).await;
    let new = second.start_attempt(&job, "t2", 10).await;
    assert_eq!(new, 2);
    let mut newer = second.stream(&job, new, 0).await;
    newer.losses(10, &losses(40..60)).await;
    newer.until_durable(29).await;
    // When the trainer is expected there depends on when one asks.
    let ordered = async |server: &Server| {
        let order = server.jobs().await.override_learning_rate(halve(&job, "r1")).await.unwrap().into_inner();
        Decision { expected_time: None, ..order }
    };
    let order = ordered(&second).await;
    let mut rates = BTreeMap::new();
    for step in [30, 31, order.effective_step] {
        rates.insert(step, second.final_rate(&job, new, step.min(31)).await.to_bits());
    }
    wait_for("the lease to be over", async || (stopped.elapsed() > LEASE).then_some(())).await;
    first.signal(Signal::CONT);

    // Whoever asks it, and whatever trainers send it, until it has found out and after.
    stream.losses(20, &losses(20..40)).await;
    for attempt in [0, old] {
        for step in [5, 20, 35] {
            assert_not_final(&first, &job, attempt, step).await;
        }
    }
    let status = stream.end().await;
    assert_eq!(status.code(), tonic::Code::Unavailable, "trainers are to come again: {status:?}");
    assert_eq!(stream.latest.durable_through_step, Some(19), "nothing is acknowledged any more");
    until_waiting_for(&first, &second).await;
    assert_not_final(&first, &job, old, 5).await;
    assert!(first.log().contains("it begins anew"), "{}", first.log());
    let (told, kept) = (decisions(&second, &job).await, stored(&second, &job).await);
    assert_eq!(kept.len(), 30);

    second.kill();
    until_ready(&first).await;
    assert_eq!(first.start_attempt(&job, "t2", 10).await, new, "it knows the attempt of the other one");
    assert_eq!((decisions(&first, &job).await, stored(&first, &job).await), (told, kept));
    assert_eq!(ordered(&first).await, order);
    for (step, bits) in rates {
        assert_eq!(first.final_rate(&job, new, step.min(31)).await.to_bits(), bits, "the rate of step {step}");
    }
    doctor_finds_nothing(&url).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stands_still_makes_way_by_itself() {
    let postgres = TestPostgres::private(&[]);
    let url = postgres.create_database().await;
    let first = Server::with(&url, &SHORT_LEASE).await;
    let second = Server::standby(&url, &SHORT_LEASE).await;
    until_waiting_for(&second, &first).await;

    first.signal(Signal::STOP);

    until_ready(&second).await;
    first.signal(Signal::CONT);
    until_waiting_for(&first, &second).await;
}

/// The service's one job as its trainers and operators know it.
struct Witness {
    job: String,
    attempts: Vec<(String, i64)>,
    orders: Vec<String>,
    /// Steps of the newest attempt below this are acknowledged.
    acknowledged: i64,
}

impl Witness {
    /// A new attempt, an order, telemetry: all of it acknowledged by `server`.
    async fn train(&mut self, server: &Server, round: i64) {
        let token = format!("t{round}");
        let attempt = server.start_attempt(&self.job, &token, 0).await;
        assert!(self.attempts.iter().all(|(_, known)| *known != attempt), "{attempt} was given out before");
        self.attempts.push((token, attempt));
        let mut stream = server.stream(&self.job, attempt, 0).await;
        stream.losses(0, &losses(0..20)).await;
        stream.until_durable(19).await;
        self.acknowledged = 20;
        let request = format!("r{round}");
        server.jobs().await.override_learning_rate(halve(&self.job, &request)).await.unwrap();
        self.orders.push(request);
    }

    /// Everything acknowledged is known to `server`.
    async fn check(&self, server: &Server) {
        for (token, attempt) in &self.attempts {
            assert_eq!(server.start_attempt(&self.job, token, 0).await, *attempt, "{token}");
        }
        let stored = stored(server, &self.job).await;
        let lost: Vec<i64> = (0..self.acknowledged).filter(|step| !stored.contains_key(step)).collect();
        assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
        let told = decisions(server, &self.job).await;
        assert_eq!(told.len(), self.orders.len(), "{told:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn restarts_of_postgres_under_two_servers_lose_nothing() {
    let postgres = TestPostgres::private(&[]);
    let url = postgres.create_database().await;
    let first = Server::with(&url, &SHORT_LEASE).await;
    let second = Server::standby(&url, &SHORT_LEASE).await;
    let job = first.register("a", spec(0.1)).await.name;
    let mut witness = Witness { job, attempts: Vec::new(), orders: Vec::new(), acknowledged: 0 };
    let servers = [first, second];
    let mut owner = 0;
    let mut changes = 0;
    for round in 0..5 {
        witness.train(&servers[owner], round).await;
        tokio::task::block_in_place(|| postgres.restart());
        // The one that owned it may be the owner again, or the other one is.
        let (now, other) = wait_for("one of the two to be the owner", async || {
            for (now, other) in [(0, 1), (1, 0)] {
                let (_, body) = servers[other].http_get("/readyz").await;
                if is_ready(&servers[now]).await && body.contains("another lrs server has this database open") {
                    return Some((now, other));
                }
            }
            None
        })
        .await;
        changes += u32::from(now != owner);
        owner = now;
        assert_not_final(&servers[other], &witness.job, 0, 5).await;
        witness.check(&servers[owner]).await;
    }
    println!("the owner changed {changes} times");
    doctor_finds_nothing(&url).await;
}

/// Sends losses again from the step on that the service says it has lost.
async fn send_again(stream: &mut Stream, through: i64) {
    let durable = stream.latest.durable_through_step.unwrap_or(-1);
    stream.losses(durable + 1, &losses(durable + 1..through + 1)).await;
    stream.until_durable(through).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_tail_is_found_and_healed_by_what_trainers_hold() {
    let postgres = TestPostgres::private(&[]);
    let url = postgres.create_database().await;
    let server = Server::with(&url, &SHORT_LEASE).await;
    let job = server.register("a", plateau()).await.name;
    let attempt = server.start_attempt(&job, "t", 0).await;
    let mut stream = server.stream(&job, attempt, 0).await;
    stream.losses(0, &losses(0..60)).await;
    stream.until_durable(59).await;
    let backup = tokio::task::block_in_place(|| postgres.copy());
    until_ready(&server).await;
    let mut stream = server.stream(&job, attempt, 0).await;
    stream.losses(60, &losses(60..90)).await;
    stream.until_durable(89).await;
    let mut rates = BTreeMap::new();
    for step in 0..=91 {
        rates.insert(step, server.final_rate(&job, attempt, step).await.to_bits());
    }

    let watch = WatchJobRequest { name: job.clone() };
    let mut events = server.jobs().await.watch_job(watch).await.unwrap().into_inner();
    // Whoever wants no directives, and has nothing more to report, has to learn of it too.
    let silent = StreamTelemetryRequest { job: job.clone(), attempt, rank: 0, ..Default::default() };
    let silent = stream::iter([silent]).chain(stream::pending());
    let mut silent = server.rates().await.stream_telemetry(silent).await.unwrap().into_inner();

    tokio::task::block_in_place(|| postgres.restore(backup));

    assert_eq!(stream.end().await.code(), tonic::Code::Unavailable);
    let end = async {
        while silent.message().await?.is_some() {}
        Ok::<(), tonic::Status>(())
    };
    assert_eq!(end.await.unwrap_err().code(), tonic::Code::Unavailable);
    let end = async {
        while events.message().await?.is_some() {}
        Ok::<(), tonic::Status>(())
    };
    assert_eq!(end.await.unwrap_err().code(), tonic::Code::Unavailable, "the job has not ended");
    wait_for("the log to say so", async || server.log().contains("has gone back to commit").then_some(())).await;
    until_ready(&server).await;
    let mut stream = server.stream(&job, attempt, 0).await;
    stream.until_messages(1).await;
    assert_eq!(stream.latest.durable_through_step, Some(59), "the opening is answered with what is durable");
    assert_not_final(&server, &job, attempt, 80).await;
    send_again(&mut stream, 89).await;
    for (step, bits) in rates {
        assert_eq!(server.final_rate(&job, attempt, step).await.to_bits(), bits, "the rate of step {step}");
    }

    // A step that nobody holds any more is closed without figures, and does not hold up the others.
    stream.losses(95, &losses(95..100)).await;
    stream.until_durable(99).await;
    server.final_rate(&job, attempt, 100).await;
    doctor_finds_nothing(&url).await;
}
