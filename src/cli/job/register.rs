//! `lrs job register`: the jobs of a job file.

use std::path::PathBuf;

use super::{Session, show};
use crate::cli::{assignment::Assignment, failure::Failure, job_name, jobfile, order::OrderArgs, output::FormatArgs};
use lrs_model::name::JobName;
use lrs_proto::{CreateJobRequest, Job, ListJobsResponse};

/// Register the jobs of a job file
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  lrs job register -f examples/cifar.yaml
  lrs job register -f examples/cifar.yaml --name cifar-2 --set spec.seed=2 --set 'spec.groups[0].base_lr=0.05'
  lrs job register -f examples/cifar.yaml --dry-run
  generate-jobs | lrs job register -f -")]
pub struct Args {
    /// Job file, YAML or JSON; `-` is standard input. Several documents are several jobs
    #[arg(short, long, value_name = "FILE")]
    file: PathBuf,
    /// Name of the job, in place of the file's
    #[arg(long, value_name = "JOB")]
    name: Option<String>,
    /// Set a field, such as `spec.groups[0].base_lr=0.1`; may be given several times
    #[arg(long = "set", value_name = "PATH=VALUE")]
    changes: Vec<Assignment>,
    /// Check everything and register nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    order: OrderArgs,
    #[command(flatten)]
    format: FormatArgs,
}

pub(super) async fn run(session: &Session, args: &Args) -> Result<(), Failure> {
    let jobs = jobfile::read(&args.file, &args.changes)?;
    if args.name.is_some() && jobs.len() > 1 {
        return Err(Failure::invalid(format!("--name cannot name the {} jobs of this file", jobs.len())));
    }
    // All names first: a file with a nameless job registers none of its jobs.
    let names = jobs.iter().map(|job| name(session, args, job)).collect::<Result<Vec<_>, _>>()?;
    let mut registered = Vec::with_capacity(jobs.len());
    for (index, (job, name)) in jobs.into_iter().zip(&names).enumerate() {
        let request = CreateJobRequest {
            parent: job_name::parent(name.namespace()),
            job_id: name.job().to_owned(),
            job: Some(job),
            request_id: args.order.request_id_of(index),
            validate_only: args.dry_run,
            reason: args.order.record.reason.clone(),
            author: args.order.record.author.clone(),
        };
        let job = session.server.call(async |mut service| service.create_job(request.clone()).await).await;
        registered.push(job.map_err(|failure| about(name, failure, registered.len()))?);
    }
    let verb = if args.dry_run { "Checked" } else { "Registered" };
    if let [job] = &registered[..] {
        return args.format.print(job, || format!("{verb} {}.\n{}", names[0], show::warnings(job)));
    }
    let jobs = ListJobsResponse { jobs: registered, next_page_token: String::new() };
    args.format.print(&jobs, || {
        let warned =
            |job: &Job| job.warnings.iter().map(|warning| format!("Warning: {}: {warning}.\n", job.name)).collect();
        let warnings: Vec<String> = jobs.jobs.iter().map(warned).collect();
        format!("{verb} {} jobs.\n{}{}", jobs.jobs.len(), warnings.concat(), show::jobs(&jobs.jobs, true))
    })
}

fn name(session: &Session, args: &Args, job: &Job) -> Result<JobName, Failure> {
    match (&args.name, job.name.as_str()) {
        (Some(name), _) => session.name(name),
        (None, "") => Err(Failure::invalid("the job file does not name its job")
            .with_hint("add `name: namespaces/NAMESPACE/jobs/JOB` at its top, or give --name")),
        (None, name) => session.name(name),
    }
}

/// The failure of one job, with its name and how many jobs of the file are registered.
fn about(name: &JobName, failure: Failure, done: usize) -> Failure {
    let is_named = failure.message.contains(name.as_str());
    let message = if is_named { failure.message } else { format!("{name}: {}", failure.message) };
    let message = if done > 0 { format!("{message} (the {done} before it are registered)") } else { message };
    Failure { message, ..failure }
}
