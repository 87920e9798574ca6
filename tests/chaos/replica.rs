//! A server process and its supervisor, which starts it again whenever it ends, as a cluster does.

use std::{
    fs::File,
    net::SocketAddr,
    path::PathBuf,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    process::Command,
    sync::watch,
};
use tokio_util::task::AbortOnDropHandle;

use crate::{
    planted::{self, Plant},
    proxy::{Network, Proxy},
};

/// The pause before a process that ended is started again.
const PAUSE: Duration = Duration::from_millis(100);
/// How long a probe of readiness may take.
const PROBE: Duration = Duration::from_secs(1);
/// The longest wait for a process to end in order; its own grace period is shorter.
const PATIENCE: Duration = Duration::from_mins(1);

/// A replica: at most one process at a time, at addresses that stay.
pub struct Replica {
    pub grpc: SocketAddr,
    pub http: SocketAddr,
    /// The network between trainers and this server.
    pub trainers: Network,
    /// The network between this server and its database. It does nothing if the database is a file.
    pub database: Network,
    /// The role that the server has in PostgreSQL.
    pub role: String,
    directory: tempfile::TempDir,
    state: watch::Sender<State>,
    _database_proxy: Option<Proxy>,
    _supervisor: AbortOnDropHandle<()>,
}

/// The state of the process.
#[derive(Clone, Copy, Debug, Default)]
struct State {
    is_wanted: bool,
    process: Option<Pid>,
    /// How the last process ended.
    ended: Option<ExitStatus>,
}

impl Replica {
    /// Starts a replica over a database, which it reaches over the network `database` and perhaps through a proxy.
    pub fn start(
        number: usize,
        plant: Option<Plant>,
        database_url: &str,
        database: Network,
        proxy: Option<Proxy>,
    ) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let [grpc, http] = free_addresses();
        let state = watch::Sender::new(State { is_wanted: true, ..State::default() });
        let program =
            Program { plant, grpc, http, database_url: database_url.to_owned(), log: directory.path().join("log") };
        let supervisor = AbortOnDropHandle::new(tokio::spawn(supervise(program, state.clone())));
        let (trainers, role) = (Network::default(), role(number));
        Self { grpc, http, trainers, database, role, directory, state, _database_proxy: proxy, _supervisor: supervisor }
    }

    /// The number of the process, if there is one.
    pub fn process(&self) -> Option<Pid> {
        self.state.borrow().process
    }

    /// Sends the process a signal, if there is a process.
    pub fn signal(&self, signal: Signal) {
        if let Some(process) = self.process() {
            // It may have ended by itself.
            let _ = kill_process(process, signal);
        }
    }

    /// Waits until there is another process than `before`.
    pub async fn another(&self, before: Option<Pid>) {
        let is_other = |state: &State| state.process.is_some() && state.process != before;
        let _ = tokio::time::timeout(PATIENCE, self.state.subscribe().wait_for(is_other)).await;
    }

    /// Stops the process in order, and starts no other. Returns its exit code.
    pub async fn retire(&self) -> Option<i32> {
        self.state.send_modify(|state| state.is_wanted = false);
        self.signal(Signal::TERM);
        let mut state = self.state.subscribe();
        let ended = tokio::time::timeout(PATIENCE, state.wait_for(|state| state.process.is_none())).await;
        ended.ok()?.ok()?.ended?.code()
    }

    /// Kills the process, and starts no other.
    pub async fn remove(&self) {
        self.state.send_modify(|state| state.is_wanted = false);
        self.signal(Signal::KILL);
        let _ = self.state.subscribe().wait_for(|state| state.process.is_none()).await;
    }

    /// Starts processes again.
    pub fn restore(&self) {
        self.state.send_modify(|state| state.is_wanted = true);
    }

    /// Everything that the processes have logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }

    /// Whether the process says that it is ready.
    pub async fn is_ready(&self) -> bool {
        is_ready(self.http).await
    }
}

/// The role of a replica in PostgreSQL, which tells its sessions from those of the others.
pub fn role(number: usize) -> String {
    format!("server{number}")
}

/// Asks for `/readyz`.
pub async fn is_ready(http: SocketAddr) -> bool {
    let answer = async {
        let mut socket = TcpStream::connect(http).await.ok()?;
        let request = format!("GET /readyz HTTP/1.1\r\nhost: {http}\r\nconnection: close\r\n\r\n");
        socket.write_all(request.as_bytes()).await.ok()?;
        let mut answer = Vec::new();
        socket.read_to_end(&mut answer).await.ok()?;
        Some(answer.starts_with(b"HTTP/1.1 200 "))
    };
    matches!(tokio::time::timeout(PROBE, answer).await, Ok(Some(true)))
}

/// Addresses that were free just now. If somebody else takes one meanwhile, a later start of the supervisor succeeds.
fn free_addresses() -> [SocketAddr; 2] {
    let listeners = ["127.0.0.1:0"; 2].map(|address| std::net::TcpListener::bind(address).unwrap());
    listeners.map(|listener| listener.local_addr().unwrap())
}

/// The program that a supervisor starts.
struct Program {
    plant: Option<Plant>,
    grpc: SocketAddr,
    http: SocketAddr,
    database_url: String,
    log: PathBuf,
}

impl Program {
    fn command(&self) -> Command {
        let log = File::options().create(true).append(true).open(&self.log).unwrap();
        let mut command = match self.plant {
            None => Command::new(env!("CARGO_BIN_EXE_lrs")),
            Some(_) => Command::new(std::env::current_exe().unwrap()),
        };
        match self.plant {
            None => command.arg("serve"),
            Some(plant) => command.args([planted::SERVE, &plant.name()]),
        };
        command
            .args(["--grpc-listen", &self.grpc.to_string(), "--http-listen", &self.http.to_string()])
            .args(["--database-url", &self.database_url])
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .kill_on_drop(true);
        command
    }
}

async fn supervise(program: Program, state: watch::Sender<State>) {
    let mut wanted = state.subscribe();
    while wanted.wait_for(|state| state.is_wanted).await.is_ok() {
        let mut child = program.command().spawn().expect("the program");
        let process = child.id().and_then(|number| Pid::from_raw(number.cast_signed()));
        state.send_modify(|state| state.process = process);
        let ended = child.wait().await.expect("the end of the program");
        state.send_modify(|state| {
            state.process = None;
            state.ended = Some(ended);
        });
        tokio::time::sleep(PAUSE).await;
    }
}
