//! The database is away, or busy, in every way that it can be: every call is answered in time, and one that was answered
//! with an error has no effect later.

use std::time::Duration;

use lrs_proto::{
    CompleteJobRequest, GetJobRequest, ListAttemptsRequest, ListDecisionsRequest, ListJobsRequest, PauseJobRequest,
    codec::{Codec, Wire},
    job::State,
    lengths::Scale,
    reflect::{self, HttpRoute, Kind, MessageDescriptor, MethodDescriptor},
};
use prost::bytes::Bytes;
use serde_json::{Map, Value, json};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _};
use tokio::{task::JoinSet, time::Instant};
use tonic::{Code, Request, Status, transport::Channel};
use tonic_types::StatusExt as _;

use crate::{
    postgres::TestPostgres,
    server::{Server, spec, wait_for},
    small_disk::{SmallDisk, fill},
};

/// What the servers of these tests are told.
const STORE_TIMEOUT: &str = "1s";
/// A call may have to wait for its turn first, and the machine may be busy.
const IN_TIME: Duration = Duration::from_secs(8);
const LIVE: &str = "namespaces/test/jobs/live";
const ENDED: &str = "namespaces/test/jobs/ended";

async fn server(database_url: &str) -> Server {
    let server = Server::with(database_url, &["--store-timeout", STORE_TIMEOUT, "--max-reports", "16"]).await;
    for id in ["live", "ended"] {
        let job = server.register(id, spec(0.1)).await.name;
        server.start_attempt(&job, "t", 0).await;
    }
    let complete = CompleteJobRequest { name: ENDED.to_owned(), ..Default::default() };
    server.jobs().await.complete_job(complete).await.unwrap();
    server
}

/// A request of a method about `job`, in JSON. A field that a method cannot do without is a line here.
fn request(message: &MessageDescriptor, job: &str) -> Map<String, Value> {
    // A job that is to be registered has its name from the identifier.
    let is_new = message.get_field_by_name("job_id").is_some();
    let value = |name: &str, is_message: bool| {
        Some(match (name, is_message) {
            ("job", true) if is_new => json!({"spec": {"groups": [{"base_lr": 0.2}]}}),
            ("name" | "job", false) => job.into(),
            ("parent", false) => "namespaces/test".into(),
            ("job_id", false) => "new".into(),
            ("attempt_token", false) => "another".into(),
            ("attempt", false) => 1.into(),
            ("reason", false) => "why".into(),
            ("force", false) => true.into(),
            ("job", true) => json!({"name": job, "spec": {"groups": [{"base_lr": 0.2}]}}),
            ("jobs", true) => json!([{"name": job, "spec": {"groups": [{"base_lr": 0.2}]}}]),
            ("spec", true) => json!({"groups": [{"base_lr": 0.2}]}),
            ("set", true) => json!({"factor": 0.5}),
            _ => return None,
        })
    };
    let fields = message.fields().filter_map(|field| {
        let is_message = matches!(field.kind(), Kind::Message(_));
        Some((field.name().to_owned(), value(field.name(), is_message)?))
    });
    fields.collect()
}

fn wire(method: &MethodDescriptor, job: &str) -> Bytes {
    let input = method.input();
    let codec = Codec::by_name(input.full_name()).expect("requests have a codec");
    codec
        .read_value(request(&input, job).into(), Scale::default())
        .unwrap_or_else(|problem| panic!("{}: {problem}", method.name()))
        .into()
}

/// Calls a method, and reads its first answer if it answers with a stream.
async fn call(channel: Channel, method: &MethodDescriptor, job: &str) -> Result<(), Status> {
    let path = reflect::path(method).parse().unwrap();
    let message = wire(method, job);
    let mut grpc = tonic::client::Grpc::new(channel);
    grpc.ready().await.unwrap();
    let mut answers = match (method.is_client_streaming(), method.is_server_streaming()) {
        (false, false) => return grpc.unary(Request::new(message), path, Wire).await.map(drop),
        (false, true) => grpc.server_streaming(Request::new(message), path, Wire).await?.into_inner(),
        (true, _) => {
            let requests = tokio_stream::iter([message]);
            let answers = grpc.streaming(Request::new(requests), path, Wire).await?.into_inner();
            if job == LIVE {
                // It is open, and withholds its acknowledgements for as long as the database is away.
                return Ok(());
            }
            answers
        }
    };
    answers.message().await.map(drop)
}

