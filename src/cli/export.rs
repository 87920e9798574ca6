//! `lrs export`: the record of a job in files for other tools. It is read here, page by page; [`lrs_export`] writes it.

use std::{
    error::Error as _,
    io,
    path::{Path, PathBuf},
};

use lrs_export::{Error, Events, Format, Table, Tables};

use super::{
    connect::ConnectArgs,
    failure::{Exit, Failure},
    job_name::NamespaceArg,
    values::whole,
};

mod history;

use history::History;

/// Write a job's telemetry, rates and decisions to files for other tools
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
--to DIR writes three tables, telemetry, rates and decisions, and export.json, which names the job and the unit of each
column. Without --to, one table is written, to a file or to standard output. An existing file is replaced once the new
one is complete.

Examples:
  lrs export vision/cifar --to cifar
  lrs export vision/cifar --to tensorboard runs            then: tensorboard --logdir runs
  lrs export vision/cifar --format csv > cifar.csv
  lrs export vision/cifar --table rates -o rates.parquet")]
pub struct Args {
    /// The job
    job: String,
    /// The attempt whose history to export [default: the newest]
    #[arg(long, value_name = "N", value_parser = whole(1..=u32::MAX))]
    attempt: Option<u32>,
    /// How to write tables [default: by the end of the file's name, else parquet]
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// Write all tables into this directory; or below it a run that TensorBoard reads
    #[arg(long, num_args = 1..=2, value_name = "[tensorboard] DIR", conflicts_with_all = ["table", "output"])]
    to: Option<Vec<PathBuf>>,
    /// Which table to write
    #[arg(long, value_enum, default_value_t = Table::Telemetry)]
    table: Table,
    /// Write it to this file
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    connect: ConnectArgs,
    #[command(flatten)]
    namespace: NamespaceArg,
}

/// Exports the job.
///
/// # Errors
/// If the server refuses, or a file cannot be written.
pub async fn run(args: Args) -> Result<(), Failure> {
    let destination = args.to.as_deref().map(Destination::try_from).transpose()?;
    let named = args.output.as_deref().and_then(Format::of_name);
    let format = args.format.or(named).unwrap_or(Format::Parquet);
    if args.to.is_none() && args.output.is_none() && format == Format::Parquet {
        return Err(Failure::invalid("Parquet needs a file: say where with -o FILE or --to DIR")
            .with_hint("--format csv and --format jsonl can be written to standard output"));
    }
    if !matches!(destination, Some(Destination::TensorBoard(_))) {
        format.check()?;
    }
    let name = args.namespace.resolve(&args.job)?;
    let history = History::open(&args.connect, &name, args.attempt).await?;
    match destination {
        Some(Destination::Tables(directory)) => {
            let metrics = history.metrics().await?;
            finish(&history, Tables::all(&history.subject(), format, directory, metrics)?).await
        }
        Some(Destination::TensorBoard(directory)) => {
            let mut events = Events::create(directory, history.name(), history.attempt(), history.started())?;
            history.copy_to(&mut events).await?;
            Ok(events.finish()?)
        }
        None => {
            let metrics = if args.table == Table::Telemetry { history.metrics().await? } else { Vec::new() };
            finish(&history, Tables::one(&history.subject(), format, args.table, args.output.as_deref(), metrics)?)
                .await
        }
    }
}

/// Copies the history into tables that were begun.
async fn finish(history: &History, mut tables: Tables) -> Result<(), Failure> {
    history.copy_to(&mut tables).await?;
    Ok(tables.finish()?)
}

/// The meaning of `--to`.
enum Destination<'a> {
    Tables(&'a Path),
    TensorBoard(&'a Path),
}

impl<'a> TryFrom<&'a [PathBuf]> for Destination<'a> {
    type Error = Failure;

    fn try_from(words: &'a [PathBuf]) -> Result<Self, Failure> {
        match words {
            [kind, directory] if kind.as_os_str() == TENSORBOARD => Ok(Self::TensorBoard(directory)),
            [kind] if kind.as_os_str() == TENSORBOARD => {
                Err(Failure::invalid("--to tensorboard DIR: the directory is missing")
                    .with_hint("a directory of that name is ./tensorboard"))
            }
            [directory] => Ok(Self::Tables(directory)),
            _ => {
                Err(Failure::invalid("--to is followed by DIR or by tensorboard DIR")
                    .with_hint("write JOB before --to"))
            }
        }
    }
}

const TENSORBOARD: &str = "tensorboard";

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            // A reader of standard output that has enough, as `head` has, is no failure to speak of.
            Error::Write(error) if error.kind() == io::ErrorKind::BrokenPipe => Self::silent(),
            Error::NoParquet => Self::invalid(error).with_hint("--format csv and --format jsonl work in every build"),
            error => match error.source() {
                Some(source) => Self::new(Exit::Failed, format!("{error}: {source}")),
                None => Self::new(Exit::Failed, error),
            },
        }
    }
}
