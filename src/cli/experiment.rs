//! `lrs experiment`: registers jobs that differ by arm and seed, from one file.

use clap::Subcommand;

use super::{connect::ConnectArgs, failure::Failure, job_name::NamespaceArg};

mod command;
mod file;
mod run;
mod wait;

/// Register the jobs of an experiment, and wait until they have ended
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  lrs experiment run -f examples/experiments/warmup.yaml --dry-run
  lrs experiment run -f examples/experiments/warmup.yaml --wait")]
pub struct Args {
    #[command(flatten)]
    connect: ConnectArgs,
    #[command(flatten)]
    namespace: NamespaceArg,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Register the jobs of all arms and seeds, print the commands that train them, and wait until they have ended
    Run(Box<run::Args>),
}

/// Runs the command.
///
/// # Errors
/// If the file is wrong, or the server refuses.
pub async fn run(args: Args) -> Result<(), Failure> {
    match args.command {
        Command::Run(run) => run::run(&args.connect, &args.namespace, &run).await,
    }
}
