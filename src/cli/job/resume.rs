//! `lrs job resume`: a paused job's schedule goes on.

use super::{Session, show};
use crate::cli::{failure::Failure, order::OrderArgs, output::FormatArgs};
use lrs_proto::ResumeJobRequest;

/// Let a paused job's schedule go on
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  lrs job resume vision/cifar --reason 'mended'")]
pub struct Args {
    /// The job
    job: String,
    #[command(flatten)]
    order: OrderArgs,
    #[command(flatten)]
    format: FormatArgs,
}

pub(super) async fn run(session: &Session, args: &Args) -> Result<(), Failure> {
    let request = ResumeJobRequest {
        name: session.name(&args.job)?.to_string(),
        reason: args.order.record.reason.clone(),
        author: args.order.record.author.clone(),
        request_id: args.order.request_id(),
    };
    let job = session.server.call(async |mut service| service.resume_job(request.clone()).await).await?;
    args.format.print(&job, || show::outcome(&job))
}
