//! The `lrs` program: parse the command line, then hand over.

use std::process::ExitCode;

use clap::Parser as _;
use lrs::cli::Cli;

#[tokio::main]
async fn main() -> ExitCode {
    Cli::parse().run().await
}
