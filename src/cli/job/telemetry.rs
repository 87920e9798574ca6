//! `lrs job telemetry`: what a job's trainers reported.

use super::{Session, show};
use crate::cli::{
    failure::Failure,
    output, telemetry,
    values::{step, whole},
};
use lrs_proto::QueryTelemetryRequest;

const PAGE_SIZE: i32 = 10_000;

/// Print what a job's trainers reported
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  lrs job telemetry vision/cifar --max-points 500
  lrs job telemetry vision/cifar --metric loss --metric val_loss --format csv > cifar.csv
  lrs job telemetry vision/cifar --start 1000 --end 2000 --format jsonl")]
pub struct Args {
    /// The job
    job: String,
    /// The attempt whose history to read [default: the newest]
    #[arg(long, value_name = "N", value_parser = whole(1..=i64::from(u32::MAX)))]
    attempt: Option<i64>,
    /// Only this metric, such as `loss`, `grad_norm` or `val_loss`; may be given several times
    #[arg(long = "metric", value_name = "NAME")]
    metrics: Vec<String>,
    /// First step
    #[arg(long, default_value_t = 0, value_name = "STEP", value_parser = step(0))]
    start: i64,
    /// The step before which to stop [default: none]
    #[arg(long, value_name = "STEP", value_parser = step(0))]
    end: Option<i64>,
    /// Down-sample each metric to about so many points; the smallest and the largest of each stretch are kept
    #[arg(long, value_name = "N", value_parser = whole(2..=100_000_i32))]
    max_points: Option<i32>,
    /// How to write the telemetry
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    /// Short for --format json
    #[arg(long, conflicts_with = "format")]
    json: bool,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Format {
    /// For people
    Table,
    /// The whole answer in columns, as canonical JSON
    Json,
    /// A record a line, as canonical JSON
    Jsonl,
    /// A record a line; values in full
    Csv,
}

pub(super) async fn run(session: &Session, args: &Args) -> Result<(), Failure> {
    let request = QueryTelemetryRequest {
        job: session.name(&args.job)?.to_string(),
        attempt: args.attempt.unwrap_or_default(),
        start_step: args.start,
        end_step: args.end,
        metrics: args.metrics.clone(),
        max_points: args.max_points.unwrap_or_default(),
        page_size: PAGE_SIZE,
        page_token: String::new(),
    };
    let answer = telemetry::query(&session.server, &request).await?;
    let text = match if args.json { Format::Json } else { args.format } {
        Format::Table => show::samples(&telemetry::samples(&answer)?),
        Format::Json => output::json(&answer)?,
        Format::Jsonl => telemetry::to_jsonl(&telemetry::samples(&answer)?)?,
        Format::Csv => telemetry::to_csv(&telemetry::samples(&answer)?)?,
    };
    output::print(&text)
}
