//! `lrs job fork`: a new job from a step of another.

use std::path::PathBuf;

use super::{Session, show, update::one_job};
use crate::cli::{
    assignment::Assignment, failure::Failure, job_name, jobfile, order::OrderArgs, output::FormatArgs, values::step,
};
use lrs_model::name::JobName;
use lrs_proto::{ForkJobRequest, JobSpec};

/// Make a new job from a step of another
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  lrs job fork vision/cifar cifar-lower --step 12000 --set 'spec.groups[0].base_lr=0.01'
  lrs job fork vision/cifar vision/cifar-2 --step 12000 -f other.yaml")]
pub struct Args {
    /// The job to fork
    job: String,
    /// Name of the new job; in the same namespace unless another one is named
    new_job: String,
    /// First step that is not shared; at most one more than the watermark
    #[arg(long, value_name = "N", value_parser = step(0))]
    step: i64,
    /// Job file with the new job's spec [default: the forked job's]
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Set a field, such as `spec.groups[0].base_lr=0.1`; may be given several times
    #[arg(long = "set", value_name = "PATH=VALUE")]
    changes: Vec<Assignment>,
    #[command(flatten)]
    order: OrderArgs,
    #[command(flatten)]
    format: FormatArgs,
}

pub(super) async fn run(session: &Session, args: &Args) -> Result<(), Failure> {
    let source = session.name(&args.job)?;
    let name = job_name::resolve(&args.new_job, source.namespace())?;
    let request = ForkJobRequest {
        name: source.to_string(),
        step: args.step,
        parent: job_name::parent(name.namespace()),
        job_id: name.job().to_owned(),
        spec: spec(session, args, &source).await?,
        request_id: args.order.request_id(),
        reason: args.order.record.reason.clone(),
        author: args.order.record.author.clone(),
    };
    let job = session.server.call(async |mut service| service.fork_job(request.clone()).await).await?;
    args.format.print(&job, || {
        let resume = format!("Start its first attempt with resume_step {}.\n", args.step);
        format!("Forked {source} at step {} into {name}.\n{resume}{}", args.step, show::job(&job))
    })
}

async fn spec(session: &Session, args: &Args, source: &JobName) -> Result<Option<JobSpec>, Failure> {
    match (&args.file, &args.changes[..]) {
        (None, []) => Ok(None),
        (None, changes) => Ok(jobfile::change(&session.job(source).await?, changes)?.spec),
        (Some(file), changes) => Ok(one_job(jobfile::read(file, changes)?)?.spec),
    }
}
