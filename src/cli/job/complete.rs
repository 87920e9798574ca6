//! `lrs job complete`: the end of a job.

use super::{Session, show};
use crate::cli::{failure::Failure, order::OrderArgs, output::FormatArgs};
use lrs_proto::{CompleteJobRequest, job::State};

/// End a job
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  lrs job complete vision/cifar
  lrs job complete vision/cifar --outcome failed --reason 'the loss is NaN'")]
pub struct Args {
    /// The job
    job: String,
    /// How it ended
    #[arg(long, value_enum, default_value_t = Outcome::Completed)]
    outcome: Outcome,
    #[command(flatten)]
    order: OrderArgs,
    #[command(flatten)]
    format: FormatArgs,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Outcome {
    /// It trained to its end
    Completed,
    /// It went wrong
    Failed,
    /// It is no longer needed
    Cancelled,
}

pub(super) async fn run(session: &Session, args: &Args) -> Result<(), Failure> {
    let outcome = match args.outcome {
        Outcome::Completed => State::Completed,
        Outcome::Failed => State::Failed,
        Outcome::Cancelled => State::Cancelled,
    };
    let request = CompleteJobRequest {
        name: session.name(&args.job)?.to_string(),
        outcome: outcome.into(),
        reason: args.order.record.reason.clone(),
        author: args.order.record.author.clone(),
        request_id: args.order.request_id(),
    };
    let job = session.server.call(async |mut service| service.complete_job(request.clone()).await).await?;
    args.format.print(&job, || show::outcome(&job))
}