/// The path and the body of a route.
fn over_http(route: &HttpRoute, job: &str) -> (String, String) {
    let mut fields = Value::from(request(&route.method.input(), job));
    fields["experiment"] = "namespaces/test/experiments/e".into();
    let mut path = String::new();
    for (index, part) in route.template.split(['{', '}']).enumerate() {
        let Some((name, _)) = part.split_once('=').filter(|_| index % 2 == 1) else {
            path.push_str(part);
            continue;
        };
        let mut names = name.split('.').collect::<Vec<_>>();
        let last = names.pop().unwrap();
        let holder = names.into_iter().fold(&mut fields, |value, name| &mut value[name]);
        path.push_str(holder.as_object_mut().unwrap().remove(last).unwrap().as_str().unwrap());
    }
    if route.template == "/v1/{parent=namespaces/*}/jobs" && route.verb == "POST" {
        path.push_str("?jobId=new-over-http");
    }
    fields.as_object_mut().unwrap().remove("experiment");
    let body = match route.body.as_str() {
        "" => String::new(),
        "*" => fields.to_string(),
        field => fields[field].to_string(),
    };
    (path, body)
}

/// Makes every call at once, over gRPC and over HTTP, about a job that has not ended and one that has. Each must be
/// answered in time: as ever, or by an error with one of these reasons.
async fn every_call_is_answered(server: &Server, reasons: &[&str]) {
    let channel = server.channel().await;
    let begun = Instant::now();
    let mut calls = JoinSet::new();
    for method in reflect::methods() {
        for job in [LIVE, ENDED] {
            let (channel, method) = (channel.clone(), method.clone());
            calls.spawn(async move {
                let answer = tokio::time::timeout(IN_TIME, call(channel, &method, job)).await;
                (format!("{} of {job}", method.name()), answer.map_err(|_| ()), begun.elapsed())
            });
        }
    }
    let mut refused = 0;
    while let Some(ended) = calls.join_next().await {
        let (what, answer, took) = ended.unwrap();
        let Ok(answer) = answer else { panic!("{what} hangs") };
        let Err(status) = answer else { continue };
        let info = status.get_details_error_info().unwrap_or_else(|| panic!("{what}: {status:?}"));
        println!("{what}: {} after {took:?}", info.reason);
        if status.code() == Code::FailedPrecondition {
            // This database can be read, and says that the job has ended.
            continue;
        }
        refused += 1;
        assert_eq!(status.code(), Code::Unavailable, "{what}: {status:?}");
        assert!(reasons.contains(&info.reason.as_str()), "{what}: {status:?}");
        assert_eq!(info.metadata["outcome"], "unchanged", "{what}: {status:?}");
        let delay = status.get_details_retry_info().and_then(|info| info.retry_delay);
        assert!(delay.is_some(), "{what}: {status:?}");
    }
    assert!(refused >= 8, "the database was not away: {refused} calls were refused");

    let mut paths: Vec<(&str, String, String)> = Vec::new();
    for route in reflect::http_routes() {
        for job in [LIVE, ENDED] {
            let (path, body) = over_http(&route, job);
            paths.push((route.verb, path, body));
        }
    }
    for path in ["/v1/fleet", &format!("/v1/{LIVE}/outlook"), &format!("/v1/{ENDED}/outlook"), "/", "/metrics"] {
        paths.push(("GET", path.to_owned(), String::new()));
    }
    let requests = paths.iter().filter(|(_, path, _)| !path.ends_with(":watch")).map(async |(verb, path, body)| {
        let answer = tokio::time::timeout(IN_TIME, server.http_request(verb, path, body)).await;
        (format!("{verb} {path}"), answer)
    });
    for (what, answer) in futures::future::join_all(requests).await {
        let (status, body) = answer.unwrap_or_else(|_| panic!("{what} hangs"));
        let is_refused = status == 503 && reasons.iter().any(|reason| body.contains(reason));
        let is_as_ever =
            ["JOB_ENDED", "JOB_NOT_ENDED", "EXPERIMENT_NOT_FOUND"].iter().any(|reason| body.contains(reason));
        assert!(status == 200 || is_refused || is_as_ever, "{what}: {status} {body}");
    }
}

/// Everything that a call could have changed.
async fn state(server: &Server) -> Vec<String> {
    let mut jobs = server.jobs().await;
    let list = ListJobsRequest { parent: "namespaces/test".to_owned(), ..Default::default() };
    let mut state = Vec::new();
    for job in jobs.list_jobs(list).await.unwrap().into_inner().jobs {
        let name = job.name;
        let job = jobs.get_job(GetJobRequest { name: name.clone() }).await.unwrap().into_inner();
        let list = ListDecisionsRequest { job: name.clone(), ..Default::default() };
        let decisions = jobs.list_decisions(list).await.unwrap().into_inner().decisions;
        let list = ListAttemptsRequest { job: name.clone(), ..Default::default() };
        let attempts = jobs.list_attempts(list).await.unwrap().into_inner().attempts.len();
        state.push(format!("{name} {:?} {} {:?} {decisions:?} {attempts}", job.state, job.etag, job.spec));
    }
    state
}

