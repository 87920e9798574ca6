//! The data of the monitor's pages over HTTP: the fleet and a job's outlook.

use std::time::Duration;

use crate::monitor_support::{Events, at_rate, json, train};
use crate::server::{Server, spec, spec_json, wait_for};
use lrs_proto::CompleteJobRequest;
use serde_json::Value;
use tokio::time::Instant;

/// The fleet's rows.
async fn rows(server: &Server) -> Vec<Value> {
    let answer = json(server, "/v1/fleet").await;
    assert_eq!((&answer["truncated"], &answer["jobs_at_most"]), (&false.into(), &10_000.into()));
    answer["jobs"].as_array().unwrap().clone()
}

/// The row of a job, once it satisfies the condition.
async fn row(server: &Server, job: &str, is_right: impl Fn(&Value) -> bool) -> Value {
    wait_for("the row", async || rows(server).await.into_iter().find(|row| row["job"]["name"] == job && is_right(row)))
        .await
}

fn at(step: i64) -> impl Fn(&Value) -> bool {
    let step = Value::from(step.to_string());
    move |row| row["job"]["progress"]["watermark_step"] == step
}

/// The losses of a job whose loss falls at every step.
fn falling(steps: std::ops::Range<u32>) -> Vec<f64> {
    steps.map(|step| 1000.0 - f64::from(step)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_follows_its_job_through_attempts_and_restarts_of_the_server() {
    let mut server = Server::sqlite().await;
    let (job, mut stream) = train(&server, "a", spec(0.1)).await;
    stream.losses(0, &falling(0..300)).await;
    stream.until_durable(299).await;
    // Steps reported before anyone looked are read once from the store; later steps need no read.
    let first = row(&server, &job, at(299)).await;
    assert_eq!((&first["health"], first["sparkline"].as_array().unwrap().len()), (&"FINE".into(), 38));
    stream.losses(300, &falling(300..600)).await;
    stream.until_durable(599).await;
    let then = row(&server, &job, at(599)).await;
    // The last 512 of 600 steps, 13 in a point.
    assert_eq!((&then["sparkline"][0], &then["sparkline"][39]), (&906.0.into(), &403.0.into()));

    server.terminate().await;
    server.start_again().await;
    // A job that nobody has asked for yet is not in memory.
    assert_eq!(row(&server, &job, |_| true).await["health"], "WAITING");
    json(&server, &format!("/v1/{job}")).await;
    assert_eq!(row(&server, &job, at(599)).await["sparkline"], then["sparkline"]);

    let attempt = server.start_attempt(&job, "again", 100).await;
    let mut stream = server.stream(&job, attempt, 0).await;
    stream.losses(100, &[f64::NAN]).await;
    stream.until_durable(100).await;
    let again = row(&server, &job, at(100)).await;
    assert_eq!(again["health"], "DIVERGING");
    assert_eq!((&again["sparkline"][0], &again["sparkline"][33]), (&999.0.into(), &Value::Null));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_has_the_newest_decision_whoever_took_it() {
    let server = Server::sqlite().await;
    let plateau = r#"{"groups": [{"base_lr": 1.0}],
        "controllers": [{"reduce_lr_on_plateau": {"patience": 0, "cooldown": 0, "factor": 0.5}}]}"#;
    let (job, mut stream) = train(&server, "a", spec_json(plateau)).await;
    let decided = |what: &'static str| move |row: &Value| row["last_decision"].to_string().contains(what);
    assert_eq!(row(&server, &job, |_| true).await["last_decision"], Value::Null);

    let order = r#"{"set": {"factor": 0.5}, "reason": "by hand"}"#;
    assert_eq!(server.http_request("POST", &format!("/v1/{job}:override"), order).await.0, 200);
    row(&server, &job, decided("by hand")).await;
    stream.losses(0, &[1.0, 1.0, 1.0]).await;
    stream.until_durable(2).await;
    row(&server, &job, decided("0/reduce_lr_on_plateau")).await;
    let order = r#"{"clear": {}, "reason": "no more"}"#;
    assert_eq!(server.http_request("POST", &format!("/v1/{job}:override"), order).await.0, 200);
    row(&server, &job, decided("no more")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_watches_the_fleet_is_told_of_what_changes_and_of_what_is_gone() {
    let server = Server::sqlite().await;
    let (kept, stream) = train(&server, "kept", spec(0.1)).await;
    let (ended, _) = train(&server, "ended", spec(0.1)).await;
    let mut events = Events::open(&server, "/v1/fleet:watch").await;

    stream.losses(0, &[1.0]).await;
    let (name, row) = events.next().await;
    assert_eq!((name.as_str(), &row["job"]["name"]), ("row", &kept.as_str().into()));
    assert_eq!(server.http_request("POST", &format!("/v1/{ended}:complete"), "{}").await.0, 200);
    let (name, row) = events.next().await;
    assert_eq!((name.as_str(), &row["health"]), ("row", &"ENDED".into()));
    for job in [&ended, &kept] {
        assert_eq!(server.http_request("DELETE", &format!("/v1/{job}?force=true"), "").await.0, 200);
        let gone = loop {
            let (name, data) = events.next().await;
            if name == "removed" {
                break data;
            }
        };
        assert_eq!(gone["name"], job.as_str());
    }
    assert!(rows(&server).await.is_empty());
}

/// All ended jobs are listed only once a minute, but the end of a single job must be seen sooner.
#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_came_and_ended_while_nobody_looked_is_seen_at_the_next_look() {
    let server = Server::sqlite().await;
    assert!(rows(&server).await.is_empty());
    let (job, stream) = train(&server, "short", spec(0.1)).await;
    drop(stream);
    let complete = CompleteJobRequest { name: job.clone(), outcome: 5, ..Default::default() };
    server.jobs().await.complete_job(complete).await.unwrap();

    let looked = Instant::now();
    row(&server, &job, |row| row["job"]["state"] == "STATE_COMPLETED").await;

    assert!(looked.elapsed() < Duration::from_secs(50), "it was found by the listing of each minute");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_fleet_takes_no_parameters_and_says_so() {
    let server = Server::sqlite().await;
    for path in ["/v1/fleet?namespace=a", "/v1/fleet:watch?x=1"] {
        let (status, body) = server.http_get(path).await;
        assert!(status == 400 && body.contains("is not allowed here: there are no parameters"), "{status} {body}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_step_at_another_rate_than_told_is_found_in_the_attempt_that_ran_it() {
    let server = Server::sqlite().await;
    let (job, mut stream) = train(&server, "a", spec(0.1)).await;
    let outlook = async |attempt: i64| json(&server, &format!("/v1/{job}/outlook?attempt={attempt}")).await;
    at_rate(&mut stream, 0..9_000, 0.1).await;
    at_rate(&mut stream, 9_000..9_001, 0.2).await;
    at_rate(&mut stream, 9_001..12_000, 0.1).await;
    let one_step: Value = serde_json::json!([{"from": 9_000, "to": 9_000}]);
    assert_eq!(outlook(0).await["on_plan"], one_step);
    assert_eq!(outlook(0).await["plateaus"][0]["to"], 11_999);

    let attempt = server.start_attempt(&job, "again", 5_000).await;
    let mut stream = server.stream(&job, attempt, 0).await;
    at_rate(&mut stream, 5_000..5_010, 0.3).await;
    at_rate(&mut stream, 5_010..6_000, 0.1).await;
    let ten_steps: Value = serde_json::json!([{"from": 5_000, "to": 5_009}]);
    assert_eq!(
        [outlook(1).await["on_plan"].clone(), outlook(2).await["on_plan"].clone()],
        [one_step, ten_steps.clone()]
    );

    // An ended job has it too; its rates are then computed again.
    assert_eq!(server.http_request("POST", &format!("/v1/{job}:complete"), "{}").await.0, 200);
    assert_eq!(outlook(0).await["on_plan"], ten_steps);
    let (status, body) = server.http_get(&format!("/v1/{job}/outlook?attempt=3")).await;
    assert!(status == 404 && body.contains("UNKNOWN_ATTEMPT"), "{body}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_outlook_was_made_of_is_not_read_again() {
    let server = Server::sqlite().await;
    let (job, mut stream) = train(&server, "a", spec(0.1)).await;
    at_rate(&mut stream, 0..3_000, 0.2).await;
    let path = format!("/v1/{job}/outlook");
    assert_eq!(json(&server, &path).await["on_plan"], serde_json::json!([{"from": 0, "to": 2_999}]));

    // Delete the telemetry behind the server's back.
    let database = sqlx::SqlitePool::connect(server.database_url()).await.unwrap();
    sqlx::query("delete from telemetry").execute(&database).await.unwrap();
    database.close().await;
    at_rate(&mut stream, 3_000..3_100, 0.2).await;

    assert_eq!(json(&server, &path).await["on_plan"], serde_json::json!([{"from": 0, "to": 3_099}]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_of_few_points_has_the_first_the_last_and_the_extremes() {
    let server = Server::sqlite().await;
    let (job, mut stream) = train(&server, "a", spec(0.1)).await;
    let spike = |step: u32| if step == 7_777 { 9.0 } else { f64::from(step % 10) / 10.0 };
    stream.losses(0, &(0..10_000).map(spike).collect::<Vec<_>>()).await;
    stream.until_durable(9_999).await;

    let answer = json(&server, &format!("/v1/{job}/telemetry?max_points=20&metrics=loss")).await;

    let steps: Vec<&str> =
        answer["series"][0]["step"].as_array().unwrap().iter().map(|s| s.as_str().unwrap()).collect();
    assert!(steps.len() < 40 && steps.contains(&"7777"), "{steps:?}");
    assert_eq!((steps[0], steps[steps.len() - 1]), ("0", "9999"));
}

#[tokio::test(flavor = "multi_thread")]
async fn how_all_jobs_fare_is_computed_in_batches_and_only_of_those_that_changed() {
    const JOBS: usize = 20;
    let server = Server::sqlite().await;
    let mut trainers = Vec::new();
    for number in 0..JOBS {
        let (job, mut stream) = train(&server, &format!("flat-{number}"), spec(0.1)).await;
        stream.losses(0, &[1.0; 512]).await;
        stream.until_durable(511).await;
        trainers.push((job, stream));
    }
    let shown = async |name: &str| {
        let (_, text) = server.http_get("/metrics").await;
        let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("no {name}: {text}"));
        line.trim().parse::<usize>().unwrap()
    };
    let counted = async |what: &str| shown(&format!("lrs_statistics_{what}_total{{device=\"cpu\"}}")).await;
    // A count shows all jobs that were completed before it. When two counts in a row computed nothing, all is counted.
    let mut completed = 0;
    let mut all_counted = async || {
        let mut windows = counted("windows").await;
        wait_for("a count without anything new", async || {
            let job = server.register(&format!("ended-{completed}"), spec(0.1)).await.name;
            assert_eq!(server.http_request("POST", &format!("/v1/{job}:complete"), "{}").await.0, 200);
            completed += 1;
            let is_shown = async || (shown("lrs_jobs{state=\"completed\"}").await == completed).then_some(());
            wait_for("the next count", is_shown).await;
            let now = counted("windows").await;
            (now == std::mem::replace(&mut windows, now)).then_some(now)
        })
        .await
    };
    // The metrics say how all jobs fare, whether anybody looks or not.
    let windows = all_counted().await;
    assert_eq!(shown("lrs_jobs_by_health{health=\"plateau\"}").await, JOBS);
    let batches = counted("batches").await;

    let plateaus = rows(&server).await.iter().filter(|row| row["health"] == "PLATEAU").count();

    // For each job: the level before and now, the test of its trend, and its slope.
    assert_eq!(plateaus, JOBS);
    assert_eq!((counted("batches").await, counted("windows").await), (batches + 3, windows + 4 * JOBS));
    let (job, stream) = &mut trainers[0];
    stream.losses(512, &[1.0]).await;
    stream.until_durable(512).await;
    row(&server, job, at(512)).await;
    // Once for the page, once for the metrics, and of no other job. Each may have seen it in the midst of its step.
    let of_one_job = all_counted().await - windows - 4 * JOBS;
    assert!((2 * 4..4 * JOBS).contains(&of_one_job) && of_one_job.is_multiple_of(4), "{of_one_job}");
    rows(&server).await;
    let windows = counted("windows").await;
    rows(&server).await;
    assert_eq!(counted("windows").await, windows);
}
