//! `lrs experiment`: jobs that differ by arm and seed, from one file.

use clap::Subcommand;

use super::{connect::ConnectArgs, failure::Failure, job_name::NamespaceArg};

mod command;
mod file;
mod run;
mod wait;

/// Which server, and what to do there.
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
    /// Register the jobs of all arms and seeds, say how to train them, and wait for what becomes of them
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
