//! `lrs job changes`: who did what to a job, and why.

use super::{Session, decisions, show};
use crate::cli::{connect::Connection, failure::Failure, output::FormatArgs};
use lrs_proto::{Change, ListChangesRequest, ListChangesResponse, decision::Author};

const PAGE_SIZE: i32 = 1000;

/// List who changed a job, when and why; the changes of a deleted job too
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  lrs job changes vision/cifar                    with the decisions of controllers, in one history
  lrs job changes vision/cifar --people --json")]
pub struct Args {
    /// The job
    job: String,
    /// Leave out what controllers decided
    #[arg(long)]
    people: bool,
    #[command(flatten)]
    format: FormatArgs,
}

pub(super) async fn run(session: &Session, args: &Args) -> Result<(), Failure> {
    let name = session.name(&args.job)?;
    let changes = read(&session.server, name.as_str()).await?;
    let is_deleted = changes.last().is_some_and(|change| change.kind() == lrs_proto::change::Kind::Deleted);
    let decisions = if args.people || is_deleted {
        Vec::new()
    } else {
        decisions::read(&session.server, name.as_str(), None).await?
    };
    let by_controllers = decisions.iter().filter(|decision| matches!(decision.author, Some(Author::Controller(_))));
    let answer = ListChangesResponse { changes, next_page_token: String::new() };
    args.format.print(&answer, || show::history(&answer.changes, &by_controllers.collect::<Vec<_>>()))
}

/// All changes of a job, in the order they were recorded.
async fn read(server: &Connection, job: &str) -> Result<Vec<Change>, Failure> {
    let mut changes = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = ListChangesRequest { job: job.to_owned(), page_size: PAGE_SIZE, page_token };
        let page = server.call(async |mut service| service.list_changes(request.clone()).await).await?;
        changes.extend(page.changes);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(changes);
        }
    }
}
