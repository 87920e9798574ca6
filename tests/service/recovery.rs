//! Recovery: kills in the middle of training, a database that goes away, rows that are damaged.

use std::collections::BTreeMap;

use crate::postgres::TestPostgres;
use crate::server::{PATIENCE, Server, Stream, spec, spec_json, wait_for};
use lrs_proto::{
    GetJobRequest, JobSpec, ListDecisionsRequest, OverrideLearningRateRequest, QueryTelemetryRequest, RateOverride,
    override_learning_rate_request::Order, rate_override::Setting,
};
use tonic::Code;

fn plateau() -> JobSpec {
    spec_json(
        r#"{"groups": [{"base_lr": 1.0}], "decision_lag": 2,
            "controllers": [{"reduce_lr_on_plateau": {"factor": 0.9, "patience": 3}}]}"#,
    )
}

/// A loss that depends on the step alone, so that a trainer that repeats a step reports the same loss.
fn loss(step: i64) -> f64 {
    let phase = u32::try_from(step.rem_euclid(7)).unwrap();
    1.0 + f64::from(phase) / 10.0
}

/// Trains from `from` to `to` and records every final rate; stops if the stream breaks. Returns the first step that was
/// not trained.
async fn train(stream: &mut Stream, from: i64, to: i64, rates: &mut BTreeMap<i64, u64>) -> i64 {
    for step in from..to {
        while !stream.directives.contains_key(&step) {
            match stream.next().await {
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => return step,
            }
        }
        let bits = stream.directives[&step].rates[0].learning_rate.to_bits();
        let before = rates.insert(step, bits);
        assert!(before.is_none_or(|before| before == bits), "step {step} had another rate before");
        stream.losses(step, &[loss(step)]).await;
    }
    to
}

/// Every stored loss, by step.
async fn stored(server: &Server, job: &str) -> BTreeMap<i64, u64> {
    let query = QueryTelemetryRequest { job: job.to_owned(), page_size: 100_000, ..Default::default() };
    let series = server.jobs().await.query_telemetry(query).await.unwrap().into_inner().series;
    let loss = series.into_iter().find(|series| series.name == "loss");
    loss.map_or_else(BTreeMap::new, |loss| {
        loss.step.into_iter().zip(loss.value.into_iter().map(f64::to_bits)).collect()
    })
}

async fn decisions(server: &Server, job: &str) -> Vec<(i64, i64)> {
    let request = ListDecisionsRequest { job: job.to_owned(), page_size: 1000, ..Default::default() };
    let decisions = server.jobs().await.list_decisions(request).await.unwrap().into_inner().decisions;
    decisions.iter().map(|decision| (decision.step, decision.effective_step)).collect()
}

fn halve(job: &str) -> OverrideLearningRateRequest {
    let set = RateOverride { setting: Some(Setting::Factor(0.5)), end_step: None };
    OverrideLearningRateRequest { name: job.to_owned(), order: Some(Order::Set(set)), ..Default::default() }
}

