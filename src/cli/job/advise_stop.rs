//! `lrs job advise-stop`: advice to a job's trainer.

use std::collections::BTreeMap;

use super::{Session, show};
use crate::cli::{failure::Failure, order::OrderArgs, output::FormatArgs};
use lrs_proto::AdviseStopRequest;

/// Advise a job's trainer to stop, or withdraw the advice
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The trainer gets the advice with every step that it has not been given yet. It stops only if it was written to; the job
does not end.

Examples:
  lrs job advise-stop vision/cifar --reason 'the data was wrong'
  lrs job advise-stop vision/cifar --withdraw")]
pub struct Args {
    /// The job
    job: String,
    /// Take the advice back; --reason is required without it
    #[arg(long)]
    withdraw: bool,
    #[command(flatten)]
    order: OrderArgs,
    #[command(flatten)]
    format: FormatArgs,
}

pub(super) async fn run(session: &Session, args: &Args) -> Result<(), Failure> {
    let request = AdviseStopRequest {
        name: session.name(&args.job)?.to_string(),
        withdraw: args.withdraw,
        reason: args.order.record.reason.clone(),
        author: args.order.record.author.clone(),
        evidence: BTreeMap::new(),
        request_id: args.order.request_id(),
    };
    let decision = session.server.call(async |mut service| service.advise_stop(request.clone()).await).await?;
    args.format.print(&decision, || {
        let late = show::sentences(&decision.warnings);
        format!("{}: {}, from step {} on.\n{late}", request.name, show::effect(&decision), decision.effective_step)
    })
}
