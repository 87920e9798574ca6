//! `lrs report`: the audit report of a job or of an experiment.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{
    connect::{ConnectArgs, Connection},
    failure::{Exit, Failure},
    job_name::{NamespaceArg, parent},
    jobfile, output,
    values::number,
};
use lrs_proto::{AuditReport, GetAuditReportRequest, get_audit_report_request::Subject};
use lrs_report as document;

/// Report on a job, or on whether an experiment's schedule paid
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
The same record gives the same report, bit for bit. docs/reports.md explains each figure. A report on long jobs takes a
while: raise --timeout if necessary.

Examples:
  lrs report vision/cifar
  lrs report --experiment digits -n vision
  lrs report --experiment digits -n vision --target 0.93
  lrs report --experiment digits -n vision --format html -o digits.html
  lrs report vision/cifar --json > cifar.json
  lrs report --from cifar.json --format html -o cifar.html        no server needed")]
pub struct Args {
    /// The job
    #[arg(required_unless_present_any = ["experiment", "from"], conflicts_with_all = ["experiment", "from"])]
    job: Option<String>,
    /// The experiment: the jobs of the namespace whose spec names it
    #[arg(long, value_name = "EXPERIMENT", conflicts_with = "from")]
    experiment: Option<String>,
    /// A report that was written as JSON; `-` is standard input
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    /// The value of the objective's metric to reach, in place of the specs' own
    #[arg(long, value_name = "VALUE", conflicts_with = "from", value_parser = number)]
    target: Option<f64>,
    #[command(flatten)]
    format: FormatArgs,
    #[command(flatten)]
    connect: ConnectArgs,
    #[command(flatten)]
    namespace: NamespaceArg,
}

/// How a report is written, and where to.
#[derive(Clone, Debug, clap::Args)]
struct FormatArgs {
    /// How to write the report
    #[arg(long, value_enum, default_value_t = Format::Markdown)]
    format: Format,
    /// Short for --format json
    #[arg(long, conflicts_with = "format")]
    json: bool,
    /// Write to this file
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// How a report can be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// A page with charts that needs nothing else
    Html,
    /// For people, without charts
    Markdown,
    /// For programs: the message `lrs.v1.AuditReport` in canonical JSON
    Json,
}

impl FormatArgs {
    /// Writes a report in the chosen format.
    fn write(&self, report: &AuditReport) -> Result<(), Failure> {
        let format = if self.json { Format::Json } else { self.format };
        write(&text(report, format)?, self.output.as_deref())
    }
}

/// Writes a document to the file, or else to standard output.
///
/// # Errors
/// If it cannot be written.
pub fn write(text: &str, file: Option<&Path>) -> Result<(), Failure> {
    match file {
        None => output::print(text),
        Some(path) => fs::write(path, text)
            .map_err(|error| Failure::new(Exit::Failed, format!("cannot write {}: {error}", path.display()))),
    }
}

/// Reads the report and writes it.
///
/// # Errors
/// If there is no such job or experiment, or the report cannot be read or written.
pub async fn run(args: Args) -> Result<(), Failure> {
    let report = match (&args.job, &args.experiment, &args.from) {
        (_, _, Some(path)) => from_file(path)?,
        (Some(job), _, _) => {
            let subject = Subject::Job(args.namespace.resolve(job)?.to_string());
            read(&args.connect.connect().await?, subject, args.target).await?
        }
        (_, Some(experiment), _) => {
            let subject = experiment_subject(&args.namespace.namespace, experiment);
            read(&args.connect.connect().await?, subject, args.target).await?
        }
        (None, None, None) => return Err(Failure::invalid("give a JOB, --experiment or --from")),
    };
    args.format.write(&report)
}

/// The experiment of a namespace.
#[must_use]
pub fn experiment_subject(namespace: &str, experiment: &str) -> Subject {
    Subject::Experiment(format!("{}/experiments/{experiment}", parent(namespace)))
}

/// The report of a subject, from the server; with another target than the specs', if there is one.
///
/// # Errors
/// If the server refuses.
pub async fn read(server: &Connection, subject: Subject, target: Option<f64>) -> Result<AuditReport, Failure> {
    let request = GetAuditReportRequest { subject: Some(subject), target };
    server.call_reports(async |mut service| service.get_audit_report(request.clone()).await).await
}

/// The report as text.
///
/// # Errors
/// If it has a value that the format cannot express.
pub fn text(report: &AuditReport, format: Format) -> Result<String, Failure> {
    match format {
        Format::Html => Ok(document::html(report)),
        Format::Markdown => Ok(document::markdown(report)),
        Format::Json => output::json(report),
    }
}

fn from_file(path: &Path) -> Result<AuditReport, Failure> {
    let name = path.display();
    serde_json::from_str(&jobfile::read_text(path)?).map_err(|error| {
        Failure::invalid(format!("{name}: {error}")).with_hint("this file is what `lrs report --json` writes")
    })
}
