//! Waits until the jobs of an experiment have reported: bars on a terminal, a line at every change elsewhere.

use std::{io::IsTerminal as _, time::Duration};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use super::file::Experiment;
use crate::cli::{
    connect::Connection,
    failure::{Exit, Failure},
    output::say,
};
use crate::config::{Length, duration::show};
use lrs_proto::{GetJobRequest, Job, job::State};

/// The time between two looks at the jobs.
const PERIOD: Duration = Duration::from_secs(1);
/// How long the server may be away.
const PATIENCE: Duration = Duration::from_mins(1);

/// Waits until every job has ended, or has reported all its steps.
///
/// # Errors
/// If a job is removed, the server is away for too long, or `limit` is over.
pub(super) async fn until_reported(
    server: &Connection,
    experiment: &Experiment,
    limit: Option<Length>,
) -> Result<(), Failure> {
    let mut display = Display::new(experiment);
    let Some(Length(limit)) = limit else { return watch(server, experiment, &mut display).await };
    match timeout(limit, watch(server, experiment, &mut display)).await {
        Ok(watched) => watched,
        Err(_) => Err(Failure::new(
            Exit::Unavailable,
            format!(
                "{} of {} jobs have not reported everything after {}",
                display.open,
                experiment.runs.len(),
                show(&limit)
            ),
        )
        .with_hint("run the command again to go on waiting")),
    }
}

async fn watch(server: &Connection, experiment: &Experiment, display: &mut Display) -> Result<(), Failure> {
    let mut ticks = interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last_heard = Instant::now();
    loop {
        ticks.tick().await;
        match look(server, experiment).await {
            Ok(jobs) => {
                last_heard = Instant::now();
                display.show(&jobs);
                if display.open == 0 {
                    return Ok(());
                }
            }
            Err(failure) if failure.exit == Exit::Unavailable && last_heard.elapsed() < PATIENCE => {}
            Err(failure) => return Err(failure),
        }
    }
}

async fn look(server: &Connection, experiment: &Experiment) -> Result<Vec<Job>, Failure> {
    let mut jobs = Vec::with_capacity(experiment.runs.len());
    for run in &experiment.runs {
        let name = run.job.to_string();
        jobs.push(server.call(async |mut service| service.get_job(GetJobRequest { name: name.clone() }).await).await?);
    }
    Ok(jobs)
}

/// How many steps a job has reported.
fn steps(job: &Job) -> i64 {
    job.progress.as_ref().and_then(|progress| progress.watermark_step).map_or(0, |step| step + 1)
}

/// Whether the job has ended or has reported all its steps.
fn has_reported(job: &Job) -> bool {
    let total = job.spec.as_ref().and_then(|spec| spec.total_steps);
    let is_ended = matches!(job.state(), State::Completed | State::Failed | State::Cancelled);
    is_ended || total.is_some_and(|total| steps(job) >= total)
}

/// The display of progress.
struct Display {
    bars: Vec<ProgressBar>,
    /// How many jobs have not reported everything.
    open: usize,
    told: Option<usize>,
}

impl Display {
    fn new(experiment: &Experiment) -> Self {
        let mut display = Self { bars: Vec::new(), open: experiment.runs.len(), told: None };
        if std::io::stderr().is_terminal() {
            let style = ProgressStyle::with_template("{prefix:>32} {bar:30} {pos:>8}/{len} {msg}");
            let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
            let all = MultiProgress::new();
            display.bars.extend(experiment.runs.iter().map(|run| {
                let length = run.spec.total_steps.and_then(|total| u64::try_from(total).ok()).unwrap_or_default();
                let bar = ProgressBar::new(length).with_style(style.clone()).with_prefix(run.job.job().to_owned());
                all.add(bar)
            }));
        }
        display
    }

    fn show(&mut self, jobs: &[Job]) {
        self.open = jobs.iter().filter(|job| !has_reported(job)).count();
        for (bar, job) in self.bars.iter().zip(jobs) {
            let is_over = has_reported(job);
            bar.set_position(if is_over && steps(job) == 0 {
                bar.length().unwrap_or_default()
            } else {
                steps(job).unsigned_abs()
            });
            let state = job.state().as_str_name().trim_start_matches("STATE_").to_lowercase();
            if is_over { bar.abandon_with_message(state) } else { bar.set_message(state) }
        }
        if self.bars.is_empty() && self.told != Some(self.open) {
            say(&format!("{} of {} jobs have reported everything.", jobs.len() - self.open, jobs.len()));
            self.told = Some(self.open);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lrs_proto::{JobSpec, Progress};

    fn job(state: State, watermark_step: Option<i64>, total_steps: Option<i64>) -> Job {
        Job {
            state: state.into(),
            spec: Some(JobSpec { total_steps, ..JobSpec::default() }),
            progress: Some(Progress { watermark_step, ..Progress::default() }),
            ..Job::default()
        }
    }

    #[test]
    fn a_job_is_waited_for_until_it_ended_or_has_all_its_steps() {
        for (state, watermark_step, total_steps, expected) in [
            (State::Pending, None, Some(10), false),
            (State::Running, Some(8), Some(10), false),
            (State::Running, Some(9), Some(10), true),
            (State::Running, Some(9), None, false),
            (State::Stale, Some(3), Some(10), false),
            (State::Failed, None, Some(10), true),
            (State::Completed, None, None, true),
        ] {
            let job = job(state, watermark_step, total_steps);
            assert_eq!(has_reported(&job), expected, "{job:?}");
        }
    }
}
