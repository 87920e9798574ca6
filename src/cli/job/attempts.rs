//! `lrs job attempts`: the stretches of training of a job.

use super::{Session, show};
use crate::cli::{connect::Connection, failure::Failure, output::FormatArgs};
use lrs_proto::{Attempt, ListAttemptsRequest, ListAttemptsResponse};

const PAGE_SIZE: i32 = 1000;

/// List the attempts of a job
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  lrs job attempts vision/cifar\n  lrs job attempts vision/cifar --json")]
pub struct Args {
    /// The job
    job: String,
    #[command(flatten)]
    format: FormatArgs,
}

pub(super) async fn run(session: &Session, args: &Args) -> Result<(), Failure> {
    let attempts = read(&session.server, session.name(&args.job)?.as_str()).await?;
    let answer = ListAttemptsResponse { attempts, next_page_token: String::new() };
    args.format.print(&answer, || show::attempts(&answer.attempts))
}

/// All attempts of a job, first to newest.
pub(in crate::cli) async fn read(server: &Connection, job: &str) -> Result<Vec<Attempt>, Failure> {
    let mut attempts = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = ListAttemptsRequest { job: job.to_owned(), page_size: PAGE_SIZE, page_token };
        let page = server.call(async |mut service| service.list_attempts(request.clone()).await).await?;
        attempts.extend(page.attempts);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(attempts);
        }
    }
}
