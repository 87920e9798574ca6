//! Why a demo failed.

use std::{io, path::PathBuf, process::ExitStatus};

use tonic::Status;

use super::data::DamagedLine;
use lrs_client as client;

/// Why a demo, or one of its trainers, failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No temporary directory could be made.
    #[error("cannot make a temporary directory")]
    Directory(#[source] io::Error),
    /// A process could not be started or waited for.
    #[error("cannot run {what}")]
    Process {
        /// The server, or a trainer.
        what: String,
        /// Why.
        source: io::Error,
    },
    /// A file of the demo cannot be read or written.
    #[error("cannot use {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The private server or a trainer ended when it should not have.
    #[error("{what} ended ({status}); the end of its log:\n{log}")]
    Ended {
        /// The server, or a trainer.
        what: String,
        /// How.
        status: ExitStatus,
        /// The last lines it wrote.
        log: String,
    },
    /// The private server did not become ready.
    #[error("the server was not ready after {seconds} s; the end of its log:\n{log}")]
    NotReady {
        /// How long was waited.
        seconds: u64,
        /// The last lines it wrote.
        log: String,
    },
    /// The private server's ready file says something else than was agreed.
    #[error("cannot understand the server's ready file {text:?}")]
    ReadyFile {
        /// What it says.
        text: String,
        /// Why.
        source: serde_json::Error,
    },
    /// The endpoint is not a URL.
    #[error("{endpoint:?} is not an endpoint such as http://127.0.0.1:50051")]
    Endpoint {
        /// What was given.
        endpoint: String,
        /// Why.
        source: tonic::transport::Error,
    },
    /// The server refused a call, or was away for too long.
    #[error("{what}: {} ({:?})", status.message(), status.code())]
    Call {
        /// What was asked for.
        what: String,
        /// What the server said.
        status: Status,
    },
    /// The server does not have all that the trainer saw acknowledged.
    #[error("the server's record of {job} ends at step {last:?}, not at {expected}")]
    RecordIncomplete {
        /// The job.
        job: String,
        /// The last evaluation's step.
        last: Option<i64>,
        /// Where it should be.
        expected: u64,
    },
    /// The data that the program carries is damaged.
    #[error(transparent)]
    Data(#[from] DamagedLine),
    /// A trainer's connection failed.
    #[error(transparent)]
    Client(#[from] client::Error),
    /// The training loop panicked.
    #[error("the training loop failed")]
    Training(#[source] tokio::task::JoinError),
    /// The outcome cannot be encoded.
    #[error("cannot encode the outcome")]
    Encode(#[source] serde_json::Error),
    /// Standard output is closed.
    #[error("cannot print")]
    Print(#[source] io::Error),
    /// Signals cannot be listened to.
    #[error("cannot listen to signals")]
    Signals(#[source] io::Error),
    /// Somebody ended the demo.
    #[error("interrupted")]
    Interrupted,
}
