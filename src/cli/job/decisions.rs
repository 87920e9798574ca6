//! `lrs job decisions`: what changed a job's rate.

use super::{Session, show};
use crate::cli::{connect::Connection, failure::Failure, output::FormatArgs, values::whole};
use lrs_proto::{Decision, ListDecisionsRequest, ListDecisionsResponse};

const PAGE_SIZE: i32 = 1000;

/// List the decisions about a job
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  lrs job decisions vision/cifar
  lrs job decisions vision/cifar --attempt 2 --json")]
pub struct Args {
    /// The job
    job: String,
    /// Only those taken in this attempt
    #[arg(long, value_name = "N", value_parser = whole(1..=i64::from(u32::MAX)))]
    attempt: Option<i64>,
    #[command(flatten)]
    format: FormatArgs,
}

pub(super) async fn run(session: &Session, args: &Args) -> Result<(), Failure> {
    let decisions = read(&session.server, session.name(&args.job)?.as_str(), args.attempt).await?;
    let answer = ListDecisionsResponse { decisions, next_page_token: String::new() };
    args.format.print(&answer, || show::decisions(&answer.decisions))
}

/// All decisions about a job, or those of one attempt, in the order they were recorded.
pub(in crate::cli) async fn read(
    server: &Connection,
    job: &str,
    attempt: Option<i64>,
) -> Result<Vec<Decision>, Failure> {
    let mut decisions = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = ListDecisionsRequest {
            job: job.to_owned(),
            page_size: PAGE_SIZE,
            page_token,
            attempt: attempt.unwrap_or_default(),
        };
        let page = server.call(async |mut service| service.list_decisions(request.clone()).await).await?;
        decisions.extend(page.decisions);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(decisions);
        }
    }
}
