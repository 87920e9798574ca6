//! What one runs a server by: metrics that are all declared, documented and there from the start; a line about each
//! call that fails; identifiers by which a call is found again.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    process::Stdio,
};

use crate::server::{Server, spec, wait_for};
use lrs_proto::{GetJobRequest, PauseJobRequest, reflect};
use lrs_runtime::metrics::families::ALL;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

const PAGE: &str = include_str!("../../docs/operations.md");
const BEGIN: &str = "<!-- metrics: begin -->\n";
const END: &str = "<!-- metrics: end -->\n";

/// The families of a scrape: type, help and names of labels.
type Families = BTreeMap<String, (String, String, BTreeSet<String>)>;

fn families(text: &str) -> Families {
    let mut families = Families::new();
    for line in text.lines() {
        if let Some((name, help)) = line.strip_prefix("# HELP ").and_then(|line| line.split_once(' ')) {
            families.entry(name.to_owned()).or_default().1.push_str(help);
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|line| line.split_once(' ')) {
            families.entry(name.to_owned()).or_default().0.push_str(kind);
        } else if let Some((name, labels)) = line.split_once(['{', ' ']).filter(|(name, _)| !name.is_empty()) {
            let labels = if line.contains('{') { labels.split_once('}').unwrap().0 } else { "" };
            let names = labels.split("\",").filter_map(|label| label.split_once('=')).map(|(name, _)| name.to_owned());
            let base = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
            let base = base.filter(|base| families.contains_key(*base)).unwrap_or(name);
            families.entry(base.to_owned()).or_default().2.extend(names.filter(|name| name != "le"));
        }
    }
    families
}

fn declared() -> Families {
    let family = |family: &lrs_runtime::metrics::family::Family| {
        let labels = family.labels.iter().map(|label| (*label).to_owned()).collect();
        (family.name.to_owned(), (family.kind.as_str().to_owned(), family.help.to_owned(), labels))
    };
    ALL.iter().map(family).collect()
}

fn value(text: &str, sample: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' ')?.parse().ok())
}

