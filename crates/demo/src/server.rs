//! The demo's private server: `lrs serve` on free ports with a database of its own.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;
use tokio::{
    process::{Child, Command},
    time::{interval, timeout},
};

use super::{error::Error, launcher::Launcher, logs};

const READY_TIMEOUT: Duration = Duration::from_mins(1);
const READY_POLL: Duration = Duration::from_millis(20);
const STOP_TIMEOUT: Duration = Duration::from_secs(15);
const NAME: &str = "the server";

/// What `lrs serve --ready-file` writes once it answers.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
struct Ready {
    grpc: String,
    http: String,
    pid: u32,
}

/// A running private server. Dropping it kills it.
pub struct PrivateServer {
    child: Child,
    ready: Ready,
    log: PathBuf,
    kept: bool,
}

impl PrivateServer {
    /// Starts a server in the demo's directory and waits until it answers.
    pub async fn start(launcher: &Launcher) -> Result<Self, Error> {
        let log = launcher.log("server");
        let ready_file = launcher.directory.join("ready.json");
        let database = launcher.directory.join("lrs.db");
        let (stdout, stderr) = logs::outputs_to(&log)?;
        let child = Command::new(&launcher.program)
            .arg("serve")
            .arg("--database-url")
            .arg(format!("sqlite://{}", database.display()))
            .args(["--grpc-listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0", "--ready-file"])
            .arg(&ready_file)
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(stderr)
            // A group of its own: the terminal's Ctrl-C is for the demo, which stops the server in its own time.
            .process_group(0)
            .spawn()
            .map_err(|source| Error::Process { what: NAME.to_owned(), source })?;
        let ready = Ready { grpc: String::new(), http: String::new(), pid: 0 };
        let mut server = Self { child, ready, log, kept: false };
        server.ready = match timeout(READY_TIMEOUT, server.until_ready(&ready_file)).await {
            Ok(ready) => ready?,
            Err(_) => {
                return Err(Error::NotReady { seconds: READY_TIMEOUT.as_secs(), log: logs::tail(&server.log) });
            }
        };
        Ok(server)
    }

    async fn until_ready(&mut self, file: &Path) -> Result<Ready, Error> {
        let mut ticks = interval(READY_POLL);
        loop {
            tokio::select! {
                error = self.failure() => return Err(error),
                _ = ticks.tick() => {}
            }
            let text = tokio::fs::read_to_string(file).await.unwrap_or_default();
            // A newline or brace may not be there yet while the file is being written.
            if text.trim_end().ends_with('}') {
                return serde_json::from_str(&text).map_err(|source| Error::ReadyFile { text, source });
            }
        }
    }

    /// Waits until the server ends by itself, which is an error.
    pub async fn failure(&mut self) -> Error {
        match self.child.wait().await {
            Ok(status) => Error::Ended { what: NAME.to_owned(), status, log: logs::tail(&self.log) },
            Err(source) => Error::Process { what: NAME.to_owned(), source },
        }
    }

    /// Where trainers and operators reach it.
    pub fn grpc_url(&self) -> String {
        format!("http://{}", self.ready.grpc)
    }

    /// Stops the server and waits for it; kills it if it takes too long.
    pub async fn stop(mut self) {
        let pid = self.child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        // It may have ended already: then there is nothing to tell and nothing to wait for.
        if let Some(pid) = pid
            && kill_process(pid, Signal::TERM).is_ok()
        {
            let _ = timeout(STOP_TIMEOUT, self.child.wait()).await;
        }
    }

    /// Lets the server run on after the demo.
    pub fn keep(mut self) -> Kept {
        self.kept = true;
        Kept { ready: self.ready.clone() }
    }
}

impl Drop for PrivateServer {
    fn drop(&mut self) {
        if !self.kept {
            // An error means that it has ended already.
            let _ = self.child.start_kill();
        }
    }
}

/// A private server that outlives the demo.
pub struct Kept {
    ready: Ready,
}

impl Kept {
    /// Where its dashboard and JSON are.
    pub fn http_url(&self) -> String {
        format!("http://{}", self.ready.http)
    }

    /// How to stop it and throw its data away.
    pub fn how_to_stop(&self, directory: &Path) -> String {
        format!(
            "The server is up (process {pid}); its data and logs are in {directory}.\n\
             Stop it with:         kill {pid}\n\
             Then remove its data: rm -r {directory}",
            pid = self.ready.pid,
            directory = directory.display()
        )
    }
}
