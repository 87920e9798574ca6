//! Jobs that nobody uses cost a row and no memory: a server is ready without reading them, reads each when somebody asks
//! for it, and lets it go again. What was given out before holds all the same.

use futures::future::join_all;
use lrs_proto::{
    GetLearningRateRequest, ListJobsRequest, OverrideLearningRateRequest, RateOverride, job::State,
    override_learning_rate_request, rate_override,
};
use serde_json::Value;
use tonic::Code;

use crate::{
    crowd,
    postgres::TestPostgres,
    server::{Server, spec, wait_for},
};

const REGISTERED: usize = 20_000;
const RUNNING: usize = 500;

/// The jobs in memory.
async fn loaded(server: &Server) -> usize {
    let (status, metrics) = server.http_get("/metrics").await;
    assert_eq!(status, 200);
    let line = metrics.lines().find_map(|line| line.strip_prefix("lrs_loaded_jobs "));
    line.map_or(0, |count| count.parse().unwrap())
}

async fn wait_until_none_is_loaded(server: &Server) {
    wait_for("a server without jobs in memory", async || (loaded(server).await == 0).then_some(())).await;
}

/// A job that has trained some steps, and the rates that it was given.
async fn train(server: &Server, id: &str) -> (String, Vec<f64>) {
    let job = server.register(id, spec(0.5)).await.name;
    let attempt = server.start_attempt(&job, "t", 0).await;
    let stream = server.stream(&job, attempt, 0).await;
    stream.losses(0, &[1.0; 8]).await;
    let mut stream = stream;
    stream.until_durable(7).await;
    let mut rates = Vec::new();
    for step in 0..10 {
        rates.push(server.final_rate(&job, attempt, step).await);
    }
    (job, rates)
}

/// A server over each kind of database, with 20,000 jobs that never started and 500 that run and are silent.
async fn crowded(url: Option<&str>, arguments: &[&str]) -> (Server, String, Vec<f64>) {
    let mut server = match url {
        Some(url) => Server::with(url, arguments).await,
        None => Server::with_sqlite(arguments).await,
    };
    let waiting = server.register("waiting", spec(1.0)).await.name;
    let (running, rates) = train(&server, "running").await;
    assert_eq!(server.terminate().await, Some(0));
    crowd::copy(server.database_url(), &waiting, REGISTERED).await;
    crowd::copy(server.database_url(), &running, RUNNING).await;
    server.start_again().await;
    (server, running, rates)
}

async fn idle_jobs_cost_no_memory(url: Option<&str>) {
    let (server, running, rates) = crowded(url, &["--idle-after", "1s", "--max-loaded-jobs", "200"]).await;
    assert_eq!(loaded(&server).await, 0, "a start reads no job");

    // Lists and the first look at the fleet read rows.
    let all = ListJobsRequest { parent: "namespaces/-".to_owned(), page_size: 1000, ..ListJobsRequest::default() };
    let page = server.jobs().await.list_jobs(all).await.unwrap().into_inner();
    assert_eq!(page.jobs.len(), 1000);
    let (status, fleet) = server.http_get("/v1/fleet").await;
    let fleet: Value = serde_json::from_str(&fleet).unwrap();
    assert_eq!((status, fleet["truncated"].as_bool()), (200, Some(true)));
    assert_eq!(fleet["jobs"].as_array().unwrap().len(), 10_000);
    assert_eq!(loaded(&server).await, 0);

    // More trainers than there is room for come back at once: each gets its rate, some after a while.
    let channel = server.channel().await;
    let mut trainers = Vec::new();
    for number in 1..=RUNNING {
        let mut rates = lrs_proto::learning_rate_service_client::LearningRateServiceClient::new(channel.clone());
        let job = format!("{running}-{number}");
        trainers.push(async move {
            wait_for("a final rate", async || {
                let request = GetLearningRateRequest {
                    job: job.clone(),
                    attempt: 1,
                    step: 3,
                    wait: Some(pbjson_types::Duration { seconds: 5, nanos: 0 }),
                    ..GetLearningRateRequest::default()
                };
                match rates.get_learning_rate(request).await {
                    Ok(answer) => {
                        let answer = answer.into_inner();
                        let directive = answer.directive.unwrap();
                        assert!(directive.is_final);
                        Some(directive.rates[0].learning_rate)
                    }
                    Err(refusal) => {
                        assert!(matches!(refusal.code(), Code::ResourceExhausted | Code::Unavailable), "{refusal}");
                        None
                    }
                }
            })
            .await
        });
    }
    for rate in join_all(trainers).await {
        assert_eq!(rate.to_bits(), rates[3].to_bits());
    }
    assert!(loaded(&server).await <= 200);

    // Ten steps were given out: an order takes effect after them, not after the reserved block.
    wait_until_none_is_loaded(&server).await;
    let order = OverrideLearningRateRequest {
        name: running.clone(),
        order: Some(override_learning_rate_request::Order::Set(RateOverride {
            setting: Some(rate_override::Setting::Factor(0.5)),
            end_step: None,
        })),
        ..OverrideLearningRateRequest::default()
    };
    let decision = server.jobs().await.override_learning_rate(order).await.unwrap().into_inner();
    assert!((10..100).contains(&decision.effective_step), "{decision:?}");
    wait_until_none_is_loaded(&server).await;
    let step = decision.effective_step;
    let before = server.final_rate(&running, 1, step - 1).await;
    let after = server.final_rate(&running, 1, step).await;
    assert_eq!((before.to_bits(), after.to_bits()), (rates[9].to_bits(), (0.5 * rates[9]).to_bits()));

    // Who watches or reports keeps the job in memory.
    wait_until_none_is_loaded(&server).await;
    let mut stream = server.stream(&running, 1, 0).await;
    stream.losses(8, &[1.0]).await;
    stream.until_durable(8).await;
    wait_for("a second", {
        let begun = std::time::Duration::from_secs(2);
        let clock = tokio::time::Instant::now();
        async move || (clock.elapsed() > begun).then_some(())
    })
    .await;
    assert_eq!(loaded(&server).await, 1);
    stream.losses(9, &[1.0]).await;
    stream.until_durable(9).await;
}

