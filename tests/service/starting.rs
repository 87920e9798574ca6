//! How a server starts and ends: it waits for its database, it says why it ends in its exit code and its log, and it
//! knows the signals that supervisors send.

use std::{
    fs::File,
    io::Read as _,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Child, Command, Stdio},
};

use lrs_proto::{GetJobRequest, job_service_client::JobServiceClient};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use sqlx::{Connection as _, Executor as _};
use tonic::{Code, transport::Channel};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};
use tonic_types::StatusExt as _;

use crate::{
    postgres::TestPostgres,
    program::program,
    server::{Server, spec, wait_for},
};

/// `lrs serve` that logs JSON, killed when dropped.
struct Started {
    child: Child,
    directory: tempfile::TempDir,
}

impl Started {
    fn new(database_url: &str, arguments: &[&str]) -> Self {
        Self::by(program(), database_url, arguments)
    }

    fn by(mut command: Command, database_url: &str, arguments: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let file = |name| File::create(directory.path().join(name)).unwrap();
        let child = command
            .args(["serve", "--log-format", "json", "--database-url", database_url])
            .envs([("LRS_GRPC_LISTEN", "127.0.0.1:0"), ("LRS_HTTP_LISTEN", "127.0.0.1:0")])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(file("out"))
            .stderr(file("err"))
            .spawn()
            .unwrap();
        Self { child, directory }
    }

    /// The log so far; nothing but JSON is written anywhere.
    fn log(&self) -> Vec<Value> {
        let read = |name| std::fs::read_to_string(self.directory.path().join(name)).unwrap();
        assert_eq!(read("out"), "");
        let log = read("err");
        let whole = log.rsplit_once('\n').map_or("", |(whole, _)| whole);
        let line = |line: &str| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line:?} is not JSON"));
        whole.lines().map(line).collect()
    }

    /// The line of the log with this text.
    async fn said(&self, text: &str) -> Value {
        wait_for(text, async || {
            self.log().into_iter().find(|line| line["message"].as_str().is_some_and(|message| message.contains(text)))
        })
        .await
    }

    /// The addresses of gRPC and HTTP, which it has before it has its database.
    async fn addresses(&self) -> (String, String) {
        let line = self.said("is starting").await;
        let address = |name: &str| line[name].as_str().unwrap().to_owned();
        (address("grpc"), address("http"))
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_raw(self.child.id().cast_signed()).unwrap(), signal).unwrap();
    }

    /// The exit code.
    async fn ends(&mut self) -> Option<i32> {
        let ended = wait_for("the server to end", async || self.child.try_wait().unwrap()).await;
        ended.code()
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("{}", std::fs::read_to_string(self.directory.path().join("err")).unwrap_or_default());
        }
    }
}

