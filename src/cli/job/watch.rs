//! `lrs job watch`: a job's events as they happen.

use std::time::Duration;

use super::{Session, show};
use crate::cli::{
    failure::{Exit, Failure},
    output::{self, Format, FormatArgs},
};
use lrs_proto::{WatchJobRequest, WatchJobResponse, watch_job_response::Event};

/// How often in a row the connection may be lost before the command gives up.
const MAX_LOSSES: u32 = 10;
/// The longest pause before connecting again.
const MAX_PAUSE: Duration = Duration::from_secs(10);

/// Follow a job's events, one a line
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Ends when the job has ended. A lost connection is made again.

Examples:
  lrs job watch vision/cifar
  lrs job watch vision/cifar --json | jq -r '.decision.reason // empty'")]
pub struct Args {
    /// The job
    job: String,
    #[command(flatten)]
    format: FormatArgs,
}

/// The state of watching, for the next connection.
#[derive(Debug, Default)]
struct Progress {
    /// The job has ended: no more events will come.
    has_ended: bool,
    /// Connections lost since the last event.
    losses: u32,
}

pub(super) async fn run(session: &Session, args: &Args) -> Result<(), Failure> {
    let name = session.name(&args.job)?;
    let mut progress = Progress::default();
    loop {
        let lost = match follow(session, name.as_str(), args.format.format(), &mut progress).await {
            Ok(()) if progress.has_ended => return Ok(()),
            Ok(()) => Failure::new(Exit::Unavailable, "the server ended the stream"),
            Err(failure) => failure,
        };
        progress.losses += 1;
        if lost.exit != Exit::Unavailable || progress.losses > MAX_LOSSES {
            return Err(lost);
        }
        let pause = pause_after(progress.losses);
        eprintln!("{}; connecting again in {:.1} s", lost.message, pause.as_secs_f64());
        tokio::time::sleep(pause).await;
    }
}

/// Prints events until the stream ends.
async fn follow(session: &Session, job: &str, format: Format, progress: &mut Progress) -> Result<(), Failure> {
    let request = WatchJobRequest { name: job.to_owned() };
    let mut events = session.server.service().watch_job(request).await?.into_inner();
    while let Some(response) = events.message().await? {
        progress.losses = 0;
        if let Some(Event::Job(job)) = &response.event {
            progress.has_ended = show::has_ended(job);
        }
        output::print(&line(&response, format)?)?;
    }
    Ok(())
}

/// An event on a line of its own.
fn line(response: &WatchJobResponse, format: Format) -> Result<String, Failure> {
    match format {
        Format::Json => output::json_line(response),
        Format::Yaml => Ok(format!("---\n{}", output::yaml(response)?)),
        Format::Table => Ok(response.event.as_ref().map_or_else(String::new, |event| show::event(event) + "\n")),
    }
}

/// Twice as long after each loss.
fn pause_after(losses: u32) -> Duration {
    (Duration::from_millis(250) * 2u32.saturating_pow(losses.min(MAX_LOSSES))).min(MAX_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use lrs_proto::{Job, job::State};

    #[test]
    fn an_event_is_one_line_for_programs_and_for_people() {
        let job = Job { name: "namespaces/a/jobs/b".to_owned(), state: State::Running.into(), ..Default::default() };
        let response = WatchJobResponse { event: Some(Event::Job(job)) };
        for format in [Format::Json, Format::Table] {
            let line = line(&response, format).unwrap();
            assert_eq!(line.matches('\n').count(), 1, "{line}");
            assert!(line.contains("RUNNING"), "{line}");
        }
    }

    #[test]
    fn pauses_grow_up_to_a_bound() {
        assert!(pause_after(1) < pause_after(2));
        assert_eq!(pause_after(u32::MAX), MAX_PAUSE);
    }
}
