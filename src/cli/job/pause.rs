//! `lrs job pause`: a job's schedule stops and its rate stays.

use super::{Session, show};
use crate::cli::{failure::Failure, order::OrderArgs, output::FormatArgs};
use lrs_proto::PauseJobRequest;

/// Stop a job's schedule and hold its rate
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  lrs job pause vision/cifar --reason 'the data loader is stuck'")]
pub struct Args {
    /// The job
    job: String,
    #[command(flatten)]
    order: OrderArgs,
    #[command(flatten)]
    format: FormatArgs,
}

pub(super) async fn run(session: &Session, args: &Args) -> Result<(), Failure> {
    let request = PauseJobRequest {
        name: session.name(&args.job)?.to_string(),
        reason: args.order.record.reason.clone(),
        author: args.order.record.author.clone(),
        request_id: args.order.request_id(),
    };
    let job = session.server.call(async |mut service| service.pause_job(request.clone()).await).await?;
    args.format.print(&job, || show::outcome(&job))
}