#[tokio::test]
async fn idle_jobs_cost_no_memory_on_sqlite() {
    idle_jobs_cost_no_memory(None).await;
}

#[tokio::test]
async fn idle_jobs_cost_no_memory_on_postgres() {
    let postgres = TestPostgres::private(&["fsync = off"]);
    let url = postgres.create_database().await;
    idle_jobs_cost_no_memory(Some(&url)).await;
}

/// The state of a job as it is listed, which does not wake it.
async fn state(server: &Server, name: &str) -> State {
    let all = ListJobsRequest { parent: "namespaces/-".to_owned(), ..ListJobsRequest::default() };
    let page = server.jobs().await.list_jobs(all).await.unwrap().into_inner();
    page.jobs.iter().find(|job| job.name == name).unwrap().state()
}

#[tokio::test]
async fn an_abandoned_job_counts_for_nothing_until_its_trainer_returns() {
    let arguments = ["--idle-after", "200ms", "--stale-after", "500ms", "--abandon-after", "2s", "--max-jobs", "2"];
    let mut server = Server::with_sqlite(&arguments).await;
    let (job, rates) = train(&server, "left").await;
    let waiting = server.register("waiting", spec(1.0)).await.name;
    let refusal = server.try_register("third", spec(1.0)).await.unwrap_err();
    assert_eq!(refusal.code(), Code::ResourceExhausted);
    assert!(refusal.message().contains("max_jobs"), "{refusal}");

    for name in [&job, &waiting] {
        wait_for("an abandoned job", async || (state(&server, name).await == State::Abandoned).then_some(())).await;
    }
    let (_, fleet) = server.http_get("/v1/fleet").await;
    let fleet: Value = serde_json::from_str(&fleet).unwrap();
    assert!(fleet["jobs"].as_array().unwrap().iter().all(|row| row["health"] == "ABANDONED"), "{fleet}");

    // An order wakes a job as its trainer does.
    let order = RateOverride { setting: Some(rate_override::Setting::Factor(0.5)), end_step: None };
    let order = OverrideLearningRateRequest {
        name: waiting.clone(),
        order: Some(override_learning_rate_request::Order::Set(order)),
        ..OverrideLearningRateRequest::default()
    };
    let woken = async || {
        server.jobs().await.override_learning_rate(order.clone()).await.unwrap();
        (state(&server, &waiting).await == State::Pending).then_some(())
    };
    wait_for("the job to be woken", woken).await;
    wait_for("an abandoned job", async || (state(&server, &waiting).await == State::Abandoned).then_some(())).await;

    // They are counted when the server starts, and now and then.
    assert_eq!(server.terminate().await, Some(0));
    server.start_again().await;
    server.register("third", spec(1.0)).await;
    let woken = async || {
        assert_eq!(server.final_rate(&job, 1, 3).await.to_bits(), rates[3].to_bits());
        (state(&server, &job).await == State::Running).then_some(())
    };
    wait_for("the job to run", woken).await;
}
