//! A private PostgreSQL server for tests, started from the machine's own binaries. The server and its files are removed
//! when its owner ends, even if the owner is killed.

#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::{
    ffi::OsStr,
    fs, io,
    os::unix::{fs::MetadataExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
};

use rustix::{
    io::Errno,
    process::{Pid, Signal, kill_process},
};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};
use tempfile::TempDir;

/// The failure of a test on a machine without PostgreSQL.
const MISSING: &str = "these tests need PostgreSQL's server: `apt-get install postgresql` (Debian, Ubuntu), or put the \
                       directory of `initdb` and `pg_ctl` into PATH";

/// How often a start is tried.
const START_TRIES: usize = 3;
/// The bytes of the server's log that a failure shows.
const MOST_LOGGED: usize = 4000;

/// Waits until the test's end of the pipe is closed (the kernel closes it when the test dies), then stops the server
/// and removes its files. `$1` is `pg_ctl`, `$2` the directory.
const WATCHDOG: &str = r#"
trap '' INT TERM HUP
cat >/dev/null
"$1" stop --silent --mode=immediate --pgdata="$2/data" >/dev/null 2>&1
rm -rf "$2"
"#;

/// A private server. It listens on a socket in its own directory only, so it cannot collide with another server, and
/// its URLs stay the same when it is restarted.
pub struct TestPostgres {
    binaries: Binaries,
    user: Option<&'static str>,
    directory: TempDir,
    watchdog: Child,
    databases: AtomicU32,
}

