//! No password is shown: in no error, no log, no answer and no metric, however wrong the place where it stands.

use std::{fs, net::TcpListener, path::Path, process::Command};

use crate::postgres::TestPostgres;
use crate::program::{program, texts};
use crate::server::{Server, spec};

/// The part of every password below that is looked for.
const MARK: &str = "hunter2";

/// Addresses with a password, most of them wrong.
const ADDRESSES: &[&str] = &[
    "postgres://lrs:hunter2@127.0.0.1:1/lrs",
    "postgres://lrs:hunter2%20x%40y@127.0.0.1:1/lrs",
    "postgres://lrs:x%68unter2hunter2@127.0.0.1:1/lrs",
    "postgres://lrs:a@hunter2/b@127.0.0.1:1/lrs",
    "postgres://lrs:a#hunter2@127.0.0.1:1/lrs",
    "postgres://lrs:a?hunter2@127.0.0.1:1/lrs",
    "postgres://lrs:hunter2 and more@127.0.0.1:1/lrs",
    "postgres://lrs:hunter2@127.0.0.1:port/lrs",
    "postgres://lrs:hunter2@",
    "postgres://lrs:hunter2",
    "postgres://lrs:hunter2/lrs",
    "postgres:lrs:hunter2@127.0.0.1/lrs",
    "postgres://127.0.0.1:1/lrs?user=lrs&password=hunter2",
    "postgres://127.0.0.1:1/lrs?%70assword=hunter2",
    "postgres://127.0.0.1:1/lrs?passwd=hunter2",
    "postgres://127.0.0.1:1/lrs?sslpassword=hunter2",
    "postgres://127.0.0.1:1/lrs?hunter2",
    "postgresql://lrs:hunter2@[::1/lrs",
    "mysql://lrs:hunter2@127.0.0.1/lrs",
    "lrs:hunter2@127.0.0.1/lrs",
    "//lrs:hunter2@127.0.0.1/lrs",
    "host=127.0.0.1 user=lrs password=hunter2",
    "sqlite://lrs:hunter2@127.0.0.1/lrs?mode=nowhere",
    "sqlite:lrs.db?key=hunter2",
    "",
];

/// Runs a command, which must fail, and must not repeat the password.
#[track_caller]
fn fails_silently(command: &mut Command, directory: &Path) -> String {
    // A server that starts after all ends at once, as its address is taken.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let command = command
        .current_dir(directory)
        .env("LRS_GRPC_LISTEN", taken.local_addr().unwrap().to_string())
        .env("LRS_LOG", "trace")
        .env("RUST_BACKTRACE", "1");
    let output = command.output().unwrap();
    let (out, err) = texts(&output);
    assert!(!out.contains(MARK) && !err.contains(MARK), "{command:?} shows the password:\n{out}{err}");
    assert!(!output.status.success() && !err.is_empty(), "{command:?}\n{out}{err}");
    err
}

#[test]
fn a_wrong_address_is_refused_without_its_password() {
    let directory = tempfile::tempdir().unwrap();
    for address in ADDRESSES.iter().filter(|address| address.contains(MARK)) {
        for line in [&["doctor"][..], &["migrate"], &["migrate", "--check"], &["serve"]] {
            fails_silently(program().args(line).args(["--database-url", address]), directory.path());
            fails_silently(program().args(line).env("LRS_DATABASE_URL", address), directory.path());
        }
        // In the wrong place.
        for line in [&["serve"][..], &["serve", "--shards"], &["serve", "--log-filter"], &["serve", "--retention"]] {
            fails_silently(program().args(line).arg(address), directory.path());
        }
        fails_silently(program().arg("serve").arg(format!("--databse-url={address}")), directory.path());
        for name in ["LRS_SHARDS", "LRS_GRACE_PERIOD", "LRS_DEVICE", "LRS_HTTP_LISTEN", "LRS_ALLOWED_HOSTS"] {
            fails_silently(program().arg("serve").env(name, address), directory.path());
        }
        fails_silently(program().args(["job", "list", "--server", address]), directory.path());
        if address.contains("://") && address.contains('@') {
            // In place of a file or of a name.
            fails_silently(program().args(["serve", "--config", address]), directory.path());
            fails_silently(program().args(["serve", "--log-format", "json", "--config", address]), directory.path());
            fails_silently(program().args(["serve", "--ready-file", address]), directory.path());
            fails_silently(program().args(["job", "register", "-f", address]), directory.path());
            fails_silently(program().args(["job", "get", address]), directory.path());
            fails_silently(program().args(["export", address, "-o", "a.csv"]), directory.path());
        }
        fails_silently(program().args(["export", "a", "-o", "a.csv"]).env("LRS_SERVER", address), directory.path());
    }
}

