//! What the monitor's pages are made of, as it comes over HTTP: the fleet and a job's outlook.

#[path = "support/server.rs"]
#[expect(dead_code, reason = "shared with other tests, which use the rest")]
mod server;

use std::time::{Duration, Instant};

use lrs::proto::{JobSpec, StreamTelemetryRequest};
use serde_json::Value;
use server::{PATIENCE, Server, Stream, spec, spec_json, wait_for};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpStream,
};

/// A job whose trainer reports.
async fn train(server: &Server, id: &str, spec: JobSpec) -> (String, Stream) {
    let job = server.register(id, spec).await.name;
    let attempt = server.start_attempt(&job, "t", 0).await;
    let stream = server.stream(&job, attempt, 0).await;
    (job, stream)
}

async fn json(server: &Server, path: &str) -> Value {
    let (status, body) = server.http_get(path).await;
    assert_eq!(status, 200, "{body}");
    serde_json::from_str(&body).unwrap_or_else(|problem| panic!("{problem}: {body}"))
}

/// The fleet's rows.
async fn rows(server: &Server) -> Vec<Value> {
    let answer = json(server, "/v1/fleet").await;
    assert_eq!((&answer["truncated"], &answer["jobs_at_most"]), (&false.into(), &10_000.into()));
    answer["jobs"].as_array().unwrap().clone()
}

/// The row of a job once it is as it should be.
async fn row(server: &Server, job: &str, is_right: impl Fn(&Value) -> bool) -> Value {
    wait_for("the row", async || rows(server).await.into_iter().find(|row| row["job"]["name"] == job && is_right(row)))
        .await
}

fn at(step: i64) -> impl Fn(&Value) -> bool {
    move |row| row["job"]["progress"]["watermark_step"] == step.to_string()
}

/// The losses of a job that falls, step by step.
fn falling(steps: std::ops::Range<u32>) -> Vec<f64> {
    steps.map(|step| 1000.0 - f64::from(step)).collect()
}

/// The events of a stream, each with its name and its data.
struct Events(BufReader<TcpStream>);

impl Events {
    async fn open(server: &Server, path: &str) -> Self {
        let mut socket = TcpStream::connect(&server.http).await.unwrap();
        socket.write_all(format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes()).await.unwrap();
        let mut events = Self(BufReader::new(socket));
        while !events.line().await.is_empty() {}
        events
    }

    async fn line(&mut self) -> String {
        let mut line = String::new();
        tokio::time::timeout(PATIENCE, self.0.read_line(&mut line)).await.expect("an event").unwrap();
        line.trim_end().to_owned()
    }

    async fn next(&mut self) -> (String, Value) {
        let name = loop {
            if let Some(name) = self.line().await.strip_prefix("event: ") {
                break name.to_owned();
            }
        };
        let data = self.line().await;
        (name, serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_follows_its_job_through_attempts_and_restarts_of_the_server() {
    let mut server = Server::sqlite().await;
    let (job, mut stream) = train(&server, "a", spec(0.1)).await;
    stream.losses(0, &falling(0..300)).await;
    stream.until_durable(299).await;
    // What was reported before anyone looked is read once, what comes then is there without reading.
    let first = row(&server, &job, at(299)).await;
    assert_eq!((&first["health"], first["sparkline"].as_array().unwrap().len()), (&"FINE".into(), 38));
    stream.losses(300, &falling(300..600)).await;
    stream.until_durable(599).await;
    let then = row(&server, &job, at(599)).await;
    // The last 512 of 600, 13 in a point.
    assert_eq!((&then["sparkline"][0], &then["sparkline"][39]), (&906.0.into(), &403.0.into()));

    server.terminate().await;
    server.start_again().await;
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
    let (kept, mut stream) = train(&server, "kept", spec(0.1)).await;
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

#[tokio::test(flavor = "multi_thread")]
async fn the_fleet_takes_no_parameters_and_says_so() {
    let server = Server::sqlite().await;
    for path in ["/v1/fleet?namespace=a", "/v1/fleet:watch?x=1"] {
        let (status, body) = server.http_get(path).await;
        assert!(status == 400 && body.contains("is not allowed in the query"), "{status} {body}");
    }
}
