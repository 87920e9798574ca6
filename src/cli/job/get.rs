//! `lrs job get`: one job.

use super::{Session, show};
use crate::cli::{failure::Failure, output::FormatArgs};

/// Show a job
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  lrs job get vision/cifar
  lrs job get vision/cifar --format yaml    the whole message, also usable as a job file")]
pub struct Args {
    /// The job
    job: String,
    #[command(flatten)]
    format: FormatArgs,
}

pub(super) async fn run(session: &Session, args: &Args) -> Result<(), Failure> {
    let job = session.job(&session.name(&args.job)?).await?;
    args.format.print(&job, || show::job(&job))
}
