//! HTTP as its callers see it, headers included: problems, bounds, and the files that browsers load.

use crate::server::{self, PATIENCE, Server};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// An answer with its headers.
struct Answer {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.filter(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value).next()
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&self.body)))
    }
}

/// Sends a request with `headers`, each with its line end, after the head's first lines.
async fn request(server: &Server, method: &str, path: &str, headers: &str, body: &str) -> Answer {
    let mut socket = TcpStream::connect(&server.http).await.unwrap();
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n"
    );
    socket.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    tokio::time::timeout(PATIENCE, socket.read_to_end(&mut answer)).await.unwrap().unwrap();
    let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").unwrap();
    let head = String::from_utf8(answer[..end].to_vec()).unwrap();
    Answer { status: head.split(' ').nth(1).unwrap().parse().unwrap(), head, body: answer[end + 4..].to_vec() }
}

async fn get(server: &Server, path: &str) -> Answer {
    request(server, "GET", path, "", "").await
}

/// Asserts what every problem has; returns its body.
fn problem(answer: &Answer, status: u16, reason: Option<&str>) -> Value {
    assert_eq!((answer.status, answer.header("content-type")), (status, Some("application/problem+json")));
    let body = answer.json();
    assert_eq!(body["status"], status);
    let kind = reason.map_or("about:blank".to_owned(), |reason| format!("urn:lrs:v1:{reason}"));
    assert_eq!(body["type"], kind, "{body}");
    for text in ["title", "detail"] {
        assert!(body[text].as_str().is_some_and(|text| !text.is_empty()), "{text} of {body}");
    }
    assert!(body["code"].is_number() && body["details"].is_array(), "{body}");
    body
}