/// Sends a request with these headers; returns the whole answer.
async fn ask(server: &Server, method: &str, path: &str, headers: &str) -> String {
    let mut socket = TcpStream::connect(&server.http).await.unwrap();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\ncontent-length: 0\r\n{headers}\r\n",
        server.http
    );
    socket.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scrape_has_what_is_declared_from_the_start_and_nothing_else() {
    let server = Server::sqlite().await;
    let (_, text) = server.http_get("/metrics").await;
    assert_eq!(families(&text), declared());

    for method in reflect::methods() {
        let method = reflect::path(&method).trim_start_matches('/').to_owned();
        for code in ["OK", "NOT_FOUND", "UNAVAILABLE", "INTERNAL"] {
            let sample = format!("lrs_rpc_calls_total{{method=\"{method}\",code=\"{code}\"}}");
            assert_eq!(value(&text, &sample), Some(0.0), "{sample}");
        }
        assert_eq!(value(&text, &format!("lrs_rpc_duration_seconds_count{{method=\"{method}\"}}")), Some(0.0));
    }
    for (sample, expected) in [
        (r#"lrs_decisions_total{author="person",controller=""}"#, 0.0),
        (r#"lrs_decisions_total{author="controller",controller="auto"}"#, 0.0),
        (r#"lrs_commit_failures_total{kind="unavailable"}"#, 0.0),
        (r#"lrs_directives_total{finality="provisional"}"#, 0.0),
        (r#"lrs_jobs{state="running"}"#, 0.0),
        (r#"lrs_jobs_by_health{health="diverging"}"#, 0.0),
        (
            r#"lrs_http_requests_total{method="POST",route="/v1/namespaces/{namespace}/jobs/{job}:pause",status="200"}"#,
            0.0,
        ),
        ("lrs_ready", 1.0),
        ("lrs_database_up", 1.0),
    ] {
        assert_eq!(value(&text, sample), Some(expected), "{sample}\n{text}");
    }
    for sample in ["process_resident_memory_bytes", "process_open_fds", "process_start_time_seconds"] {
        assert!(value(&text, sample).is_some_and(|value| value > 0.0), "{sample}\n{text}");
    }
    check_with_promtool(&text);
}

/// With Prometheus' own tool, where it is installed.
fn check_with_promtool(text: &str) {
    use std::io::Write as _;
    let tool = std::process::Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut tool) = tool else {
        eprintln!("skipped: promtool is not installed (scripts/need.sh prometheus)");
        return;
    };
    tool.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let checked = tool.wait_with_output().unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
}

/// The alerts fire when they should, and look at metrics that exist.
#[test]
fn the_alerts_are_about_metrics_that_are_declared() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/prometheus");
    let rules = std::fs::read_to_string(format!("{folder}/rules.yaml")).unwrap();
    let words = rules.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    for word in words.filter(|word| word.starts_with("lrs_") || word.starts_with("process_")) {
        let base = ["_bucket", "_sum", "_count"].iter().find_map(|end| word.strip_suffix(end)).unwrap_or(word);
        assert!(ALL.iter().any(|family| family.name == base), "{word} is not declared");
    }
    for arguments in [["check", "rules", "rules.yaml"], ["test", "rules", "rules-test.yaml"]] {
        match std::process::Command::new("promtool").args(arguments).current_dir(folder).output() {
            Ok(done) => assert!(done.status.success(), "{done:?}"),
            Err(_) => eprintln!("skipped: promtool is not installed (scripts/need.sh prometheus)"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happens_is_counted() {
    let server = Server::sqlite().await;
    let job = server.register("a", spec(0.1)).await.name;
    server.register("b", spec(0.1)).await;
    let attempt = server.start_attempt(&job, "t", 0).await;
    let mut stream = server.stream(&job, attempt, 0).await;
    stream.losses(0, &[1.0; 5]).await;
    stream.until_durable(4).await;
    server.final_rate(&job, attempt, 5).await;
    let request = PauseJobRequest { name: job.clone(), author: "ann".to_owned(), ..Default::default() };
    server.jobs().await.pause_job(request).await.unwrap();
    server.jobs().await.get_job(GetJobRequest { name: "namespaces/test/jobs/none".to_owned() }).await.unwrap_err();

    let wanted = [
        ("lrs_telemetry_samples_total", 5.0),
        (r#"lrs_decisions_total{author="person",controller=""}"#, 1.0),
        (r#"lrs_rpc_calls_total{method="lrs.v1.JobService/GetJob",code="NOT_FOUND"}"#, 1.0),
        (r#"lrs_rpc_calls_total{method="lrs.v1.JobService/CreateJob",code="OK"}"#, 2.0),
        (r#"lrs_jobs{state="pending"}"#, 1.0),
        (r#"lrs_jobs{state="paused"}"#, 1.0),
        (r#"lrs_jobs_by_health{health="waiting"}"#, 1.0),
        (r#"lrs_jobs_by_health{health="paused"}"#, 1.0),
        ("lrs_jobs_stale", 0.0),
    ];
    wait_for("the jobs to be counted", async || {
        let (_, text) = server.http_get("/metrics").await;
        wanted.iter().all(|(sample, expected)| value(&text, sample) == Some(*expected)).then_some(())
    })
    .await;
    let (_, text) = server.http_get("/metrics").await;
    assert!(value(&text, r#"lrs_directives_total{finality="final"}"#).unwrap() > 0.0, "{text}");
    assert!(value(&text, "lrs_telemetry_lag_seconds_count").unwrap() > 0.0, "{text}");
    assert_eq!(families(&text), declared());
}

#[test]
fn the_table_of_metrics_is_that_of_the_declarations() {
    let mut table = String::from("| name | type | labels | meaning |\n|---|---|---|---|\n");
    for family in ALL {
        let labels: Vec<String> = family.labels.iter().map(|label| format!("`{label}`")).collect();
        let (name, kind, labels) = (family.name, family.kind.as_str(), labels.join(", "));
        writeln!(table, "| `{name}` | {kind} | {labels} | {} |", family.help).unwrap();
    }
    let (before, rest) = PAGE.split_once(BEGIN).unwrap();
    let (found, after) = rest.split_once(END).unwrap();
    if std::env::var_os("LRS_UPDATE_DOCS").is_some() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/operations.md");
        std::fs::write(path, format!("{before}{BEGIN}{table}{END}{after}")).unwrap();
        return;
    }
    assert_eq!(found, table, "LRS_UPDATE_DOCS=1 cargo test --test service observability writes the table");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_call_leaves_a_line_that_says_who_and_why() {
    let server = Server::sqlite().await;
    let mut request = tonic::Request::new(PauseJobRequest {
        name: "namespaces/test/jobs/none".to_owned(),
        author: "eve\n2026 ERROR forged".to_owned(),
        ..Default::default()
    });
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let parent = format!("00-{trace}-00f067aa0ba902b7-01");
    request.metadata_mut().insert("traceparent", parent.parse().unwrap());
    request.metadata_mut().insert("x-request-id", "quoted-1".parse().unwrap());
    let refused = server.jobs().await.pause_job(request).await.unwrap_err();
    assert_eq!(refused.metadata().get("x-request-id").unwrap(), "quoted-1");

    let log = server.log();
    let line = log.lines().find(|line| line.contains("quoted-1")).unwrap_or_else(|| panic!("{log}"));
    for part in
        ["INFO", "PauseJob failed with NOT_FOUND", trace, "namespaces/test/jobs/none", "127.0.0.1:", "eve\\n2026"]
    {
        assert!(line.contains(part), "{part}: {line}");
    }
    assert!(!log.lines().any(|line| line.starts_with("2026 ERROR forged")), "{log}");

    let answer = ask(&server, "GET", "/v1/namespaces/test/jobs/none", "x-request-id: bad id\r\n").await;
    let id = answer.lines().find_map(|line| line.strip_prefix("x-request-id: ")).unwrap_or_else(|| panic!("{answer}"));
    assert!(answer.contains(&format!("\"request_id\":\"{id}\"")), "{answer}");
    let log = server.log();
    let line = log.lines().find(|line| line.contains(id)).unwrap_or_else(|| panic!("{log}"));
    assert!(line.contains("GET /v1/namespaces/{namespace}/jobs/{job} failed with 404"), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_whose_client_goes_is_counted_as_ended() {
    let server = Server::sqlite().await;
    let job = server.register("a", spec(0.1)).await.name;
    let attempt = server.start_attempt(&job, "t", 0).await;
    let ended = async || {
        let (_, text) = server.http_get("/metrics").await;
        (
            value(&text, "lrs_telemetry_streams_open"),
            value(&text, "lrs_telemetry_streams_ended_total{code=\"CANCELLED\"}"),
        )
    };
    let mut stream = server.stream(&job, attempt, 0).await;
    stream.until_messages(1).await;
    assert_eq!(ended().await, (Some(1.0), Some(0.0)));
    drop(stream);
    wait_for("the end to be counted", async || (ended().await == (Some(0.0), Some(1.0))).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_malformed_trace_is_no_error_and_callers_cannot_fill_the_log() {
    let server = Server::with_sqlite(&["--log-format", "json"]).await;
    for n in 0..300 {
        let headers = format!("traceparent: 00-{n}-nonsense\r\ntracestate: {}\r\n", "x".repeat(4000));
        let answer = ask(&server, "GET", "/v1/namespaces/test/jobs/none", &headers).await;
        assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
    }
    let (_, text) = server.http_get("/metrics").await;
    let left_out = value(&text, "lrs_log_lines_left_out_total").unwrap();
    let log = server.log();
    let lines: Vec<serde_json::Value> = log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let told = lines.iter().filter(|line| line["code"] == "404").count();
    assert!(told > 0 && left_out > 0.0, "{told} lines, {left_out} left out");
    assert_eq!(format!("{left_out:.0}"), (300 - told).to_string());
    let fields = lines.iter().filter(|line| line["code"] == "404").all(|line| line["span"]["request_id"].is_string());
    assert!(fields && !log.contains("nonsense"), "{log}");
}