async fn get(address: &str, path: &str) -> (u16, String) {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut socket = tokio::net::TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

async fn channel(grpc: &str) -> Channel {
    Channel::from_shared(format!("http://{grpc}")).unwrap().connect().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_whose_database_is_away_waits_and_says_so() {
    let postgres = TestPostgres::private(&[]);
    let url = postgres.create_database().await;
    postgres.stop_immediate();

    let mut server = Started::new(&url, &[]);
    let (grpc, http) = server.addresses().await;

    let waiting = server.said("Waiting for the database").await;
    assert_eq!(waiting["level"], "WARN");
    assert_eq!(get(&http, "/livez").await.0, 200);
    assert_eq!(get(&http, "/metrics").await.0, 200);
    let (status, body) = get(&http, "/readyz").await;
    assert!(status == 503 && body.contains("waiting for the database"), "{status} {body}");
    let channel = channel(&grpc).await;
    let asked = HealthCheckRequest { service: String::new() };
    let health = HealthClient::new(channel.clone()).check(asked).await.unwrap().into_inner();
    assert_eq!(health.status(), ServingStatus::NotServing);
    let job = GetJobRequest { name: "namespaces/test/jobs/a".to_owned() };
    let mut jobs = JobServiceClient::new(channel);
    let refused = jobs.get_job(job.clone()).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
    assert!(refused.message().contains("waiting for the database"), "{refused:?}");
    assert!(refused.get_details_retry_info().is_some_and(|info| info.retry_delay.is_some()));
    assert_eq!(get(&http, "/v1/namespaces/test/jobs").await.0, 503);

    postgres.start();
    wait_for("readiness", async || (get(&http, "/readyz").await.0 == 200).then_some(())).await;
    assert_eq!(jobs.get_job(job).await.unwrap_err().code(), Code::NotFound);
    server.signal(Signal::TERM);
    assert_eq!(server.ends().await, Some(0));
    server.log();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_waits_ends_when_it_is_asked_to() {
    let mut server = Started::new("postgres://lrs@localhost/lrs?host=/nonexistent", &[]);
    server.said("Waiting for the database").await;
    server.signal(Signal::TERM);
    assert_eq!(server.ends().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_has_all_connections_is_waited_for() {
    let postgres = TestPostgres::private(&["max_connections = 5", "superuser_reserved_connections = 0"]);
    let url = postgres.create_database().await;
    let mut others = Vec::new();
    while let Ok(other) = sqlx::PgConnection::connect(&url).await {
        others.push(other);
    }

    let server = Started::new(&url, &[]);
    let (_, http) = server.addresses().await;
    server.said("Waiting for the database").await;
    drop(others);

    wait_for("readiness", async || (get(&http, "/readyz").await.0 == 200).then_some(())).await;
}

/// A server of PostgreSQL that asks the role `locked` for its password, and a database with this release's schema and a
/// role `app` that may do nothing.
async fn guarded() -> (TestPostgres, String, tempfile::TempDir) {
    let directory = tempfile::Builder::new().prefix("lrs-hba-").tempdir_in("/tmp").unwrap();
    std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let file = directory.path().join("pg_hba.conf");
    std::fs::write(&file, "local all locked scram-sha-256\nlocal all all trust\n").unwrap();
    let postgres = TestPostgres::private(&[&format!("hba_file = '{}'", file.display())]);
    let url = postgres.create_database().await;
    let migrated = program().args(["migrate", "--database-url", &url]).output().unwrap();
    assert!(migrated.status.success(), "{migrated:?}");
    let mut connection = sqlx::PgConnection::connect(&url).await.unwrap();
    connection.execute("create role locked login password 'right'; create role app login").await.unwrap();
    connection.close().await.unwrap();
    (postgres, url, directory)
}

/// Starts a server that cannot serve, and asserts how it ends: its exit code, and what its log says, as text and as JSON.
async fn ends_with(exit_code: i32, says: &str, database_url: &str, arguments: &[&str]) {
    let mut server = Started::new(database_url, arguments);
    assert_eq!(server.ends().await, Some(exit_code), "{database_url} {arguments:?}");
    let last = server.log().pop().unwrap();
    let shown = format!("{}{}", last["message"].as_str().unwrap(), last["violations"]);
    assert!(last["exit_code"] == exit_code && last["level"] == "ERROR" && shown.contains(says), "{shown}");

    let output = program()
        .args(["serve", "--log-format", "text", "--database-url", database_url])
        .envs([("LRS_GRPC_LISTEN", "127.0.0.1:0"), ("LRS_HTTP_LISTEN", "127.0.0.1:0")])
        .args(arguments)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(exit_code), "{text}");
    assert!(text.contains("error") && text.contains(says), "{text}");
}

fn sqlite(directory: &Path) -> String {
    format!("sqlite://{}", directory.join("lrs.db").display())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waiting_cannot_mend_in_postgres_ends_at_once_with_its_exit_code() {
    let (postgres, url, _hba) = guarded().await;
    let role = |role: &str| url.replace("lrs@", &format!("{role}@"));
    ends_with(7, "password authentication failed", &role("locked:wrong"), &[]).await;
    ends_with(7, "permission denied", &role("app"), &[]).await;
    ends_with(7, "does not exist", &url.replace("test_0", "nothing"), &[]).await;
    let empty = postgres.create_database().await;
    let empty = empty.replace("lrs@", "app@");
    ends_with(7, "run `lrs migrate` as a role that may", &empty, &[]).await;
    ends_with(7, "the role \"app\"", &empty, &[]).await;

    let away = "postgres://lrs@localhost/lrs?host=/nonexistent";
    ends_with(5, "cannot be opened", away, &["--database-wait", "0s"]).await;
    ends_with(5, "cannot be opened", away, &["--database-wait", "300ms"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_may_only_read_and_write_rows_serves() {
    let (_postgres, url, _hba) = guarded().await;
    let mut connection = sqlx::PgConnection::connect(&url).await.unwrap();
    connection
        .execute("grant select, insert, update, delete on all tables in schema public to app; grant usage on all sequences in schema public to app")
        .await
        .unwrap();
    connection.close().await.unwrap();

    let server = Server::with(&url.replace("lrs@", "app@"), &[]).await;

    let job = server.register("a", spec(0.1)).await.name;
    let attempt = server.start_attempt(&job, "t", 0).await;
    let mut stream = server.stream(&job, attempt, 0).await;
    stream.losses(0, &[1.0; 10]).await;
    stream.until_durable(9).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_the_configuration_or_the_machine_has_its_exit_code() {
    let directory = tempfile::tempdir().unwrap();
    let url = sqlite(directory.path());
    ends_with(2, "mysql://u:***@h/d", "mysql://u:s3cret@h/d", &[]).await;
    ends_with(2, "shards", &url, &["--shards", "0"]).await;
    ends_with(2, "nonsense", &url, &["--nonsense"]).await;
    ends_with(2, "/nonexistent/lrs.toml", &url, &["--config", "/nonexistent/lrs.toml"]).await;
    // An address of the documentation, which no machine has.
    ends_with(2, "--grpc-listen", &url, &["--grpc-listen", "192.0.2.1:0"]).await;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = listener.local_addr().unwrap().to_string();
    ends_with(4, &taken, &url, &["--http-listen", &taken]).await;

    ends_with(1, "cuda:99", &url, &["--device", "cuda:99"]).await;

    let file = directory.path().join("file");
    std::fs::write(&file, "").unwrap();
    ends_with(7, "file", &sqlite(&file), &[]).await;

    let owner = Started::new(&url, &[]);
    owner.said("Ready").await;
    ends_with(4, "another lrs", &url, &[]).await;
    drop(owner);
    let mut connection = sqlx::SqliteConnection::connect(&url).await.unwrap();
    let newer = "insert into _sqlx_migrations (version, description, success, checksum, execution_time)
        select 9999, 'from the future', success, checksum, 0 from _sqlx_migrations where version = 1";
    connection.execute(newer).await.unwrap();
    connection.close().await.unwrap();
    ends_with(4, "upgrade lrs", &url, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_that_asks_for_json_gets_its_errors_as_json() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("lrs.toml");
    std::fs::write(&file, "log_format = \"json\"\nshards = 0\n").unwrap();
    let by_file = ["serve", "--config", file.to_str().unwrap()];
    for (arguments, environment) in [
        (&by_file[..], None),
        (&[&by_file[..], &["--nonsense"]].concat(), None),
        (&["serve", "--nonsense"], Some("json")),
        (&["serve", "--shards", "many"], Some("json")),
        (&["serve", "--log-filter", "lrs=["], Some("json")),
    ] {
        let mut command = program();
        command.args(arguments).envs(environment.map(|format| ("LRS_LOG_FORMAT", format)));
        let output = command.output().unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{arguments:?}: {text}");
        let line: Value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{arguments:?}: {text:?}"));
        assert_eq!(line["exit_code"], 2, "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn signals_of_supervisors_end_a_server_in_order_or_do_nothing() {
    for signal in [Signal::TERM, Signal::INT, Signal::HUP, Signal::QUIT] {
        let directory = tempfile::tempdir().unwrap();
        let mut server = Started::new(&sqlite(directory.path()), &[]);
        server.said("Ready").await;
        for harmless in [Signal::USR1, Signal::USR2] {
            server.signal(harmless);
        }
        server.said("SIGUSR2 came").await;
        server.signal(signal);
        assert_eq!(server.ends().await, Some(0), "{signal:?}");
        server.said("Shut down").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn under_nohup_a_closed_terminal_does_not_end_a_server() {
    let directory = tempfile::tempdir().unwrap();
    let mut nohup = Command::new("sh");
    nohup.args(["-c", "trap '' HUP; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_lrs")]);
    let mut server = Started::by(nohup, &sqlite(directory.path()), &[]);
    server.said("Ready").await;

    server.signal(Signal::HUP);
    server.signal(Signal::USR1);
    server.said("SIGUSR1 came").await;
    let (_, http) = server.addresses().await;
    assert_eq!(get(&http, "/readyz").await.0, 200);
    server.signal(Signal::TERM);
    assert_eq!(server.ends().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_has_no_time_to_flush_says_so_in_its_exit_code() {
    let postgres = TestPostgres::private(&[]);
    let mut server = Server::with(&postgres.create_database().await, &["--grace-period", "500ms"]).await;
    let job = server.register("a", spec(0.1)).await.name;
    let attempt = server.start_attempt(&job, "t", 0).await;
    let mut stream = server.stream(&job, attempt, 0).await;
    stream.losses(0, &[1.0; 10]).await;
    stream.until_durable(9).await;
    postgres.stop_immediate();
    stream.losses(10, &[1.0; 10]).await;
    // Its answer shows that the report has been taken.
    stream.directive(20).await;

    assert_eq!(server.terminate().await, Some(8));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_outlives_whoever_read_its_log() {
    let directory = tempfile::tempdir().unwrap();
    let ready = directory.path().join("ready.json");
    let mut child = program()
        .args(["serve", "--grpc-listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0", "--log-filter", "trace"])
        .args(["--database-url", &sqlite(directory.path()), "--ready-file", ready.to_str().unwrap()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut byte = [0];
    child.stderr.take().unwrap().read_exact(&mut byte).unwrap();
    drop(child.stdout.take());

    let ready = wait_for("readiness", async || std::fs::read_to_string(&ready).ok()).await;
    let ready: Value = serde_json::from_str(&ready).unwrap();
    assert_eq!(get(ready["http"].as_str().unwrap(), "/readyz").await.0, 200);
    kill_process(Pid::from_raw(child.id().cast_signed()).unwrap(), Signal::TERM).unwrap();
    let ended = wait_for("the server to end", async || child.try_wait().unwrap()).await;
    assert_eq!(ended.code(), Some(0));
}
