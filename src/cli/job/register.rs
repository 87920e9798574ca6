//! `lrs job register`: the jobs of a job file.

use super::{
    Session,
    apply::{FileArgs, table},
    show,
};
use crate::cli::{failure::Failure, order::OrderArgs, output::FormatArgs};
use lrs_proto::{AppliedJob, ApplyJobsResponse, Job, ListJobsResponse, applied_job::Outcome};

/// Register the jobs of a job file
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Registers all jobs of the file, or none if one is wrong. A job that is registered already with the same spec stays as it
is; with another spec, the command fails: `lrs job apply` changes it.

Examples:
  lrs job register -f examples/cifar.yaml
  lrs job register -f examples/cifar.yaml --name cifar-2 --set spec.seed=2 --set 'spec.groups[0].base_lr=0.05'
  lrs job register -f examples/cifar.yaml --dry-run
  generate-jobs | lrs job register -f -")]
pub struct Args {
    #[command(flatten)]
    jobs: FileArgs,
    #[command(flatten)]
    order: OrderArgs,
    #[command(flatten)]
    format: FormatArgs,
}

pub(super) async fn run(session: &Session, args: &Args) -> Result<(), Failure> {
    let ApplyJobsResponse { jobs: applied } = args.jobs.send(session, &args.order, true).await?;
    if let [only] = &applied[..] {
        let job = only.job.clone().unwrap_or_default();
        return args.format.print(&job, || sentence(only, &job, args.jobs.dry_run));
    }
    let jobs: Vec<Job> = applied.iter().filter_map(|applied| applied.job.clone()).collect();
    let text = table(&ApplyJobsResponse { jobs: applied }, args.jobs.dry_run);
    args.format.print(&ListJobsResponse { jobs, next_page_token: String::new() }, || text)
}

fn sentence(applied: &AppliedJob, job: &Job, dry_run: bool) -> String {
    match applied.outcome() {
        Outcome::Unchanged => {
            format!("{} is registered already, with this spec; it is {}.\n", job.name, show::state(job))
        }
        _ if dry_run => format!("Checked {}.\n{}", job.name, show::warnings(job)),
        _ => format!("Registered {}.\n{}", job.name, show::warnings(job)),
    }
}
