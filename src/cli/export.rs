//! `lrs export`: what is on record of a job, in files that other tools read, page by page in bounded memory.

use std::path::{Path, PathBuf};

use super::{
    connect::ConnectArgs,
    failure::{Exit, Failure},
    job_name::NamespaceArg,
};

mod column;
mod files;
mod history;
mod parquet;
mod rows;
mod tables;
mod target;
mod tensorboard;
mod text;

use column::Table;
use files::Format;
use history::History;

/// Which job, and where to.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
With --to DIR all three tables are written, telemetry, rates and decisions, and export.json, which says what they are of and the
unit of each column. Without, one table is written, to a file or to standard output. A file that is there is replaced once the
new one is whole.

Examples:
  lrs export vision/cifar --to cifar
  lrs export vision/cifar --to tensorboard runs            then: tensorboard --logdir runs
  lrs export vision/cifar --format csv > cifar.csv
  lrs export vision/cifar --table rates -o rates.parquet")]
pub struct Args {
    /// The job
    job: String,
    /// The attempt whose history to export [default: the newest]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    attempt: Option<u32>,
    /// How to write tables [default: what the name of the file says, else parquet]
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

/// Exports.
///
/// # Errors
/// What the server says, or that a file can not be written.
pub async fn run(args: Args) -> Result<(), Failure> {
    let destination = args.to.as_deref().map(Destination::try_from).transpose()?;
    let named = args.output.as_deref().and_then(Format::of_name);
    let format = args.format.or(named).unwrap_or(Format::Parquet);
    if args.to.is_none() && args.output.is_none() && format == Format::Parquet {
        return Err(Failure::invalid("Parquet needs a file: say where with -o FILE or --to DIR")
            .with_hint("--format csv and --format jsonl can be written to standard output"));
    }
    let name = args.namespace.resolve(&args.job)?;
    let history = History::open(&args.connect, &name, args.attempt).await?;
    match destination {
        Some(Destination::Tables(directory)) => tables::all(&history, format, directory).await,
        Some(Destination::TensorBoard(directory)) => tensorboard::write(&history, directory).await,
        None => tables::one(&history, format, args.table, args.output.as_deref()).await,
    }
}

/// What `--to` says.
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

fn failed(what: impl std::fmt::Display) -> Failure {
    Failure::new(Exit::Failed, what)
}