/// Kills the server again and again while a trainer runs; acknowledged steps and rates given out must stay.
async fn survives_kills(mut server: Server) {
    let job = server.register("a", plateau()).await.name;
    let attempt = server.start_attempt(&job, "t", 0).await;
    let mut rates = BTreeMap::new();
    let (mut next, mut acknowledged) = (0, -1);
    for round in 1..=4 {
        let mut stream = server.stream(&job, attempt, 0).await;
        // Steps that were not acknowledged are sent again, with the same values.
        let again: Vec<f64> = (acknowledged + 1..next).map(loss).collect();
        if !again.is_empty() {
            stream.losses(acknowledged + 1, &again).await;
        }
        next = train(&mut stream, next, round * 300, &mut rates).await;
        stream.until_durable(round * 300 - 40).await;
        acknowledged = stream.latest.durable_through_step.unwrap();
        server.kill();
        server.start_again().await;
        let stored = stored(&server, &job).await;
        for step in 0..=acknowledged {
            assert_eq!(stored.get(&step), Some(&loss(step).to_bits()), "acknowledged step {step} after kill {round}");
        }
    }
    let mut stream = server.stream(&job, attempt, 0).await;
    stream.losses(acknowledged + 1, &(acknowledged + 1..next).map(loss).collect::<Vec<_>>()).await;
    stream.until_durable(next - 1).await;
    for (step, bits) in &rates {
        assert_eq!(server.final_rate(&job, attempt, *step).await.to_bits(), *bits, "the rate of step {step}");
    }

    // The rates are the same as without any kill.
    let quiet = server.register("quiet", plateau()).await.name;
    let undisturbed = server.start_attempt(&quiet, "t", 0).await;
    let mut stream = server.stream(&quiet, undisturbed, 0).await;
    stream.losses(0, &(0..next).map(loss).collect::<Vec<_>>()).await;
    stream.until_durable(next - 1).await;
    assert_eq!(decisions(&server, &job).await, decisions(&server, &quiet).await);
    assert!(!decisions(&server, &job).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn kills_lose_nothing_that_was_acknowledged_on_sqlite() {
    survives_kills(Server::sqlite().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kills_lose_nothing_that_was_acknowledged_on_postgres() {
    let postgres = TestPostgres::private(&[]);
    survives_kills(Server::with(&postgres.create_database().await, &[]).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_kill_an_override_takes_effect_past_all_that_may_have_been_given_out() {
    let mut server = Server::sqlite().await;
    let job = server.register("a", spec(0.1)).await.name;
    let attempt = server.start_attempt(&job, "t", 0).await;
    server.final_rate(&job, attempt, 100).await;
    server.kill();
    server.start_again().await;

    let decision = server.jobs().await.override_learning_rate(halve(&job)).await.unwrap().into_inner();

    assert!((102..=200).contains(&decision.effective_step), "{decision:?}");
    for step in [100, decision.effective_step - 1] {
        assert_eq!(server.final_rate(&job, attempt, step).await.to_bits(), 0.1f64.to_bits());
    }
    assert_eq!(server.final_rate(&job, attempt, decision.effective_step).await.to_bits(), 0.05f64.to_bits());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_override_and_a_rewind_are_there_after_a_kill() {
    let mut server = Server::sqlite().await;
    let job = server.register("a", plateau()).await.name;
    let first = server.start_attempt(&job, "t1", 0).await;
    let mut stream = server.stream(&job, first, 0).await;
    stream.losses(0, &(0..50).map(loss).collect::<Vec<_>>()).await;
    stream.until_durable(49).await;
    server.jobs().await.override_learning_rate(halve(&job)).await.unwrap();
    let second = server.start_attempt(&job, "t2", 20).await;
    let mut stream = server.stream(&job, second, 0).await;
    stream.losses(20, &(20..120).map(|step| loss(step) / 2.0).collect::<Vec<_>>()).await;
    stream.until_durable(119).await;
    let mut before = BTreeMap::new();
    for step in 0..=120 {
        before.insert(step, server.final_rate(&job, second, step).await.to_bits());
    }

    server.kill();
    server.start_again().await;

    for (step, bits) in before {
        assert_eq!(server.final_rate(&job, second, step).await.to_bits(), bits, "the rate of step {step}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_database_is_away_rates_are_given_and_acknowledgements_withheld() {
    let postgres = TestPostgres::private(&[]);
    let server = Server::with(&postgres.create_database().await, &[]).await;
    let job = server.register("a", spec(0.1)).await.name;
    let attempt = server.start_attempt(&job, "t", 0).await;
    let mut stream = server.stream(&job, attempt, 0).await;
    stream.losses(0, &[1.0; 10]).await;
    stream.until_durable(9).await;

    postgres.stop_immediate();
    stream.losses(10, &[2.0; 10]).await;
    let (status, body) = wait_for("readiness to say that the database is away", async || {
        let (status, body) = server.http_get("/readyz").await;
        (status == 503).then_some((status, body))
    })
    .await;
    assert!(status == 503 && body.contains("database"), "{body}");
    assert_eq!(server.http_get("/livez").await.0, 200, "it is not the server's fault");
    for step in 0..100 {
        server.final_rate(&job, attempt, step).await;
    }
    let mut jobs = server.jobs().await;
    let request = lrs_proto::ListJobsRequest { parent: "namespaces/test".to_owned(), ..Default::default() };
    assert_eq!(jobs.list_jobs(request).await.unwrap_err().code(), Code::Unavailable);
    assert!(stream.latest.durable_through_step < Some(10));

    postgres.start();
    stream.until_durable(19).await;
    wait_for("readiness", async || (server.http_get("/readyz").await.0 == 200).then_some(())).await;
    let stored = stored(&server, &job).await;
    assert_eq!(stored.len(), 20);
    assert_eq!(stored[&19], 2.0f64.to_bits());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_row_is_named_and_stops_no_other_job() {
    let postgres = TestPostgres::private(&[]);
    let url = postgres.create_database().await;
    let mut server = Server::with(&url, &[]).await;
    let bad = server.register("bad", plateau()).await.name;
    let good = server.register("good", plateau()).await.name;
    for job in [&bad, &good] {
        let attempt = server.start_attempt(job, "t", 0).await;
        let mut stream = server.stream(job, attempt, 0).await;
        stream.losses(0, &[1.0; 10]).await;
        stream.until_durable(9).await;
    }
    server.kill();
    let mut database = <sqlx::PgConnection as sqlx::Connection>::connect(&url).await.unwrap();
    sqlx::query("update jobs set initial_spec = '{\"groups\": 7}' where name = 'namespaces/test/jobs/bad'")
        .execute(&mut database)
        .await
        .unwrap();
    server.start_again().await;

    let status = server.jobs().await.get_job(GetJobRequest { name: bad.clone() }).await.unwrap_err();
    assert_eq!(status.code(), Code::DataLoss);
    assert!(status.message().contains("jobs"), "{status:?}");
    let attempt = server.start_attempt(&good, "t2", 5).await;
    assert_eq!(server.final_rate(&good, attempt, 5).await.to_bits(), 1.0f64.to_bits());
    let all = lrs_proto::ListJobsRequest { parent: "namespaces/test".to_owned(), ..Default::default() };
    let listed = server.jobs().await.list_jobs(all).await.unwrap().into_inner().jobs;
    assert_eq!(listed.len(), 2, "a damaged job is listed too: {listed:?}");
    assert!(listed[0].state_reason.contains("initial_spec"), "{listed:?}");
    assert!(server.log().contains("bad"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_acknowledgement_comes_within_patience_under_many_streams() {
    let server = Server::sqlite().await;
    let mut trainers = tokio::task::JoinSet::new();
    let server = std::sync::Arc::new(server);
    for i in 0..20 {
        let server = server.clone();
        trainers.spawn(async move {
            let job = server.register(&format!("job-{i}"), plateau()).await.name;
            let attempt = server.start_attempt(&job, "t", 0).await;
            let mut stream = server.stream(&job, attempt, 0).await;
            let mut rates = BTreeMap::new();
            assert_eq!(train(&mut stream, 0, 200, &mut rates).await, 200);
            stream.until_durable(199).await;
            rates
        });
    }
    let all = tokio::time::timeout(PATIENCE, trainers.join_all()).await.unwrap();
    assert!(all.windows(2).all(|pair| pair[0] == pair[1]), "the same losses give the same rates");
}
