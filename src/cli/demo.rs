//! `lrs demo`: real training against a private server, scheduled beside unscheduled, and what came of it.
//!
//! The server and the trainers are processes of their own, and everything between them and this one is gRPC.

mod data;
mod error;
mod experiment;
mod logs;
mod network;
mod operator;
mod outcome;
mod progress;
mod report;
mod server;
mod summary;
mod table;
mod trainer;
mod trainers;

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    pin::pin,
};

use tokio::signal::unix::{SignalKind, signal};

pub use self::error::Error;
use self::{
    operator::Operator,
    outcome::JobOutcome,
    server::{Kept, PrivateServer},
    summary::Summary,
    trainers::Trainers,
};

/// Trains six small networks at once, half of them scheduled, and compares.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Examples:
  lrs demo                                    under a private server, which is stopped afterwards
  lrs demo --keep                             the server and its data stay up
  lrs demo --format json                      the result as one JSON document
  lrs demo --report digits.html               the audit report goes there
  lrs demo --server http://127.0.0.1:50051    under a server that runs already")]
pub struct Args {
    /// Leave the server and its data up afterwards, and say how to reach and stop it.
    #[arg(long, conflicts_with = "server")]
    keep: bool,
    /// What to print at the end.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    /// Write the audit report of the experiment, a page, to this file [default: one in the temporary directory].
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Train against this server (such as `http://127.0.0.1:50051`) instead of a private one.
    #[arg(long, value_name = "URL")]
    server: Option<String>,
    /// Be a trainer of this job: how the demo starts its trainers.
    #[arg(long, value_name = "JOB", hide = true, requires_all = ["seed", "server"])]
    trainer: Option<String>,
    /// The trainer's random seed.
    #[arg(long, hide = true)]
    seed: Option<u64>,
}

/// What the demo prints at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Tables for people.
    Table,
    /// One JSON document.
    Json,
}

/// Runs the demo, or one of its trainers.
///
/// # Errors
/// If the server, a trainer or a call to the server fails, or the demo is interrupted. What was started is stopped then.
pub async fn run(args: &Args) -> Result<(), Error> {
    if let (Some(job), Some(seed), Some(server)) = (&args.trainer, args.seed, &args.server) {
        return trainer::run(server, job, seed).await;
    }
    let directory = tempfile::Builder::new().prefix("lrs-demo-").tempdir().map_err(Error::Directory)?;
    let program = std::env::current_exe().map_err(Error::Program)?;
    let place = Place { program: &program, directory: directory.path() };
    let kept = match &args.server {
        Some(endpoint) => {
            on_their_server(args, endpoint, &place).await?;
            None
        }
        None => on_our_server(args, &place).await?,
    };
    if let Some(server) = kept {
        say(&server.how_to_stop(&directory.keep()));
    }
    Ok(())
}

/// Where the demo finds itself and puts things.
struct Place<'a> {
    program: &'a Path,
    directory: &'a Path,
}

impl Place<'_> {
    fn log(&self, name: &str) -> PathBuf {
        self.directory.join(format!("{name}.log"))
    }
}

/// The demo against somebody's server.
async fn on_their_server(args: &Args, endpoint: &str, place: &Place<'_>) -> Result<(), Error> {
    // The server may have the jobs of an earlier demo.
    let label = uuid::Uuid::now_v7().simple().to_string();
    let summary = tokio::select! {
        compared = train_and_compare(args, endpoint, Some(&label), place) => compared?,
        error = interruption() => return Err(error),
    };
    print(args, &summary, &table::where_to_look(endpoint, None))
}

/// The demo against a private server, which is given back if it is to be kept.
async fn on_our_server(args: &Args, place: &Place<'_>) -> Result<Option<Kept>, Error> {
    let mut interrupted = pin!(interruption());
    say("Starting a private server.");
    let mut server = tokio::select! {
        server = PrivateServer::start(place) => server?,
        error = &mut interrupted => return Err(error),
    };
    let endpoint = server.grpc_url();
    let compared = tokio::select! {
        compared = train_and_compare(args, &endpoint, None, place) => compared,
        error = server.failure() => Err(error),
        error = &mut interrupted => Err(error),
    };
    match compared {
        Ok(summary) if args.keep => {
            let kept = server.keep();
            print(args, &summary, &table::where_to_look(&endpoint, Some(&kept.http_url())))?;
            Ok(Some(kept))
        }
        Ok(summary) => {
            server.stop().await;
            print(args, &summary, table::HOW_TO_KEEP)?;
            Ok(None)
        }
        Err(error) => {
            server.stop().await;
            Err(error)
        }
    }
}

/// Registers the jobs, trains them all at once, ends them and reads back what the server has on record.
async fn train_and_compare(
    args: &Args,
    endpoint: &str,
    label: Option<&str>,
    place: &Place<'_>,
) -> Result<Summary, Error> {
    let operator = Operator::new(endpoint)?;
    let runs = experiment::runs(label);
    for run in &runs {
        operator.create_job(run).await?;
    }
    let mut trainers = Trainers::start(endpoint, &runs, place)?;
    tokio::select! {
        trained = trainers.finished() => trained?,
        error = progress::show(&operator, &runs) => return Err(error),
    }
    for remark in trainers.remarks() {
        say(&remark);
    }
    let mut outcomes = Vec::with_capacity(runs.len());
    for run in &runs {
        operator.complete_job(run).await?;
        outcomes.push(JobOutcome::read(&operator, run).await?);
    }
    let experiment = runs.first().map_or("", |run| &run.experiment);
    let path = report::write(&operator.report(experiment).await?, args.report.as_deref())?;
    say(&format!("The audit report is in {}: open it in a browser.", path.display()));
    Ok(Summary::of(outcomes))
}

fn print(args: &Args, summary: &Summary, further: &str) -> Result<(), Error> {
    let text = match args.format {
        Format::Table => format!("{}\n{further}", table::render(summary)),
        Format::Json => {
            say(further);
            serde_json::to_string_pretty(summary).map_err(Error::Encode)?
        }
    };
    writeln!(std::io::stdout().lock(), "{text}").map_err(Error::Print)
}

/// Tells people something, beside what the demo prints. Nobody may be listening.
fn say(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// Waits until somebody wants the demo to end.
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
