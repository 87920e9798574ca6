//! `lrs job apply`: the jobs of a job file, made what the file says.

use std::path::PathBuf;

use super::{Session, show};
use crate::cli::{
    applying,
    assignment::Assignment,
    failure::Failure,
    jobfile,
    order::OrderArgs,
    output::{self, FormatArgs},
};
use lrs_model::name::JobName;
use lrs_proto::{AppliedJob, ApplyJobsRequest, ApplyJobsResponse, Job, applied_job::Outcome};

/// Register the jobs of a job file, or change those that are there
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Registers the jobs that are missing, gives those with another spec the file's, and leaves the others alone: all of them,
or none if one is wrong. A field that the file leaves out gets its default. A repeat changes nothing.

Examples:
  lrs job apply -f jobs.yaml
  lrs job apply -f jobs.yaml --dry-run
  generate-jobs | lrs job apply -f -")]
pub struct Args {
    #[command(flatten)]
    pub(super) jobs: FileArgs,
    #[command(flatten)]
    order: OrderArgs,
    #[command(flatten)]
    format: FormatArgs,
}

/// The jobs of a file.
#[derive(Debug, clap::Args)]
pub(super) struct FileArgs {
    /// Job file, YAML or JSON; `-` is standard input. Several documents are several jobs
    #[arg(short, long, value_name = "FILE")]
    file: PathBuf,
    /// Name of the job, in place of the file's
    #[arg(long, value_name = "JOB")]
    name: Option<String>,
    /// Set a field, such as `spec.groups[0].base_lr=0.1`; may be given several times
    #[arg(long = "set", value_name = "PATH=VALUE")]
    changes: Vec<Assignment>,
    /// Check everything and change nothing
    #[arg(long)]
    pub(super) dry_run: bool,
}

pub(super) async fn run(session: &Session, args: &Args) -> Result<(), Failure> {
    let applied = args.jobs.send(session, &args.order, false).await?;
    args.format.print(&applied, || table(&applied, args.jobs.dry_run))
}

impl FileArgs {
    /// Has the server make the jobs of the file what it says, or with `create_only` at most register them.
    pub(super) async fn send(
        &self,
        session: &Session,
        order: &OrderArgs,
        create_only: bool,
    ) -> Result<ApplyJobsResponse, Failure> {
        let jobs = jobfile::read(&self.file, &self.changes)?;
        if self.name.is_some() && jobs.len() > 1 {
            return Err(Failure::invalid(format!("--name cannot name the {} jobs of this file", jobs.len())));
        }
        let names = jobs.iter().map(|job| self.name_of(session, job)).collect::<Result<Vec<_>, _>>()?;
        // With all that the file says: the server refuses what it cannot make so.
        let wanted = |(job, name): (Job, &JobName)| Job { name: name.to_string(), ..job };
        let request = ApplyJobsRequest {
            parent: "namespaces/-".to_owned(),
            jobs: jobs.into_iter().zip(&names).map(wanted).collect(),
            create_only,
            request_id: order.request_id(),
            validate_only: self.dry_run,
            reason: order.record.reason.clone(),
            author: order.record.author.clone(),
        };
        applying::send(&session.server, request).await
    }

    fn name_of(&self, session: &Session, job: &Job) -> Result<JobName, Failure> {
        match (&self.name, job.name.as_str()) {
            (Some(name), _) => session.name(name),
            (None, "") => Err(Failure::invalid(format!("{} does not name its job", jobfile::display(&self.file)))
                .with_hint("add `name: namespaces/NAMESPACE/jobs/JOB` at its top, or give --name")),
            (None, name) => session.name(name),
        }
    }
}

/// What became of each job, and how many there are of each kind.
pub(super) fn table(applied: &ApplyJobsResponse, dry_run: bool) -> String {
    let count = |outcome| applied.jobs.iter().filter(|job| job.outcome() == outcome).count();
    let [created, updated, unchanged] = [Outcome::Created, Outcome::Updated, Outcome::Unchanged].map(count);
    let would = if dry_run { "Nothing was done; it would be: " } else { "" };
    let row = |applied: &AppliedJob| {
        let job = applied.job.clone().unwrap_or_default();
        let state = show::state(&job).to_owned();
        // A change that was only checked counts from nowhere yet.
        let is_changed = applied.outcome() == Outcome::Updated && !dry_run;
        let from = if is_changed { show::from_order(&job) } else { None };
        vec![job.name, outcome(applied).to_owned(), state, from.unwrap_or_else(|| "-".to_owned())]
    };
    let rows = output::table(&["JOB", "OUTCOME", "STATE", "COUNTS"], applied.jobs.iter().map(row).collect());
    let jobs = applied.jobs.iter().filter_map(|applied| applied.job.as_ref());
    let warnings: String = jobs.map(show::warnings_of_one).collect();
    format!("{would}{created} registered, {updated} changed, {unchanged} left alone.\n{rows}{warnings}")
}

fn outcome(applied: &AppliedJob) -> &'static str {
    match applied.outcome() {
        Outcome::Created => "registered",
        Outcome::Updated => "changed",
        Outcome::Unchanged => "left alone",
        Outcome::Unspecified => "-",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lrs_proto::Progress;

    #[test]
    fn a_change_of_a_running_job_says_from_which_step_on_it_counts_and_that_it_comes_too_late() {
        let progress = Progress {
            order_step: Some(120),
            order_warning: "the order takes effect at step 120, after the last step".to_owned(),
            ..Progress::default()
        };
        let job = Job { name: "namespaces/a/jobs/b".into(), progress: Some(progress), ..Job::default() };
        let applied = |outcome: Outcome| AppliedJob { job: Some(job.clone()), outcome: outcome.into() };
        let answer = ApplyJobsResponse { jobs: vec![applied(Outcome::Updated), applied(Outcome::Unchanged)] };

        let text = table(&answer, false);

        assert_eq!(text.matches("from step 120 on").count(), 1, "{text}");
        assert!(text.contains("Warning: namespaces/a/jobs/b: the order takes effect at step 120"), "{text}");
        assert!(!table(&answer, true).contains("from step 120 on"));
    }
}
