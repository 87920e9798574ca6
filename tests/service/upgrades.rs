//! Data of older releases opens, replays and serves with this release; data of newer releases is refused.
//!
//! `tests/fixtures/schema-N/` holds data that the release at the `commit` named there wrote under schema version N, in
//! the state in which a crash leaves it; see `scripts/write-fixture.sh`. A new migration comes with a fixture of the
//! schema before it.

use std::{fs, path::PathBuf};

use crate::postgres::TestPostgres;
use crate::program::{client_of, program, succeeds};
use crate::server::{Server, spec};
use lrs_proto::{
    ForkJobRequest, GetJobRequest, ListDecisionsRequest, ListJobsRequest, QueryTelemetryRequest, ResumeJobRequest,
    job::State,
};
use lrs_store as store;
use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection, SqliteConnection};

/// The fixtures, and whether they hold snapshots of jobs that this release no longer reads.
const FIXTURES: [(&str, bool); 2] = [("schema-1", true), ("schema-3", true)];

/// An older release's data in a database of its own, and the answers that this release gave.
struct Old {
    url: String,
    expected: Value,
    _directory: tempfile::TempDir,
}

fn fixture(name: &str, file: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name).join(file);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Removes the lines that `psql` accepts and a server does not.
fn without_commands(sql: &str) -> String {
    sql.lines().filter(|line| !line.starts_with('\\')).flat_map(|line| [line, "\n"]).collect()
}

async fn sqlite(name: &str) -> Old {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("lrs.db");
    fs::write(&file, "").unwrap();
    let url = format!("sqlite://{}", file.display());
    let mut connection = SqliteConnection::connect(&url).await.unwrap();
    connection.execute(sqlx::raw_sql(AssertSqlSafe(fixture(name, "sqlite.sql")))).await.unwrap();
    connection.close().await.unwrap();
    let expected = serde_json::from_str(&fixture(name, "sqlite.expected.json")).unwrap();
    Old { url, expected, _directory: directory }
}

async fn postgres(server: &TestPostgres, name: &str) -> Old {
    let url = server.create_database().await;
    let mut connection = PgConnection::connect(&url).await.unwrap();
    let sql = without_commands(&fixture(name, "postgres.sql"));
    connection.execute(sqlx::raw_sql(AssertSqlSafe(sql))).await.unwrap();
    connection.close().await.unwrap();
    let expected = serde_json::from_str(&fixture(name, "postgres.expected.json")).unwrap();
    Old { url, expected, _directory: tempfile::tempdir().unwrap() }
}

/// Asserts that every member of `old` is in `new`, which may have more.
#[track_caller]
fn assert_says_the_same(place: &str, old: &Value, new: &Value) {
    match (old, new) {
        (Value::Object(old), Value::Object(new)) => {
            for (name, value) in old {
                let place = format!("{place}.{name}");
                assert_says_the_same(&place, value, new.get(name).unwrap_or_else(|| panic!("{place} is gone")));
            }
        }
        (Value::Array(old), Value::Array(new)) => {
            assert_eq!(old.len(), new.len(), "{place}");
            for (i, (old, new)) in old.iter().zip(new).enumerate() {
                assert_says_the_same(&format!("{place}[{i}]"), old, new);
            }
        }
        _ => assert_eq!(old, new, "{place}"),
    }
}

fn bits(value: f64) -> String {
    format!("{:016x}", value.to_bits())
}

fn lrs(server: Option<&Server>, arguments: &[&str]) -> std::process::Output {
    server.map_or_else(program, client_of).args(arguments).output().unwrap()
}

/// Asserts that the server gives the older release's answers about a job.
async fn assert_job(server: &Server, old: &Value) {
    let name = old["name"].as_str().unwrap();
    let job = server.jobs().await.get_job(GetJobRequest { name: name.to_owned() }).await.unwrap().into_inner();
    let mut known = old["job"].clone();
    // These belong to the process that is gone: when it last heard from the trainer, which rates of the reserved block
    // it gave out, and how many repeats it got.
    known.as_object_mut().unwrap().remove("progress");
    assert_says_the_same(name, &known, &serde_json::to_value(&job).unwrap());

    let request = ListDecisionsRequest { job: name.to_owned(), page_size: 1000, ..Default::default() };
    let decisions = server.jobs().await.list_decisions(request).await.unwrap().into_inner().decisions;
    assert_says_the_same(name, &old["decisions"], &serde_json::to_value(&decisions).unwrap());

    let mut series = Vec::new();
    if job.attempt > 0 {
        let query = QueryTelemetryRequest { job: name.to_owned(), page_size: 10_000, ..Default::default() };
        for found in server.jobs().await.query_telemetry(query).await.unwrap().into_inner().series {
            let values: Vec<Value> = found
                .step
                .iter()
                .zip(&found.value)
                .map(|(step, value)| serde_json::json!([step, bits(*value)]))
                .collect();
            series.push(serde_json::json!({"name": found.name, "values": values}));
        }
    }
    assert_says_the_same(name, &old["series"], &Value::from(series));

    for (step, expected) in (0..).zip(old["rates"].as_array().unwrap()) {
        let rate = server.final_rate(name, job.attempt, step).await;
        assert_eq!(*expected, bits(rate), "the rate of step {step} of {name}");
    }
}

