//! `lrs job delete`: removes a job and its record.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

use super::Session;
use crate::cli::{
    failure::{Exit, Failure},
    order::OrderArgs,
    output,
};
use lrs_proto::DeleteJobRequest;

/// Remove a job and everything recorded of it
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  lrs job delete vision/cifar --reason 'a typo in its name'
  lrs job delete vision/cifar --force --yes    even if it has not ended, without asking")]
pub struct Args {
    /// The job
    job: String,
    /// Remove it even if it has not ended
    #[arg(long)]
    force: bool,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
    #[command(flatten)]
    order: OrderArgs,
}

pub(super) async fn run(session: &Session, args: &Args) -> Result<(), Failure> {
    let name = session.name(&args.job)?;
    let is_asked = !args.yes && io::stdin().is_terminal() && io::stderr().is_terminal();
    if is_asked && !confirm(&format!("Remove {name} with its telemetry and decisions, forever?"))? {
        return Err(Failure::new(Exit::Failed, "nothing was removed"));
    }
    let request = DeleteJobRequest {
        name: name.to_string(),
        etag: String::new(),
        force: args.force,
        reason: args.order.record.reason.clone(),
        author: args.order.record.author.clone(),
        request_id: args.order.request_id(),
    };
    session.server.call(async |mut service| service.delete_job(request.clone()).await).await?;
    output::print(&format!("Removed {name}.\n"))
}

fn confirm(question: &str) -> Result<bool, Failure> {
    let failed = |error: io::Error| Failure::new(Exit::Failed, format!("cannot ask: {error}"));
    eprint!("{question} [y/N] ");
    io::stderr().flush().map_err(failed)?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer).map_err(failed)?;
    Ok(is_yes(&answer))
}

fn is_yes(answer: &str) -> bool {
    matches!(answer.trim().to_lowercase().as_str(), "y" | "yes")
}

#[cfg(test)]
mod tests {
    use super::is_yes;

    #[test]
    fn only_a_yes_is_a_yes() {
        assert!(["y\n", "Yes\n", " YES "].into_iter().all(is_yes));
        assert!(!["", "\n", "n\n", "yep\n"].into_iter().any(is_yes));
    }
}