async fn until_ready(server: &Server) {
    wait_for("readiness", async || (server.http_get("/readyz").await.0 == 200).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_postgres_is_stopped_every_call_is_answered_and_none_takes_effect_later() {
    let postgres = TestPostgres::private(&[]);
    let server = server(&postgres.create_database().await).await;
    let before = state(&server).await;

    postgres.stop_immediate();
    every_call_is_answered(&server, &["STORE_UNAVAILABLE"]).await;
    assert_eq!(server.http_get("/livez").await.0, 200);
    postgres.start();

    until_ready(&server).await;
    assert_eq!(state(&server).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn while_postgres_accepts_connections_and_answers_nothing_every_call_is_answered() {
    let postgres = TestPostgres::private(&[]);
    let server = server(&postgres.create_database().await).await;
    let before = state(&server).await;

    postgres.freeze();
    every_call_is_answered(&server, &["STORE_UNAVAILABLE"]).await;
    wait_for("readiness to say so", async || (server.http_get("/readyz").await.0 == 503).then_some(())).await;
    postgres.thaw();

    until_ready(&server).await;
    assert_eq!(state(&server).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_that_another_session_holds_is_not_an_outage() {
    let postgres = TestPostgres::private(&[]);
    let url = postgres.create_database().await;
    let server = Server::with(&url, &["--store-timeout", "7s"]).await;
    let job = server.register("live", spec(0.1)).await.name;
    server.start_attempt(&job, "t", 0).await;
    let before = state(&server).await;
    let mut other = sqlx::PgConnection::connect(&url).await.unwrap();
    other.execute("begin; lock table jobs in access exclusive mode").await.unwrap();

    let mut jobs = server.jobs().await;
    let pause = PauseJobRequest { name: LIVE.to_owned(), ..Default::default() };
    let list = ListJobsRequest { parent: "namespaces/test".to_owned(), ..Default::default() };
    let (mut second, mut watched) = (server.jobs().await, Vec::new());
    let calls = async { tokio::join!(jobs.pause_job(pause), second.list_jobs(list)) };
    tokio::pin!(calls);
    let (paused, listed) = loop {
        tokio::select! {
            answers = &mut calls => break answers,
            () = tokio::time::sleep(Duration::from_millis(100)) => watched.push(server.http_get("/readyz").await.0),
        }
    };

    for status in [paused.unwrap_err(), listed.unwrap_err()] {
        assert_eq!(status.get_details_error_info().unwrap().reason, "STORE_BUSY", "{status:?}");
        assert!(status.message().contains("another session holds a lock"), "{status:?}");
    }
    assert!(watched.len() > 10 && watched.iter().all(|status| *status == 200), "{watched:?}");
    other.execute("rollback").await.unwrap();
    assert_eq!(state(&server).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_is_named_however_short_the_time_that_callers_have() {
    let postgres = TestPostgres::private(&[]);
    let url = postgres.create_database().await;
    let server = server(&url).await;
    let before = state(&server).await;
    for table in ["jobs", "ownership"] {
        let mut other = sqlx::PgConnection::connect(&url).await.unwrap();
        other.execute(AssertSqlSafe(format!("begin; lock table {table} in access exclusive mode"))).await.unwrap();
        every_call_is_answered(&server, &["STORE_BUSY"]).await;
        assert_eq!(server.http_get("/readyz").await.0, 200, "{table}");
        other.execute("rollback").await.unwrap();
    }
    assert_eq!(state(&server).await, before);
}

/// Refuses every row of telemetry, as a trigger of somebody else, or a damaged index, may.
const REFUSE: &str = "create function refuse() returns trigger language plpgsql as
        $$ begin raise exception 'not now' using errcode = 'XX000'; end $$;
    create trigger refuse before insert on telemetry for each row execute function refuse()";

#[tokio::test(flavor = "multi_thread")]
async fn a_job_whose_report_the_database_refused_is_back_when_that_is_over() {
    let postgres = TestPostgres::private(&[]);
    let url = postgres.create_database().await;
    let server = Server::with(&url, &[]).await;
    let job = server.register("live", spec(0.1)).await.name;
    let other = server.register("other", spec(0.1)).await.name;
    server.start_attempt(&job, "t", 0).await;
    server.start_attempt(&other, "t", 0).await;
    let mut admin = sqlx::PgConnection::connect(&url).await.unwrap();
    admin.execute(REFUSE).await.unwrap();

    let mut stream = server.stream(&job, 1, 0).await;
    stream.losses(0, &[1.0]).await;
    let refused = stream.end().await;
    assert_eq!(refused.code(), Code::Internal, "{refused:?}");
    server.final_rate(&other, 1, 0).await;
    admin.execute("drop trigger refuse on telemetry").await.unwrap();

    wait_for("the job to be back", async || server.ask(&job, 1, 0, 0, Duration::ZERO).await.ok()).await;
    let mut stream = server.stream(&job, 1, 0).await;
    stream.losses(0, &[1.0]).await;
    stream.until_durable(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_a_dump_is_restored_under_it_the_database_counts_as_away() {
    let postgres = TestPostgres::private(&[]);
    let url = postgres.create_database().await;
    let server = server(&url).await;
    let mut stream = server.stream(LIVE, 1, 0).await;
    stream.losses(0, &[1.0]).await;
    stream.until_durable(0).await;
    let before = state(&server).await;
    let mut admin = sqlx::PgConnection::connect(&url).await.unwrap();
    // What `pg_restore --clean` does, with the time between its steps drawn out.
    admin.execute("alter table ownership rename to gone; alter table jobs rename to gone_too").await.unwrap();

    every_call_is_answered(&server, &["STORE_UNAVAILABLE"]).await;
    stream.losses(1, &[1.0]).await;
    admin.execute("alter table gone rename to ownership; alter table gone_too rename to jobs").await.unwrap();

    until_ready(&server).await;
    stream.until_durable(1).await;
    assert_eq!(state(&server).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn while_another_program_has_the_sqlite_file_locked_every_call_is_answered() {
    let directory = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", directory.path().join("lrs.db").display());
    let server = server(&url).await;
    let before = state(&server).await;
    let mut other = sqlx::SqliteConnection::connect(&url).await.unwrap();
    other.execute("begin immediate").await.unwrap();

    every_call_is_answered(&server, &["STORE_BUSY", "STORE_UNAVAILABLE"]).await;
    other.execute("rollback").await.unwrap();

    until_ready(&server).await;
    assert_eq!(state(&server).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_full_disk_refused_does_not_happen_when_there_is_room_again() {
    let Some(disk) = SmallDisk::mount() else {
        println!("no file system can be mounted here");
        return;
    };
    let url = format!("sqlite://{}", disk.path().join("lrs.db").display());
    let server = server(&url).await;

    let ballast = fill(disk.path());
    // The log may have some room left.
    let mut registered = vec!["ended".to_owned(), "live".to_owned()];
    let status = loop {
        let id = format!("new-{}", registered.len());
        match server.try_register(&id, spec(0.1)).await {
            Ok(_) => registered.push(id),
            Err(status) => break status,
        }
    };
    assert_eq!(status.get_details_error_info().unwrap().reason, "STORE_UNAVAILABLE", "{status:?}");
    let before = registered.clone();
    let pause = PauseJobRequest { name: LIVE.to_owned(), ..Default::default() };
    let status = server.jobs().await.pause_job(pause).await.unwrap_err();
    assert_eq!(status.get_details_error_info().unwrap().metadata["outcome"], "unchanged", "{status:?}");
    std::fs::remove_file(ballast).unwrap();

    until_ready(&server).await;
    // All that waited is through once this is.
    server.register("last", spec(0.1)).await;
    registered.push("last".to_owned());
    let mut listed: Vec<String> =
        state(&server).await.iter().map(|job| job.split(' ').next().unwrap().to_owned()).collect();
    let mut expected: Vec<String> = registered.iter().map(|id| format!("namespaces/test/jobs/{id}")).collect();
    listed.sort();
    expected.sort();
    assert_eq!(listed, expected, "{before:?}");
    let live = server.jobs().await.get_job(GetJobRequest { name: LIVE.to_owned() }).await.unwrap().into_inner();
    assert_eq!(live.state(), State::Running);
}

/// Has every commit with a decision take so long.
fn slow_commits(length: &str) -> String {
    format!(
        "create function be_slow() returns trigger language plpgsql as
            $$ begin perform pg_sleep({length}); return null; end $$;
         create constraint trigger slow after insert on decisions deferrable initially deferred
            for each row execute function be_slow()"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_whose_commit_takes_too_long_has_an_unknown_outcome_and_the_caller_can_find_out() {
    let postgres = TestPostgres::private(&[]);
    let url = postgres.create_database().await;
    let server = server(&url).await;
    let mut other = sqlx::PgConnection::connect(&url).await.unwrap();
    other.execute(AssertSqlSafe(slow_commits("3"))).await.unwrap();

    let pause = PauseJobRequest { name: LIVE.to_owned(), request_id: "one".to_owned(), ..Default::default() };
    let status = server.jobs().await.pause_job(pause.clone()).await.unwrap_err();

    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    let info = status.get_details_error_info().unwrap();
    assert_eq!(
        (info.reason.as_str(), info.metadata["outcome"].as_str()),
        ("STORE_UNAVAILABLE", "unknown"),
        "{status:?}"
    );
    assert!(status.message().contains("the same request_id"), "{status:?}");
    let paused =
        wait_for("the answer to a repeat", async || server.jobs().await.pause_job(pause.clone()).await.ok()).await;
    assert_eq!(paused.into_inner().state(), State::Paused);
    let list = ListDecisionsRequest { job: LIVE.to_owned(), ..Default::default() };
    assert_eq!(server.jobs().await.list_decisions(list).await.unwrap().into_inner().decisions.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_whose_commit_was_cut_after_its_caller_had_gone_is_not_made_later() {
    let postgres = TestPostgres::private(&[]);
    let url = postgres.create_database().await;
    let server = server(&url).await;
    let before = state(&server).await;
    let mut other = sqlx::PgConnection::connect(&url).await.unwrap();
    other.execute(AssertSqlSafe(slow_commits("300"))).await.unwrap();

    let pause = PauseJobRequest { name: LIVE.to_owned(), ..Default::default() };
    let status = server.jobs().await.pause_job(pause).await.unwrap_err();
    assert_eq!(status.get_details_error_info().unwrap().metadata["outcome"], "unknown", "{status:?}");
    let cut = "select count(pg_terminate_backend(pid)) from pg_stat_activity
        where datname = current_database() and pid <> pg_backend_pid() and query ilike 'commit%' and state = 'active'";
    let count: i64 = sqlx::query_scalar(cut).fetch_one(&mut other).await.unwrap();
    assert_eq!(count, 1, "the commit was under way");
    other.execute("drop trigger slow on decisions").await.unwrap();

    until_ready(&server).await;
    // All that waited is through once this is.
    server.register("last", spec(0.1)).await;
    let after: Vec<String> = state(&server).await.into_iter().filter(|job| !job.contains("jobs/last ")).collect();
    assert_eq!(after, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_gives_up_before_the_server_does_takes_the_change_back() {
    let postgres = TestPostgres::private(&[]);
    let server = Server::with(&postgres.create_database().await, &["--store-timeout", "1h"]).await;
    let job = server.register("live", spec(0.1)).await.name;
    server.start_attempt(&job, "t", 0).await;
    let before = state(&server).await;

    postgres.stop_immediate();
    let mut pause = Request::new(PauseJobRequest { name: job, ..Default::default() });
    pause.set_timeout(Duration::from_millis(500));
    server.jobs().await.pause_job(pause).await.unwrap_err();
    postgres.start();

    until_ready(&server).await;
    assert_eq!(state(&server).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_ready_again_after_its_database_could_only_be_read() {
    let postgres = TestPostgres::private(&[]);
    let url = postgres.create_database().await;
    let server = server(&url).await;
    let database = url.split(['/', '?']).nth(3).unwrap();
    let admin = url.replace(database, "postgres");
    let alter = async |what: &str| {
        let mut connection = sqlx::PgConnection::connect(&admin).await.unwrap();
        connection.execute(AssertSqlSafe(format!("alter database {database} {what}"))).await.unwrap();
        // As a failover, or a pooler, would.
        let cut = format!("select pg_terminate_backend(pid) from pg_stat_activity where datname = '{database}'");
        if what.starts_with("set") {
            connection.execute(AssertSqlSafe(cut)).await.unwrap();
        }
        connection.close().await.unwrap();
    };

    alter("set default_transaction_read_only = on").await;
    wait_for("readiness to say so", async || {
        let (status, body) = server.http_get("/readyz").await;
        (status == 503 && body.contains("read")).then_some(())
    })
    .await;
    assert!(server.try_register("new", spec(0.1)).await.is_err());
    alter("reset default_transaction_read_only").await;

    until_ready(&server).await;
    server.register("new", spec(0.1)).await;
}