impl TestPostgres {
    /// The server that all tests of this process share.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<TestPostgres> = OnceLock::new();
        SHARED.get_or_init(|| Self::private(&[]))
    }

    /// A server that only the caller uses, and may stop and start. An example of `settings` is `fsync=off`.
    pub fn private(settings: &[&str]) -> Self {
        let binaries = Binaries::find();
        let user = unprivileged_user();
        // A socket's path has at most some 100 bytes, so the directory is not under TMPDIR, which may be long.
        let directory = tempfile::Builder::new().prefix("lrs-postgres-").tempdir_in("/tmp").expect("a directory");
        if let Some(user) = user {
            chown(directory.path(), user);
        }
        let watchdog = as_user(user, "sh")
            .args(["-c", WATCHDOG, "watchdog"])
            .args([binaries.pg_ctl.as_os_str(), directory.path().as_os_str()])
            .stdin(Stdio::piped())
            .process_group(0)
            .spawn()
            .expect("sh");
        assert!(watchdog.stdin.is_some(), "a pipe to the watchdog");
        let server = Self { binaries, user, directory, watchdog, databases: AtomicU32::new(0) };
        let data = server.data();
        run(as_user(user, &server.binaries.initdb).arg("--pgdata").arg(&data).args([
            "--username=lrs",
            "--auth=trust",
            "--encoding=UTF8",
            "--locale=C",
            "--no-sync",
        ]));
        let socket_directory = server.directory.path().display();
        let mut configuration = format!("listen_addresses = ''\nunix_socket_directories = '{socket_directory}'\n");
        for setting in settings {
            configuration.push_str(setting);
            configuration.push('\n');
        }
        fs::write(server.directory.path().join("test.conf"), configuration).expect("a file");
        let include = format!("include '{socket_directory}/test.conf'\n");
        let main = data.join("postgresql.conf");
        let mut text = fs::read_to_string(&main).expect("postgresql.conf");
        text.push_str(&include);
        fs::write(&main, text).expect("postgresql.conf");
        server.start();
        server
    }

    /// Creates an empty database, and returns its URL.
    pub async fn create_database(&self) -> String {
        let name = format!("test_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        let mut connection = PgConnection::connect(&self.url("postgres")).await.expect("a connection");
        connection.execute(AssertSqlSafe(format!("create database {name}"))).await.expect("a database");
        connection.close().await.expect("a closed connection");
        self.url(&name)
    }

    /// A program that comes with the server, such as `pg_dump`.
    pub fn program(&self, name: &str) -> Command {
        Command::new(self.binaries.initdb.with_file_name(name))
    }

    /// Starts the server after it was stopped, and waits until it answers.
    pub fn start(&self) {
        let log = self.directory.path().join("server.log");
        let mut failures = Vec::new();
        while failures.len() < START_TRIES {
            let Err(why) = try_run(self.pg_ctl("start").arg("--log").arg(&log)) else { return };
            let logged = fs::read(&log).unwrap_or_default();
            let logged = String::from_utf8_lossy(&logged[logged.len().saturating_sub(MOST_LOGGED)..]).into_owned();
            eprintln!("PostgreSQL does not start: {why}\n{logged}");
            failures.push(why + "\n" + &logged);
            // A start that took too long may still be under way.
            let _ = try_run(self.pg_ctl("stop").arg("--mode=immediate"));
        }
        panic!("PostgreSQL does not start in {START_TRIES} tries:\n{}", failures.join("\n"));
    }

    /// Stops the server as a crash would: connections are cut, and nothing more is written.
    pub fn stop_immediate(&self) {
        run(self.pg_ctl("stop").arg("--mode=immediate"));
    }

    /// Stops all processes of the server where they are: connections are accepted, and nothing is answered.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets the processes go on.
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// Sends a signal to all processes of the server, and returns their numbers.
    fn signal(&self, signal: Signal) -> Vec<String> {
        let lock = fs::read_to_string(self.data().join("postmaster.pid")).expect("postmaster.pid");
        let postmaster = lock.lines().next().expect("the postmaster's number");
        let send = |process: &str, signal| {
            let process = process.parse().ok().and_then(Pid::from_raw).expect("a process's number");
            match kill_process(process, signal) {
                Ok(()) | Err(Errno::SRCH) => {}
                Err(error) => panic!("signal {process:?}: {error}"),
            }
        };
        // A stopped postmaster starts no further children after they are listed.
        send(postmaster, Signal::STOP);
        let children =
            fs::read_to_string(format!("/proc/{postmaster}/task/{postmaster}/children")).expect("its children");
        let processes = children.split_whitespace().chain([postmaster]);
        processes
            .map(|process| {
                send(process, signal);
                process.to_owned()
            })
            .collect()
    }

    /// Kills all processes of the server with SIGKILL, and waits until they are gone.
    pub fn kill(&self) {
        let processes = self.signal(Signal::KILL);
        // Each process holds the shared memory until it is gone.
        let is_there = |stat: String| !stat.contains(") Z ");
        for process in processes {
            while fs::read_to_string(format!("/proc/{process}/stat")).is_ok_and(is_there) {
                std::thread::yield_now();
            }
        }
        // Zombies stay in the process table, and the next start would take the process in a lock file for alive.
        for lock in [self.data().join("postmaster.pid"), self.directory.path().join(".s.PGSQL.5432.lock")] {
            fs::remove_file(lock).expect("a lock file");
        }
    }

    /// A copy of all data as it is now. The server is restarted, which cuts all connections.
    pub fn copy(&self) -> TempDir {
        run(self.pg_ctl("stop").arg("--mode=fast"));
        let copy = tempfile::Builder::new().prefix("copy-").tempdir_in(self.directory.path()).expect("a directory");
        run(Command::new("cp").args(["--archive", "--no-target-directory"]).args([&self.data(), copy.path()]));
        self.start();
        copy
    }

    /// Puts a copy in the place of the data, as after a failover to a standby that had not received the newest commits.
    pub fn restore(&self, copy: TempDir) {
        run(self.pg_ctl("stop").arg("--mode=immediate"));
        fs::remove_dir_all(self.data()).expect("the data removed");
        fs::rename(copy.keep(), self.data()).expect("the copy in place");
        self.start();
    }

    /// Stops the server, cutting connections, and starts it again.
    pub fn restart(&self) {
        run(self.pg_ctl("stop").arg("--mode=fast"));
        self.start();
    }

    fn pg_ctl(&self, action: &str) -> Command {
        let mut command = as_user(self.user, &self.binaries.pg_ctl);
        command.args([action, "--silent", "--wait", "--timeout=120", "--pgdata"]).arg(self.data());
        command
    }

    fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// The server's socket, for a proxy in front of it.
    pub fn socket(&self) -> PathBuf {
        self.directory.path().join(".s.PGSQL.5432")
    }

    fn url(&self, database: &str) -> String {
        format!("postgres://lrs@localhost/{database}?host={}", self.directory.path().display())
    }
}

