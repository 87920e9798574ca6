//! A job whose groups grow while it trains: kills, rewinds and a replay find the groups that each step had.

use lrs_proto::Directive;
use serde_json::json;

use crate::postgres::TestPostgres;
use crate::program::{client_of, succeeds};
use crate::server::{PATIENCE, Server, spec_json};

/// The group names and the bits of the rates of a step, once they are final.
async fn rates(server: &Server, job: &str, attempt: i64, step: i64) -> Vec<(String, u64)> {
    let answer = server.ask(job, attempt, step, 0, PATIENCE).await.unwrap();
    let told: Directive = answer.directive.filter(|directive| directive.is_final).unwrap();
    told.rates.iter().map(|rate| (rate.group.clone(), rate.learning_rate.to_bits())).collect()
}

/// Losses that fall and then stay, so that the controller cuts.
fn losses(from: i64, to: i64) -> Vec<f64> {
    (from..to).map(|step| if step < 10 { 10.0 - f64::from(i32::try_from(step).unwrap()) } else { 1.0 }).collect()
}

async fn grows_through_kills(mut server: Server) {
    let spec = r#"{"groups": [{"name": "head", "base_lr": 1.0}], "decision_lag": 2, "schedule": {"linear": {}},
        "total_steps": 1000, "controllers": [{"reduce_lr_on_plateau":
            {"factor": 0.5, "patience": 8, "cooldown": 15, "unit": "UNIT_STEP"}}]}"#;
    let job = server.register("grows", spec_json(spec)).await.name;
    let first = server.start_attempt(&job, "t1", 0).await;
    let mut stream = server.stream(&job, first, 0).await;
    stream.losses(0, &losses(0, 40)).await;
    stream.until_durable(39).await;
    let before = rates(&server, &job, first, 39).await;
    assert_eq!(before.len(), 1);

    let groups = json!({"groups": [{"name": "head", "base_lr": 1.0}, {"name": "layer/1 (no decay)", "base_lr": 0.25}]});
    let url = "/v1/namespaces/test/jobs/grows?updateMask=spec.groups";
    let (status, answer) = server.http_request("PATCH", url, &json!({"spec": groups}).to_string()).await;
    assert_eq!(status, 200, "{answer}");

    let mut seen = Vec::new();
    for round in 1..=3 {
        server.kill();
        server.start_again().await;
        let (from, to) = (20 + 20 * round, 40 + 20 * round);
        let mut stream = server.stream(&job, first, 0).await;
        stream.losses(from, &losses(from, to)).await;
        stream.until_durable(to - 1).await;
        for step in from..to {
            seen.push((step, rates(&server, &job, first, step).await));
        }
    }
    let born = seen.iter().position(|(_, rates)| rates.len() == 2).expect("the group is born");
    assert!(seen[..born].iter().all(|(_, rates)| rates.len() == 1), "a group comes once and stays");
    assert!(seen[born..].iter().all(|(_, rates)| rates.len() == 2), "a group comes once and stays");
    let rate = |at: usize, group: usize| f64::from_bits(seen[at].1[group].1);
    let last = seen.len() - 1;
    assert!(rate(last, 1) < rate(born, 1) / 2.0, "the new group is cut with the other: {seen:?}");

    server.kill();
    server.start_again().await;
    assert_eq!(rates(&server, &job, first, 39).await, before, "what was given out stays");
    for (step, was) in &seen {
        assert_eq!(rates(&server, &job, first, *step).await, *was, "step {step}");
    }
    // A new attempt has the new groups from its first step, wherever that is.
    let second = server.start_attempt(&job, "t2", 15).await;
    let begins = rates(&server, &job, second, 15).await;
    assert_eq!(begins.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["head", "layer/1 (no decay)"]);
    server.kill();
    server.start_again().await;
    assert_eq!(rates(&server, &job, second, 15).await, begins);

    succeeds(&client_of(&server).args(["replay", "test/grows"]).output().unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_that_were_added_are_there_after_kills_on_sqlite() {
    grows_through_kills(Server::sqlite().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_that_were_added_are_there_after_kills_on_postgres() {
    let postgres = TestPostgres::private(&[]);
    grows_through_kills(Server::with(&postgres.create_database().await, &[]).await).await;
}
