//! A backup taken with the documented commands while jobs train: restored, it has everything acknowledged before it
//! began.

use std::{
    collections::BTreeMap,
    process::Output,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering::SeqCst},
    },
};

use crate::postgres::TestPostgres;
use crate::program::{program, succeeds};
use crate::server::{Server, spec_json, wait_for};
use lrs_proto::{
    JobSpec, ListDecisionsRequest, OverrideLearningRateRequest, QueryTelemetryRequest, RateOverride,
    override_learning_rate_request::Order, rate_override::Setting,
};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, SqliteConnection};
use tokio::task::JoinSet;

const JOBS: usize = 6;
const SETTINGS: [&str; 4] = ["--snapshot-after-records", "64", "--merge-after-chunks", "16"];

fn plateau() -> JobSpec {
    spec_json(
        r#"{"groups": [{"base_lr": 1.0}], "decision_lag": 2,
            "controllers": [{"reduce_lr_on_plateau": {"factor": 0.9, "patience": 3}}]}"#,
    )
}

fn loss(step: i64) -> f64 {
    1.0 + f64::from(u32::try_from(step.rem_euclid(7)).unwrap()) / 10.0
}

/// A job that trains until it is told to stop, and the last step acknowledged so far.
#[derive(Clone, Default)]
struct Trainer {
    name: String,
    acknowledged: Arc<AtomicI64>,
    stop: Arc<AtomicBool>,
}

impl Trainer {
    async fn train(self, server: Arc<Server>) -> BTreeMap<i64, u64> {
        let mut stream = server.stream(&self.name, 1, 0).await;
        let mut rates = BTreeMap::new();
        for step in 0.. {
            if self.stop.load(SeqCst) {
                stream.until_durable(step - 1).await;
                break;
            }
            rates.insert(step, stream.directive(step).await.rates[0].learning_rate.to_bits());
            stream.losses(step, &[loss(step)]).await;
            if step % 8 == 7 {
                stream.until_durable(step - 4).await;
            }
            self.acknowledged.store(stream.latest.durable_through_step.unwrap_or(-1), SeqCst);
        }
        rates
    }
}

async fn losses(server: &Server, job: &str) -> BTreeMap<i64, u64> {
    let query = QueryTelemetryRequest { job: job.to_owned(), page_size: 100_000, ..Default::default() };
    let series = server.jobs().await.query_telemetry(query).await.unwrap().into_inner().series;
    let loss = series.into_iter().find(|series| series.name == "loss").unwrap();
    loss.step.into_iter().zip(loss.value.into_iter().map(f64::to_bits)).collect()
}

fn lrs(arguments: &[&str]) -> Output {
    program().args(arguments).output().unwrap()
}

/// Takes a backup of `url` with `back_up`, which returns the address of the restored copy.
async fn keeps_what_was_acknowledged(url: &str, back_up: impl AsyncFnOnce() -> String) {
    let server = Arc::new(Server::with(url, &SETTINGS).await);
    let mut training = JoinSet::new();
    let mut trainers = Vec::new();
    let stop = Arc::new(AtomicBool::new(false));
    for i in 0..JOBS {
        let name = server.register(&format!("job-{i}"), plateau()).await.name;
        server.start_attempt(&name, "t", 0).await;
        let trainer = Trainer { name, acknowledged: Arc::new(AtomicI64::new(-1)), stop: stop.clone() };
        trainers.push(trainer.clone());
        let server = server.clone();
        training.spawn(async move { (trainer.name.clone(), trainer.train(server).await) });
    }
    let slowest = || trainers.iter().map(|trainer| trainer.acknowledged.load(SeqCst)).min().unwrap();
    wait_for("the jobs to get going", async || (slowest() > 150).then_some(())).await;
    let set = RateOverride { setting: Some(Setting::Factor(0.5)), end_step: None };
    let order = Some(Order::Set(set));
    let order = OverrideLearningRateRequest { name: trainers[0].name.clone(), order, ..Default::default() };
    let ordered = server.jobs().await.override_learning_rate(order).await.unwrap().into_inner();

    let acknowledged: Vec<i64> = trainers.iter().map(|trainer| trainer.acknowledged.load(SeqCst)).collect();
    let copy = back_up().await;

    let after = slowest();
    wait_for("the jobs to go on", async || (slowest() > after + 50).then_some(())).await;
    stop.store(true, SeqCst);
    let given: BTreeMap<String, BTreeMap<i64, u64>> = training.join_all().await.into_iter().collect();
    drop(server);

    succeeds(&lrs(&["doctor", "--database-url", &copy]));
    let restored = Server::with(&copy, &SETTINGS).await;
    for (trainer, acknowledged) in trainers.iter().zip(acknowledged) {
        let name = &trainer.name;
        let stored = losses(&restored, name).await;
        for step in 0..=acknowledged {
            assert_eq!(stored.get(&step), Some(&loss(step).to_bits()), "acknowledged step {step} of {name}");
        }
        // The restored data leads to the same rates.
        for step in 0..=acknowledged {
            let rate = restored.final_rate(name, 1, step).await;
            assert_eq!(rate.to_bits(), given[name][&step], "the rate of step {step} of {name}");
        }
    }
    let request = ListDecisionsRequest { job: trainers[0].name.clone(), page_size: 1000, ..Default::default() };
    let decisions = restored.jobs().await.list_decisions(request).await.unwrap().into_inner().decisions;
    assert!(decisions.iter().any(|decision| decision.name == ordered.name), "an acknowledged override is there");
    // A trainer that starts again from its checkpoint can go on.
    let attempt = restored.start_attempt(&trainers[1].name, "restored", 100).await;
    assert_eq!(attempt, 2);
    let mut stream = restored.stream(&trainers[1].name, attempt, 0).await;
    stream.losses(100, &[1.0; 10]).await;
    stream.until_durable(109).await;
    drop(restored);
    succeeds(&lrs(&["doctor", "--database-url", &copy]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_of_postgres_keeps_what_was_acknowledged() {
    let postgres = TestPostgres::shared();
    let url = postgres.create_database().await;
    keeps_what_was_acknowledged(&url, async || {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("lrs.dump");
        succeeds(
            &postgres.program("pg_dump").args(["--format=custom", "--file"]).arg(&file).arg(&url).output().unwrap(),
        );
        let copy = postgres.create_database().await;
        let restore = ["--no-owner", "--exit-on-error", "--single-transaction", "--dbname", &copy];
        succeeds(&postgres.program("pg_restore").args(restore).arg(&file).output().unwrap());
        copy
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_sqlite_keeps_what_was_acknowledged() {
    let directory = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", directory.path().join("lrs.db").display());
    keeps_what_was_acknowledged(&url, async || {
        let copy = directory.path().join("copy.db");
        // The same as `sqlite3 lrs.db "vacuum into 'copy.db'"`.
        let mut connection = SqliteConnection::connect(&url).await.unwrap();
        let statement = format!("vacuum into '{}'", copy.display());
        connection.execute(AssertSqlSafe(statement)).await.unwrap();
        connection.close().await.unwrap();
        format!("sqlite://{}", copy.display())
    })
    .await;
}
