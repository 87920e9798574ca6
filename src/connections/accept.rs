//! The connections that arrive at a listener.

use std::{io, time::Duration};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::{TcpListener, TcpStream};

/// The pause after a failure of the system, such as too many open files.
const PAUSE: Duration = Duration::from_millis(100);

/// The next connection. A broken connection, or a system that is short of something for a while, does not stop later
/// connections. Cancel safe.
pub(super) async fn next(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            // The client has hung up already.
            Err(problem) if problem.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(problem) => {
                tracing::warn!(%problem, "A connection cannot be accepted: {problem}");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// Raises the limit of open files as far as the system allows. Each connection is an open file, and the usual limit of
/// 1024 is for programs that cannot handle more. If the limit cannot be raised, it stays as it is.
pub fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    if let Err(problem) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        tracing::debug!(%problem, "The limit of open files stays as it is");
    }
}