impl Drop for TestPostgres {
    fn drop(&mut self) {
        if self.data().join("postmaster.pid").exists() {
            self.thaw();
        }
        drop::<Option<ChildStdin>>(self.watchdog.stdin.take());
        if let Err(error) = self.watchdog.wait() {
            eprintln!("the watchdog of a test server: {error}");
        }
    }
}

struct Binaries {
    initdb: PathBuf,
    pg_ctl: PathBuf,
}

impl Binaries {
    /// The programs in PATH, or else the newest ones that Debian has installed.
    fn find() -> Self {
        let mut installed: Vec<(u32, PathBuf)> = fs::read_dir("/usr/lib/postgresql")
            .into_iter()
            .flatten()
            .filter_map(|entry| {
                let entry = entry.ok()?;
                Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin")))
            })
            .collect();
        installed.sort();
        let found = [PathBuf::new()].into_iter().chain(installed.into_iter().rev().map(|(_, path)| path));
        found
            .map(|directory| Self { initdb: directory.join("initdb"), pg_ctl: directory.join("pg_ctl") })
            .find(|binaries| answers(&binaries.initdb) && answers(&binaries.pg_ctl))
            .expect(MISSING)
    }
}

fn answers(program: &Path) -> bool {
    Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success())
}

/// The user that runs the server: PostgreSQL refuses to run as root.
fn unprivileged_user() -> Option<&'static str> {
    let is_root = fs::metadata("/proc/self").is_ok_and(|metadata| metadata.uid() == 0);
    let exists = |user: &&str| id(user).is_ok();
    is_root.then(|| ["postgres", "nobody"].into_iter().find(exists).expect("a user `postgres` or `nobody`"))
}

fn id(user: &str) -> io::Result<u32> {
    let output = Command::new("id").args(["-u", user]).output()?;
    String::from_utf8_lossy(&output.stdout).trim().parse().map_err(io::Error::other)
}

fn chown(path: &Path, user: &str) {
    let uid = id(user).expect("the user's identifier");
    std::os::unix::fs::chown(path, Some(uid), None).expect("a directory given to the user");
}

fn as_user(user: Option<&str>, program: impl AsRef<OsStr>) -> Command {
    let mut command = match user {
        None => Command::new(program),
        Some(user) => {
            let mut command = Command::new("runuser");
            command.args(["-u", user, "--"]).arg(program);
            command
        }
    };
    command.current_dir("/");
    command
}

/// Runs a command that must succeed.
fn run(command: &mut Command) {
    try_run(command).unwrap_or_else(|why| panic!("{why}"));
}

/// Runs a command; the error is the command, its status and its output. The output goes to a file, because a server
/// that the command starts would hold a pipe open.
fn try_run(command: &mut Command) -> Result<(), String> {
    let mut output = tempfile::tempfile().expect("a file");
    let write = || output.try_clone().expect("a file");
    let status = command.stdin(Stdio::null()).stdout(write()).stderr(write()).process_group(0).status();
    if matches!(&status, Ok(status) if status.success()) {
        return Ok(());
    }
    let text = io::Seek::rewind(&mut output).and_then(|()| io::read_to_string(output));
    Err(format!("{command:?}: {status:?}\n{}", text.unwrap_or_default()))
}
