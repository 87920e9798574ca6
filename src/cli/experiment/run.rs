//! `lrs experiment run`: registers the jobs, prints the commands that train them, waits, and reports.

use std::path::PathBuf;

use serde_json::json;

use super::{
    file::{self, Experiment, Run, Surroundings},
    wait,
};
use crate::cli::{
    applying,
    connect::{ConnectArgs, Connection},
    failure::{Exit, Failure},
    job_name::NamespaceArg,
    output::{self, say},
    report::{self, Format as ReportFormat},
};
use crate::config::Length;
use lrs_proto::{ApplyJobsRequest, Job, applied_job::Outcome};

/// The most jobs of one request.
const JOBS_AT_ONCE: usize = 1000;

/// Which experiment, and how far to go.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Registers one job for each arm and seed: the shared spec, with the fields of its arm replaced. Running the command again
is harmless: existing jobs with the same spec stay as they are. You start the trainers yourself; `--format commands`
prints the file's command for each job, one a line. docs/reports.md describes the file.

Examples:
  lrs experiment run -f examples/experiments/warmup.yaml --dry-run
  lrs experiment run -f examples/experiments/warmup.yaml --format commands | parallel -j4
  lrs experiment run -f examples/experiments/warmup.yaml --wait --report html -o warmup.html")]
pub struct Args {
    /// The experiment's file, YAML or JSON; `-` is standard input
    #[arg(short, long, value_name = "FILE")]
    file: PathBuf,
    /// Check everything and register nothing
    #[arg(long, conflicts_with = "wait")]
    dry_run: bool,
    /// How to print the jobs
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    /// Short for --format json
    #[arg(long, conflicts_with = "format")]
    json: bool,
    /// Wait until every job has ended, or has reported all its steps
    #[arg(long)]
    wait: bool,
    /// Give up waiting after this long, such as 90s, 30m or 12h [default: never]
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, requires = "wait")]
    wait_timeout: Option<Length>,
    /// Print the experiment's report at the end, in place of the jobs
    #[arg(long, value_enum, value_name = "FORMAT", requires = "wait", conflicts_with_all = ["format", "json"])]
    report: Option<ReportFormat>,
    /// Write the report to this file
    #[arg(short, long, value_name = "FILE", requires = "report")]
    output: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// For people: the jobs, and the commands if the file has any
    Table,
    /// The commands alone, a line a job
    Commands,
    /// The job files, as YAML
    Specs,
    /// For programs
    Json,
}

/// The result of a job's registration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Registered {
    Checked,
    New,
    There,
}

impl Registered {
    fn word(self) -> &'static str {
        match self {
            Self::Checked => "checked",
            Self::New => "registered",
            Self::There => "exists already",
        }
    }
}

pub(super) async fn run(connect: &ConnectArgs, namespace: &NamespaceArg, args: &Args) -> Result<(), Failure> {
    let surroundings = Surroundings { namespace: &namespace.namespace, server: &connect.server };
    let experiment = file::read(&args.file, surroundings)?;
    let format = if args.json { Format::Json } else { args.format };
    if format == Format::Commands
        && let Some(run) = experiment.runs.iter().find(|run| run.command.is_none())
    {
        return Err(Failure::invalid(format!("{} does not say what trains {}", args.file.display(), run.job))
            .with_hint("add `command: python train.py --job {job} --seed {seed}` at the top"));
    }
    let server = connect.connect().await?;
    let registered = register(&server, &experiment.runs, args.dry_run).await?;
    if args.report.is_none() {
        output::print(&text(&experiment, &registered, format)?)?;
    } else {
        say(&format!("{} jobs are registered.", experiment.runs.len()));
    }
    if !args.wait {
        return Ok(());
    }
    wait::until_reported(&server, &experiment, args.wait_timeout).await?;
    let Some(format) = args.report else { return Ok(()) };
    let subject = report::experiment_subject(&experiment.namespace, &experiment.name);
    let found = report::read(&server, subject, None).await?;
    report::write(&report::text(&found, format)?, args.output.as_deref())
}

/// Registers the jobs that are missing. `dry_run` checks all of them and registers none.
async fn register(server: &Connection, runs: &[Run], dry_run: bool) -> Result<Vec<Registered>, Failure> {
    let job = |run: &Run| Job { name: run.job.to_string(), spec: Some(run.spec.clone()), ..Job::default() };
    let request = |runs: &[Run], validate_only| ApplyJobsRequest {
        parent: "namespaces/-".to_owned(),
        jobs: runs.iter().map(job).collect(),
        create_only: true,
        request_id: uuid::Uuid::now_v7().to_string(),
        validate_only,
        ..ApplyJobsRequest::default()
    };
    let refused = |failure: Failure| match failure.exit {
        Exit::Conflict => failure.with_hint("choose another `name` or `job_id`, or remove it with `lrs job delete`"),
        _ => failure,
    };
    // Each request is carried out as a whole. Check all of them first: a file with one invalid job registers none.
    let checked_alone: &[bool] = if dry_run {
        &[true]
    } else if runs.len() > JOBS_AT_ONCE {
        &[true, false]
    } else {
        &[false]
    };
    let mut registered = Vec::with_capacity(runs.len());
    for &validate_only in checked_alone {
        registered.clear();
        for runs in runs.chunks(JOBS_AT_ONCE) {
            let applied = applying::send(server, request(runs, validate_only)).await.map_err(refused)?;
            registered.extend(applied.jobs.iter().map(|job| match job.outcome() {
                Outcome::Unchanged => Registered::There,
                _ if validate_only => Registered::Checked,
                _ => Registered::New,
            }));
        }
    }
    Ok(registered)
}

fn text(experiment: &Experiment, registered: &[Registered], format: Format) -> Result<String, Failure> {
    let runs = || experiment.runs.iter().zip(registered);
    match format {
        Format::Commands => Ok(commands(experiment)),
        Format::Specs => {
            let job = |run: &Run| {
                output::yaml(&Job { name: run.job.to_string(), spec: Some(run.spec.clone()), ..Job::default() })
            };
            Ok(experiment.runs.iter().map(job).collect::<Result<Vec<_>, _>>()?.join("---\n"))
        }
        Format::Json => {
            let jobs = runs().map(|(run, registered)| {
                json!({
                    "job": run.job.as_str(),
                    "arm": run.arm.as_str_name(),
                    "seed": run.seed,
                    "command": run.command,
                    "is_new": *registered == Registered::New,
                })
            });
            let document = json!({
                "experiment": experiment.name,
                "namespace": experiment.namespace,
                "jobs": jobs.collect::<Vec<_>>(),
            });
            output::json(&document)
        }
        Format::Table => {
            let row = |(run, registered): (&Run, &Registered)| {
                let arm = if run.arm == lrs_proto::Arm::Scheduled { "scheduled" } else { "baseline" };
                vec![run.job.to_string(), arm.to_owned(), run.seed.to_string(), registered.word().to_owned()]
            };
            let table = output::table(&["JOB", "ARM", "SEED", ""], runs().map(row).collect());
            let commands = commands(experiment);
            Ok(if commands.is_empty() { table } else { format!("{table}\nTrain them with:\n{commands}") })
        }
    }
}

fn commands(experiment: &Experiment) -> String {
    experiment
        .runs
        .iter()
        .filter_map(|run| run.command.as_ref())
        .fold(String::new(), |text, command| text + command + "\n")
}