#[test]
fn a_wrong_file_is_refused_with_the_place_and_without_the_line() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("lrs.toml");
    let refused = |text: &str| {
        fs::write(&file, text).unwrap();
        fails_silently(program().args(["serve", "--config", "lrs.toml"]), directory.path())
    };
    let url = "postgres://lrs:hunter2@127.0.0.1:1/lrs";
    for text in [
        format!("shards = 2\ndatabase_url = \"{url}\n"),
        format!("shards = 2\ndatabase_url = {url}\n"),
        format!("shards = 2\ndatabase_url \"{url}\"\n"),
        format!("shards = 2\ndatabase_url = \"{url}\" and\n"),
        format!("shards = 2\ndatabase_url = \"{url}\\q\"\n"),
        format!("shards = 2\ndatabase_url = ['{url}']\n"),
        format!("shards = 2\ndatabase_url = {{ url = '{url}' }}\n"),
        format!("shards = 2\ndatabase-urls = '{url}'\n"),
        format!("shards = 2\nstale_after = '{url}'\n"),
        format!("shards = 2\nlog_format = '{url}'\n"),
        format!("shards = 2\nmax_calls = '{url}'\n"),
        format!("shards = 2\nallowed_hosts = ['{url}']\n"),
        format!("shards = 2\n\"{url}\" = 1\n"),
        format!("shards = 2\nretention = {{ default = '{url}' }}\n"),
        format!("shards = 2\nshards = 2 # {url}\n"),
    ] {
        let told = refused(&text);
        assert!(told.contains("line 2"), "{text}\n{told}");
    }
    refused(&format!("database_url = '{url}'\n[nothing]\n"));
    refused(&format!("database_url = '{url}'\nshards = 'many'\n"));
    for address in ADDRESSES.iter().filter(|address| address.contains(MARK)) {
        refused(&format!("database_url = {address:?}\n"));
    }
}

#[test]
fn the_variables_of_postgresql_are_not_shown() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("pgpass");
    let without = "postgres://lrs@127.0.0.1:1/lrs";
    for line in ["doctor", "migrate", "serve"] {
        let with_address = || {
            let mut command = program();
            command.args([line, "--database-url", without]);
            command
        };
        fails_silently(with_address().env("PGPASSWORD", "hunter2"), directory.path());
        for text in ["127.0.0.1:1:*:lrs:hunter2\n", "hunter2\n", "127.0.0.1:port:hunter2\n", "a:b:c:d:e:hunter2\\"] {
            fs::write(&file, text).unwrap();
            fails_silently(with_address().env("PGPASSFILE", &file), directory.path());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_shows_its_password_nowhere() {
    let postgres = TestPostgres::shared();
    let url = postgres.create_database().await;
    let joint = if url.contains('?') { '&' } else { '?' };
    let url = format!("{url}{joint}password={MARK}");
    for format in ["text", "json"] {
        let mut server = Server::with(&url, &["--log-filter", "trace", "--log-format", format]).await;
        server.register(format, spec(0.1)).await;
        let mut shown = String::new();
        for (method, path, body) in [
            ("GET", "/metrics", ""),
            ("GET", "/readyz", ""),
            ("GET", "/", ""),
            ("GET", "/v1/namespaces/test/jobs", ""),
            ("GET", "/v1/namespaces/test/jobs/none", ""),
            ("POST", "/v1/namespaces/test/jobs?job_id=a", "{"),
            ("GET", "/v1/namespaces/test/jobs?filter=%00", ""),
        ] {
            shown.push_str(&server.http_request(method, path, body).await.1);
        }
        for line in [&["doctor"][..], &["doctor", "--format", "json"], &["migrate", "--check"]] {
            let (out, err) = texts(&program().args(line).args(["--database-url", &url]).output().unwrap());
            shown.extend([out, err]);
        }
        server.terminate().await;
        let log = server.log();
        assert!(log.contains("TRACE") && log.contains("***"), "the log is not whole: {}", &log[..log.len().min(2000)]);
        for text in [&shown, &log] {
            let place = text.find(MARK).map(|at| &text[at.saturating_sub(200)..(at + 200).min(text.len())]);
            assert_eq!(place, None, "the password is shown");
        }
    }
}