#[tokio::test(flavor = "multi_thread")]
async fn every_error_is_a_problem_that_a_program_can_read() {
    let server = Server::with_sqlite(&["--message-bytes", "1024"]).await;

    let body = problem(&get(&server, "/v1/namespaces/test/jobs/none").await, 404, Some("JOB_NOT_FOUND"));
    assert_eq!((&body["code"], &body["title"]), (&5.into(), &"Job not found".into()));
    let wrong = r#"{"spec": {"groups": [{"base_lr": -1}]}}"#;
    let refused = request(&server, "POST", "/v1/namespaces/test/jobs?job_id=a", "", wrong).await;
    let body = problem(&refused, 400, Some("INVALID_ARGUMENT"));
    assert_eq!(body["details"][1]["field_violations"][0]["field"], "job.spec.groups[0].base_lr");
    let refused = get(&server, "/v1/namespaces/test/jobs?colour=red").await;
    problem(&refused, 400, Some("INVALID_ARGUMENT"));
    problem(&get(&server, "/v1/nothing").await, 404, None);
    problem(&get(&server, "/v1").await, 404, None);
    let body = problem(&get(&server, "/v1/namespaces/test/jobs/a:fly").await, 404, None);
    let detail = body["detail"].as_str().unwrap();
    assert!(
        detail.contains("no verb \"fly\"") && detail.contains("POST pause") && detail.contains("GET watch"),
        "{detail}"
    );
    problem(&get(&server, "/v1/namespaces/test/experiments/e").await, 404, None);
    let large = "x".repeat(1025);
    let refused = request(&server, "POST", "/v1/schedules:preview", "", &large).await;
    assert!(problem(&refused, 413, None)["detail"].as_str().unwrap().contains("message_bytes"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_method_is_told_the_right_ones() {
    let server = Server::sqlite().await;
    for (method, path, allowed) in [
        ("PUT", "/v1/namespaces/test/jobs", "GET,HEAD,POST"),
        ("PUT", "/v1/namespaces/test/jobs/a", "GET,HEAD,PATCH,DELETE"),
        ("POST", "/v1/fleet", "GET,HEAD"),
        ("POST", "/v1/namespaces/test/jobs/a", "GET,HEAD,PATCH,DELETE"),
        ("GET", "/v1/namespaces/test/jobs/a:pause", "POST"),
        ("POST", "/v1/namespaces/test/jobs/a:watch", "GET,HEAD"),
        ("DELETE", "/v1/namespaces/test/jobs/a:report", "GET,HEAD"),
    ] {
        let answer = request(&server, method, path, "", "").await;
        problem(&answer, 405, None);
        assert_eq!(answer.header("allow"), Some(allowed), "{method} {path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_too_many_is_a_problem_that_says_when_to_come_again() {
    let server = Server::with_sqlite(&["--max-calls", "1"]).await;
    let mut slow = Vec::new();
    let refused = server::wait_for("a slow one to be in", async || {
        // A request whose body never comes; the request before may have been refused itself.
        let mut socket = TcpStream::connect(&server.http).await.unwrap();
        let head = b"POST /v1/schedules:preview HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9\r\n\r\n";
        socket.write_all(head).await.unwrap();
        slow.push(socket);
        Some(get(&server, "/v1/fleet").await).filter(|answer| answer.status != 200)
    })
    .await;

    assert!(problem(&refused, 429, Some("OVERLOADED"))["detail"].as_str().unwrap().contains("(1)"));
    assert_eq!(refused.header("retry-after"), Some("1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_that_is_lost_finds_the_fleet() {
    let server = Server::sqlite().await;
    let accept = "accept: text/html,application/xhtml+xml;q=0.9,*/*;q=0.8\r\n";

    let page = request(&server, "GET", "/job/test/a", accept, "").await;

    assert_eq!((page.status, page.header("content-type")), (404, Some("text/html; charset=utf-8")));
    assert!(String::from_utf8_lossy(&page.body).contains(r#"<a href="/">"#));
    // Paths under /v1/ are for programs, so the answer is JSON even for a browser.
    problem(&request(&server, "GET", "/v1/nothing", accept, "").await, 404, None);
    problem(&get(&server, "/nothing").await, 404, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_pages_load_is_packed_and_sent_once() {
    let server = Server::sqlite().await;
    for (path, media_type, cache) in [
        ("/assets/plotly.min.js", "text/javascript", "max-age=86400"),
        ("/assets/fleet.js", "text/javascript", "no-cache"),
        ("/assets/base.css", "text/css", "no-cache"),
        ("/jobs/test/a", "text/html; charset=utf-8", "no-cache"),
    ] {
        let plain = get(&server, path).await;
        let packed = request(&server, "GET", path, "accept-encoding: gzip, deflate, br\r\n", "").await;
        assert_eq!((plain.status, packed.status), (200, 200), "{path}");
        assert_eq!(
            (plain.header("content-encoding"), packed.header("content-encoding")),
            (None, Some("gzip")),
            "{path}"
        );
        for answer in [&plain, &packed] {
            assert_eq!(answer.header("content-type"), Some(media_type), "{path}");
            assert_eq!(answer.header("cache-control"), Some(cache), "{path}");
            assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{path}");
            assert_eq!(answer.header("vary"), Some("accept-encoding"), "{path}");
        }
        let mut unpacked = Vec::new();
        std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&*packed.body), &mut unpacked).unwrap();
        assert!(unpacked == plain.body, "{path} packed is not what it is plain");
        println!("{path}: {} bytes, {} packed", plain.body.len(), packed.body.len());
        assert!(packed.body.len() < plain.body.len() * 6 / 10, "{path}");

        let tags = [plain.header("etag").unwrap(), packed.header("etag").unwrap()];
        assert!(tags[0] != tags[1] && tags.iter().all(|tag| tag.starts_with('"')), "{tags:?}");
        let known = format!("accept-encoding: gzip\r\nif-none-match: {}\r\n", tags[1]);
        let again = request(&server, "GET", path, &known, "").await;
        assert_eq!((again.status, again.body.len(), again.header("etag")), (304, 0, Some(tags[1])), "{path}");
        let other = request(&server, "GET", path, "if-none-match: \"other\"\r\n", "").await;
        assert_eq!((other.status, other.body.len()), (200, plain.body.len()), "{path}");
    }
    problem(&get(&server, "/assets/nothing.js").await, 404, None);
    assert_eq!(get(&server, "/v1/fleet").await.header("x-content-type-options"), Some("nosniff"));
}

#[tokio::test(flavor = "multi_thread")]
async fn lengths_in_words_are_read_as_steps_and_a_probable_mistake_is_told() {
    let server = Server::sqlite().await;
    let post = async |id: &str, spec: &str| {
        let body = format!(r#"{{"spec": {spec}}}"#);
        request(&server, "POST", &format!("/v1/namespaces/test/jobs?job_id={id}"), "", &body).await
    };
    let epochs = r#"{"groups": [{"name": "no decay", "base_lr": 1}], "target_epochs": 90, "steps_per_epoch": 200,
        "controllers": [{"library": "torch", "scheduler": "ReduceLROnPlateau"}],
        "schedule": {"warmup": {"warmup_steps": "5%", "schedule": {"cosine": {"decay_steps": "80ep"}}}}}"#;
    let job = post("a", epochs).await.json();
    let spec = &job["spec"];
    assert_eq!((&spec["total_steps"], &spec["groups"][0]["name"]), (&"18000".into(), &"no decay".into()), "{job}");
    assert_eq!(spec["schedule"]["warmup"]["warmup_steps"], "900");
    assert_eq!(spec["schedule"]["warmup"]["schedule"]["cosine"]["decay_steps"], "16000");
    assert_eq!(job["initial_spec"]["controllers"][0]["reduce_lr_on_plateau"]["unit"], "UNIT_EPOCH");
    assert!(job.get("warnings").is_none(), "{job}");

    let steps = r#"{"groups": [{"base_lr": 1}], "controllers": [{"library": "keras", "scheduler": "ReduceLROnPlateau",
        "params": {"monitor": "loss"}}]}"#;
    let job = post("b", steps).await.json();
    assert!(job["warnings"][0].as_str().is_some_and(|warning| warning.contains("steps_per_epoch")), "{job}");

    let refused = post("c", &epochs.replace("\"steps_per_epoch\": 200,", "")).await;
    let detail = problem(&refused, 400, Some("INVALID_ARGUMENT"))["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("spec.schedule.warmup.") && detail.contains("needs the job's"), "{detail}");
}

#[tokio::test(flavor = "multi_thread")]
async fn words_of_length_in_a_change_are_measured_by_the_job() {
    let server = Server::sqlite().await;
    let spec = r#"{"groups": [{"base_lr": 1}], "total_steps": 100, "steps_per_epoch": 10, "tokens_per_step": 1000}"#;
    let body = format!(r#"{{"spec": {spec}}}"#);
    request(&server, "POST", "/v1/namespaces/test/jobs?job_id=a", "", &body).await;
    let path = "/v1/namespaces/test/jobs/a";
    let change = async |query: &str, spec: &str| {
        let body = format!(r#"{{"spec": {spec}}}"#);
        request(&server, "PATCH", &format!("{path}{query}"), "", &body).await
    };

    for (spec, field, steps) in [
        (r#"{"total_steps": "20ep"}"#, "/spec/total_steps", "200"),
        (r#"{"schedule": {"warmup": {"warmup_steps": "1ep"}}}"#, "/spec/schedule/warmup/warmup_steps", "10"),
        (r#"{"schedule": {"warmup": {"warmup_steps": "10%"}}}"#, "/spec/schedule/warmup/warmup_steps", "20"),
        (r#"{"schedule": {"cosine": {"decay_steps": "50000tok"}}}"#, "/spec/schedule/cosine/decay_steps", "50"),
        (r#"{"steps_per_epoch": 7, "total_steps": "20ep"}"#, "/spec/total_steps", "140"),
    ] {
        let changed = change("", spec).await.json();
        assert_eq!(changed.pointer(field), Some(&steps.into()), "{spec}: {changed}");
    }
    // What the change takes away measures nothing.
    for (query, spec) in [
        ("?update_mask=spec.steps_per_epoch,spec.total_steps", r#"{"total_steps": "20ep"}"#),
        ("?update_mask=*", r#"{"groups": [{"base_lr": 1}], "total_steps": "20ep"}"#),
        ("", r#"{"steps_per_epoch": null, "total_steps": "20ep"}"#),
    ] {
        let refused = problem(&change(query, spec).await, 400, Some("INVALID_ARGUMENT"));
        assert!(refused["detail"].as_str().unwrap().contains("needs the job's `steps_per_epoch`"), "{refused}");
    }
    let nobody = request(&server, "PATCH", "/v1/namespaces/test/jobs/b", "", r#"{"spec": {"total_steps": "20ep"}}"#);
    problem(&nobody.await, 404, Some("JOB_NOT_FOUND"));

    let order = r#"{"set": {"factor": 0.5, "end_step": "10ep"}}"#;
    let decision = request(&server, "POST", &format!("{path}:override"), "", order).await.json();
    assert_eq!(decision["rate_override"]["end_step"], "70", "{decision}");
    let preview = format!(r#"{{"spec": {spec}, "steps": ["0", "5ep"]}}"#);
    let curve = request(&server, "POST", "/v1/schedules:preview", "", &preview).await.json();
    assert_eq!(curve["step"], serde_json::json!(["0", "50"]), "{curve}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_new_job_cannot_have_is_refused() {
    let server = Server::sqlite().await;
    let spec = r#""spec": {"groups": [{"base_lr": 1}]}"#;
    let create = async |more: &str| {
        let body = format!("{{{spec}{more}}}");
        request(&server, "POST", "/v1/namespaces/test/jobs?job_id=a", "", &body).await
    };
    for (more, field) in [
        (r#", "name": "namespaces/test/jobs/b""#, "job.name"),
        (r#", "state": "STATE_COMPLETED""#, "job.state"),
        (r#", "etag": "zzz""#, "job.etag"),
        (r#", "uid": "1", "attempt": 3"#, "job.attempt"),
        (r#", "create_time": "2026-01-31T12:00:00Z""#, "job.create_time"),
    ] {
        let refused = problem(&create(more).await, 400, Some("INVALID_ARGUMENT"));
        assert!(refused["detail"].as_str().unwrap().contains(field), "{more}: {refused}");
        assert_eq!(get(&server, "/v1/namespaces/test/jobs/a").await.status, 404, "{more}");
    }
    let job = create(r#", "name": "namespaces/test/jobs/a""#).await.json();
    // A repeat, and what was read of the job, are as the job is.
    let read = job.as_object().unwrap().clone();
    let again = request(&server, "POST", "/v1/namespaces/test/jobs?job_id=a", "", &Value::from(read).to_string()).await;
    assert_eq!(again.json()["uid"], job["uid"]);
    problem(&create(r#", "etag": "zzz""#).await, 409, Some("ETAG_MISMATCH"));
    problem(&create(r#", "state": "STATE_COMPLETED""#).await, 400, Some("INVALID_ARGUMENT"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_no_value_is_left_out_or_named() {
    let server = Server::sqlite().await;
    let create = async |id: &str, spec: &str| {
        let body = format!(r#"{{"spec": {spec}}}"#);
        request(&server, "POST", &format!("/v1/namespaces/test/jobs?job_id={id}"), "", &body).await
    };
    let job = create("a", r#"{"groups": [{"base_lr": 1}], "controllers": null, "total_steps": null}"#).await.json();
    assert!(job["spec"].get("controllers").is_none(), "{job}");
    let frozen = create("b", r#"{"groups": [{"base_lr": null}]}"#).await.json();
    assert!(frozen["warnings"][0].as_str().unwrap().contains("groups[0].base_lr is 0 or was left out"), "{frozen}");
    let wsd = create("c", r#"{"groups": [{"base_lr": 1}], "total_steps": 50, "schedule": "wsd"}"#).await;
    assert_eq!(wsd.status, 200, "{}", wsd.json());
    let constant =
        create("d", r#"{"groups": [{"base_lr": 1}], "schedule": "constant", "controller": "greedy"}"#).await.json();
    assert_eq!(constant["spec"]["schedule"], serde_json::json!({"base": 1.0}), "{constant}");
    for (schedule, says) in [
        (r#"{"cosine": null}"#, "spec.schedule.cosine: no value is not allowed here: write {cosine: {}}"),
        (r#""step""#, "job.spec.schedule.step.step_size: is required: must be from 1"),
        (r#""cyclic""#, "job.spec.schedule.cyclic.up_steps: is required"),
        (r#""exponential""#, "job.spec.schedule.exponential.gamma: is required"),
        (r#""chain""#, "job.spec.schedule.chain.links: is required"),
        (r#""power_law""#, "job.spec.schedule.power_law.tau: is required"),
    ] {
        let refused = create("e", &format!(r#"{{"groups": [{{"base_lr": 1}}], "schedule": {schedule}}}"#)).await;
        let detail = problem(&refused, 400, Some("INVALID_ARGUMENT"))["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains(says) && !detail.contains(" 0 is not"), "{detail}");
    }
}
