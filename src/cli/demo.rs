//! `lrs demo`: real training against a private server. [`lrs_demo`] does the work.

use std::path::PathBuf;

use lrs_demo::{Demo, Format, train};

use super::failure::{Exit, Failure};

/// Train six small networks on real data, three of them scheduled, and compare
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Examples:
  lrs demo                                    under a private server, which is stopped afterwards
  lrs demo --keep                             the server and its data stay up
  lrs demo --format json                      the result as one JSON document
  lrs demo --report digits.html               the audit report goes there
  lrs demo --server http://127.0.0.1:50051    under a server that runs already")]
pub struct Args {
    /// Leave the server and its data up afterwards, and say how to reach and stop it
    #[arg(long, conflicts_with = "server")]
    keep: bool,
    /// What to print at the end
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    /// Write the audit report of the experiment, a page, to this file [default: one in the temporary directory]
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Train against this server (such as `http://127.0.0.1:50051`) instead of a private one
    #[arg(long, value_name = "URL")]
    server: Option<String>,
    /// Be a trainer of this job: how the demo starts its trainers
    #[arg(long, value_name = "JOB", hide = true, requires_all = ["seed", "server"])]
    trainer: Option<String>,
    /// The trainer's random seed
    #[arg(long, hide = true)]
    seed: Option<u64>,
}

/// Runs the demo, or one of its trainers.
///
/// # Errors
/// If the server, a trainer or a call to the server fails, or the demo is interrupted.
pub async fn run(args: Args) -> Result<(), Failure> {
    let done = match (args.trainer, args.seed, args.server) {
        (Some(job), Some(seed), Some(server)) => train(&server, &job, seed).await,
        (_, _, server) => {
            let program = std::env::current_exe().map_err(|error| {
                Failure::new(Exit::Failed, format!("cannot find this program's file, to start it again: {error}"))
            })?;
            Demo { program, server, keep: args.keep, format: args.format, report: args.report }.run().await
        }
    };
    Ok(done.map_err(anyhow::Error::from)?)
}
