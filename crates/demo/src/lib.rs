//! What `lrs demo` does: real training against a private server, scheduled beside unscheduled, and what came of it.
//!
//! The server and the trainers are processes of their own: the demo starts them and talks to them over gRPC alone.

mod data;
mod error;
mod experiment;
mod job;
mod launcher;
mod logs;
mod network;
mod operator;
mod outcome;
mod progress;
mod report;
mod say;
mod server;
mod table;
mod trainer;
mod trainers;

use std::{io::Write as _, path::PathBuf, pin::pin};

use tokio::signal::unix::{SignalKind, signal};

pub use self::{error::Error, trainer::train};
use self::{
    job::JobOutcome,
    launcher::Launcher,
    operator::Operator,
    outcome::Outcome,
    say::say,
    server::{Kept, PrivateServer},
    trainers::Trainers,
};

/// A demo to run: six small networks train at once, half of them scheduled, and are compared.
#[derive(Clone, Debug)]
pub struct Demo {
    /// The `lrs` program. `PROGRAM serve` starts the private server, `PROGRAM demo --trainer JOB --seed N --server URL`
    /// a trainer.
    pub program: PathBuf,
    /// The server to train against, such as `http://127.0.0.1:50051`; a private one if `None`.
    pub server: Option<String>,
    /// Whether the private server stays up afterwards, with its data.
    pub keep: bool,
    /// How the outcome is printed.
    pub format: Format,
    /// Where the audit report goes; to a new file in the temporary directory if `None`.
    pub report: Option<PathBuf>,
}

/// What the demo prints at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Tables for people.
    Table,
    /// One JSON document.
    Json,
}

impl Demo {
    /// Runs the demo.
    ///
    /// # Errors
    /// If the server, a trainer or a call to the server fails, or the demo is interrupted. All processes that it
    /// started are stopped then.
    pub async fn run(&self) -> Result<(), Error> {
        let directory = tempfile::Builder::new().prefix("lrs-demo-").tempdir().map_err(Error::Directory)?;
        let launcher = Launcher { program: self.program.clone(), directory: directory.path().to_owned() };
        let kept = match &self.server {
            Some(endpoint) => {
                self.on_their_server(endpoint, &launcher).await?;
                None
            }
            None => self.on_our_server(&launcher).await?,
        };
        if let Some(server) = kept {
            say(&server.how_to_stop(&directory.keep()));
        }
        Ok(())
    }

    /// The demo against the user's server.
    async fn on_their_server(&self, endpoint: &str, launcher: &Launcher) -> Result<(), Error> {
        // The server may have the jobs of an earlier demo.
        let label = uuid::Uuid::now_v7().simple().to_string();
        let outcome = tokio::select! {
            compared = self.train_and_compare(endpoint, Some(&label), launcher) => compared?,
            error = interruption() => return Err(error),
        };
        self.print(&outcome, &table::where_to_look(endpoint, None))
    }

    /// The demo against a private server, which is returned if it is to be kept.
    async fn on_our_server(&self, launcher: &Launcher) -> Result<Option<Kept>, Error> {
        let mut interrupted = pin!(interruption());
        say("Starting a private server.");
        let mut server = tokio::select! {
            server = PrivateServer::start(launcher) => server?,
            error = &mut interrupted => return Err(error),
        };
        let endpoint = server.grpc_url();
        let compared = tokio::select! {
            compared = self.train_and_compare(&endpoint, None, launcher) => compared,
            error = server.failure() => Err(error),
            error = &mut interrupted => Err(error),
        };
        match compared {
            Ok(outcome) if self.keep => {
                let kept = server.keep();
                self.print(&outcome, &table::where_to_look(&endpoint, Some(&kept.http_url())))?;
                Ok(Some(kept))
            }
            Ok(outcome) => {
                server.stop().await;
                self.print(&outcome, table::HOW_TO_KEEP)?;
                Ok(None)
            }
            Err(error) => {
                server.stop().await;
                Err(error)
            }
        }
    }

    /// Registers the jobs, trains them all at once, completes them and reads the server's record of them.
    async fn train_and_compare(
        &self,
        endpoint: &str,
        label: Option<&str>,
        launcher: &Launcher,
    ) -> Result<Outcome, Error> {
        let operator = Operator::new(endpoint)?;
        let runs = experiment::runs(label);
        for run in &runs {
            operator.create_job(run).await?;
        }
        let mut trainers = Trainers::start(endpoint, &runs, launcher)?;
        tokio::select! {
            trained = trainers.finished() => trained?,
            error = progress::show(&operator, &runs) => return Err(error),
        }
        for remark in trainers.remarks() {
            say(&remark);
        }
        let mut jobs = Vec::with_capacity(runs.len());
        for run in &runs {
            operator.complete_job(run).await?;
            jobs.push(JobOutcome::read(&operator, run).await?);
        }
        let experiment = runs.first().map_or("", |run| &run.experiment);
        let path = report::write(&operator.report(experiment).await?, self.report.as_deref())?;
        say(&format!("The audit report is in {}: open it in a browser.", path.display()));
        Ok(Outcome::of(jobs))
    }

    fn print(&self, outcome: &Outcome, further: &str) -> Result<(), Error> {
        let text = match self.format {
            Format::Table => format!("{}\n{further}", table::render(outcome)),
            Format::Json => {
                say(further);
                serde_json::to_string_pretty(outcome).map_err(Error::Encode)?
            }
        };
        writeln!(std::io::stdout().lock(), "{text}").map_err(Error::Print)
    }
}

/// Waits until the user ends the demo.
async fn interruption() -> Error {
    let mut terminate = match signal(SignalKind::terminate()) {
        Ok(terminate) => terminate,
        Err(error) => return Error::Signals(error),
    };
    tokio::select! {
        pressed = tokio::signal::ctrl_c() => pressed.map_or_else(Error::Signals, |()| Error::Interrupted),
        _ = terminate.recv() => Error::Interrupted,
    }
}