/// Opens the data, compares all answers, and goes on training.
async fn opens_replays_and_serves(old: Old, has_old_snapshots: bool) {
    let schema = old.url.parse::<store::DatabaseUrl>().unwrap().schema().await.unwrap();
    assert!(!schema.pending.is_empty());
    // The trainers of the fixture reported long ago.
    let mut server = Server::with(&old.url, &["--stale-after", "720h"]).await;
    let jobs = old.expected["jobs"].as_array().unwrap();
    assert!(jobs.len() >= 9);
    for job in jobs {
        assert_job(&server, job).await;
    }
    // Where snapshots of that release are skipped, the telemetry is read again.
    let log = server.log();
    assert!((!has_old_snapshots || log.contains("snapshot")) && !log.contains("damaged"), "{log}");

    for job in jobs.iter().filter(|job| job["job"]["attempt"].as_str().is_some_and(|attempt| attempt != "0")) {
        let name = job["name"].as_str().unwrap();
        succeeds(&lrs(Some(&server), &["replay", name]));
    }

    // Training goes on, from the next step.
    let steered = "namespaces/test/jobs/steered";
    let mut stream = server.stream(steered, 1, 0).await;
    stream.losses(200, &[2.0; 60]).await;
    stream.until_durable(259).await;
    let request = ListDecisionsRequest { job: steered.to_owned(), page_size: 1000, ..Default::default() };
    let decisions = server.jobs().await.list_decisions(request).await.unwrap().into_inner().decisions;
    assert!(decisions.iter().any(|decision| decision.step > 200), "the controller goes on");
    let paused = "namespaces/test/jobs/paused".to_owned();
    let resumed = server.jobs().await.resume_job(ResumeJobRequest { name: paused, ..Default::default() }).await;
    assert_eq!(resumed.unwrap().into_inner().state(), State::Running);
    let ended = "namespaces/test/jobs/ended".to_owned();
    let fork = ForkJobRequest { name: ended, step: 40, job_id: "again".to_owned(), ..Default::default() };
    let forked = server.jobs().await.fork_job(fork).await.unwrap().into_inner().name;
    let attempt = server.start_attempt(&forked, "t", 40).await;
    server.stream(&forked, attempt, 0).await.losses(40, &[1.0; 20]).await;
    server.register("new", spec(0.1)).await;
    let all = ListJobsRequest { parent: "namespaces/test".to_owned(), page_size: 100, ..Default::default() };
    assert_eq!(server.jobs().await.list_jobs(all).await.unwrap().into_inner().jobs.len(), jobs.len() + 2);

    assert_eq!(server.terminate().await, Some(0));
    succeeds(&lrs(None, &["doctor", "--database-url", &old.url]));
}

#[tokio::test(flavor = "multi_thread")]
async fn data_of_older_releases_opens_replays_and_serves_on_sqlite() {
    for (name, has_old_snapshots) in FIXTURES {
        opens_replays_and_serves(sqlite(name).await, has_old_snapshots).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn data_of_older_releases_opens_replays_and_serves_on_postgres() {
    for (name, has_old_snapshots) in FIXTURES {
        opens_replays_and_serves(postgres(TestPostgres::shared(), name).await, has_old_snapshots).await;
    }
}

/// The data as the older release left it, with only the schema brought up to date: the doctor must find nothing.
#[tokio::test(flavor = "multi_thread")]
async fn data_of_older_releases_is_sound() {
    for (name, _) in FIXTURES {
        for old in [sqlite(name).await, postgres(TestPostgres::shared(), name).await] {
            let refused = lrs(None, &["doctor", "--database-url", &old.url]);
            let told = String::from_utf8_lossy(&refused.stderr).into_owned();
            assert_eq!(refused.status.code(), Some(4), "{told}");
            let version = name.replace("schema-", "schema version ");
            assert!(told.contains(&version) && told.contains("lrs migrate"), "{told}");
            old.url.parse::<store::DatabaseUrl>().unwrap().migrate().await.unwrap();
            succeeds(&lrs(None, &["doctor", "--database-url", &old.url]));
        }
    }
}

async fn refuses_newer(old: Old, plant: impl AsyncFnOnce(&str, &'static str)) {
    old.url.parse::<store::DatabaseUrl>().unwrap().migrate().await.unwrap();
    let statement = "insert into _sqlx_migrations (version, description, success, checksum, execution_time)
        select 9999, 'from the future', success, checksum, 0 from _sqlx_migrations where version = 1";
    plant(&old.url, statement).await;
    let known = store::newest_schema_version();
    for arguments in [
        &["serve", "--grpc-listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0"][..],
        &["migrate"],
        &["migrate", "--check"],
        &["doctor"],
    ] {
        let output = lrs(None, &[arguments, &["--database-url", &old.url]].concat());
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "{arguments:?} went on");
        let versions = format!("schema version 9999, this program knows versions up to {known}");
        assert!(told.contains(&versions) && told.contains("upgrade lrs"), "{arguments:?}: {told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_older_than_the_schema_says_so_and_ends_on_sqlite() {
    refuses_newer(sqlite(FIXTURES[0].0).await, async |url, statement| {
        let mut connection = SqliteConnection::connect(url).await.unwrap();
        connection.execute(statement).await.unwrap();
        connection.close().await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_older_than_the_schema_says_so_and_ends_on_postgres() {
    refuses_newer(postgres(TestPostgres::shared(), FIXTURES[0].0).await, async |url, statement| {
        let mut connection = PgConnection::connect(url).await.unwrap();
        connection.execute(statement).await.unwrap();
        connection.close().await.unwrap();
    })
    .await;
}
