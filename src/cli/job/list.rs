//! `lrs job list`: jobs, page after page.

use super::{Session, show};
use crate::cli::{failure::Failure, job_name, output::FormatArgs, values::whole};
use lrs_proto::{ListJobsRequest, ListJobsResponse};

const PAGE_SIZE: usize = 1000;

/// List jobs
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  lrs job list
  lrs job list --all-namespaces --filter 'state = RUNNING AND labels.team = \"vision\"'
  lrs job list --order-by 'update_time desc' --limit 10 --json")]
pub struct Args {
    /// Comparisons joined by AND, over `state`, `experiment`, `arm`, `display_name`, `labels.KEY`, `create_time`,
    /// `update_time`
    #[arg(long, default_value = "", hide_default_value = true)]
    filter: String,
    /// `name`, `create_time` or `update_time`; with ` desc` for the largest first
    #[arg(long, default_value = "name", value_name = "FIELD", allow_hyphen_values = true)]
    order_by: String,
    /// Jobs of all namespaces
    #[arg(short, long)]
    all_namespaces: bool,
    /// How many jobs at most
    #[arg(long, default_value_t = 1000, value_name = "N", value_parser = whole(1..=u32::MAX))]
    limit: u32,
    #[command(flatten)]
    format: FormatArgs,
}

pub(super) async fn run(session: &Session, args: &Args) -> Result<(), Failure> {
    let namespace = if args.all_namespaces { "-" } else { &session.namespace.namespace };
    let limit = usize::try_from(args.limit).unwrap_or(usize::MAX);
    let mut jobs = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = ListJobsRequest {
            parent: job_name::parent(namespace),
            page_size: i32::try_from(PAGE_SIZE.min(limit - jobs.len())).unwrap_or(i32::MAX),
            page_token,
            filter: args.filter.clone(),
            order_by: args.order_by.clone(),
        };
        let page = session.server.call(async |mut service| service.list_jobs(request.clone()).await).await?;
        jobs.extend(page.jobs);
        page_token = page.next_page_token;
        if page_token.is_empty() || jobs.len() >= limit {
            break;
        }
    }
    if !page_token.is_empty() {
        eprintln!("There are more jobs; --limit says how many to list.");
    }
    let answer = ListJobsResponse { jobs, next_page_token: page_token };
    args.format.print(&answer, || show::jobs(&answer.jobs, args.all_namespaces))
}
