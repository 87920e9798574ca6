//! The progress of the jobs as the server sees it: bars on a terminal, lines elsewhere.

use std::{convert::Infallible, future::pending, io::IsTerminal as _, time::Duration};

use futures::future::select_all;
use indicatif::{MultiProgress, ProgressBar, ProgressFinish, ProgressStyle};
use tokio::{
    sync::watch,
    time::{Instant, interval},
};
use tonic::Status;

use super::{
    error::Error,
    experiment::{Run, TOTAL_STEPS},
    operator::{Operator, is_transient},
    say::say,
};
use lrs_proto::{decision::Effect, watch_job_response::Event};
use lrs_runtime::backoff::Backoff;

const BAR_INTERVAL: Duration = Duration::from_millis(100);
const LINE_INTERVAL: Duration = Duration::from_secs(5);
/// How long the server may be away before the demo gives up.
const PATIENCE: Duration = Duration::from_mins(1);

/// The progress of a job.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Position {
    steps: u64,
    loss: Option<f64>,
    learning_rate: Option<f64>,
    decisions: u64,
}

impl Position {
    fn take(&mut self, event: &Event) {
        match event {
            Event::Record(record) => {
                self.steps = u64::try_from(record.step).map_or(self.steps, |step| step + 1);
                self.loss = record.loss.or(self.loss);
                self.learning_rate = record.learning_rate.or(self.learning_rate);
            }
            // Advice changes no rate.
            Event::Decision(decision) if !matches!(decision.effect, Some(Effect::Advice(_))) => self.decisions += 1,
            Event::Decision(_) | Event::Job(_) | Event::Change(_) | Event::MissedEvents(_) => {}
        }
    }

    fn figures(&self) -> String {
        let figure = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.5}"));
        format!("loss {}  rate {}  decisions {}", figure(self.loss), figure(self.learning_rate), self.decisions)
    }
}

/// Shows the jobs until it is dropped; returns only if the server cannot be watched.
pub async fn show(operator: &Operator, runs: &[Run]) -> Error {
    let (senders, receivers): (Vec<_>, Vec<_>) = runs.iter().map(|_| watch::channel(Position::default())).unzip();
    let watchers = runs.iter().zip(senders).map(|(run, sender)| Box::pin(follow(operator, run, sender)));
    let display = async {
        if std::io::stderr().is_terminal() {
            draw_bars(runs, &receivers).await
        } else {
            print_lines(runs, &receivers).await
        }
    };
    tokio::select! {
        (error, ..) = select_all(watchers) => error,
        never = display => match never {},
    }
}

/// Keeps a job's position up to date, across restarts of the server, until that fails.
async fn follow(operator: &Operator, run: &Run, position: watch::Sender<Position>) -> Error {
    let mut last_heard = Instant::now();
    let mut waits = Backoff::default().scattered();
    loop {
        let Err(status) = follow_stream(operator, run, &position, &mut last_heard).await;
        if !is_transient(&status) || last_heard.elapsed() > PATIENCE {
            return Error::Call { what: format!("watching {}", run.job_id), status };
        }
        waits.sleep().await;
    }
}

async fn follow_stream(
    operator: &Operator,
    run: &Run,
    position: &watch::Sender<Position>,
    last_heard: &mut Instant,
) -> Result<Infallible, Status> {
    let mut events = operator.watch_job(run).await?;
    loop {
        let event = events.message().await;
        *last_heard = Instant::now();
        match event? {
            Some(event) => position.send_modify(|position| event.event.iter().for_each(|event| position.take(event))),
            // The job has ended, and nothing more will happen to it.
            None => return pending().await,
        }
    }
}

async fn draw_bars(runs: &[Run], positions: &[watch::Receiver<Position>]) -> Infallible {
    let style = ProgressStyle::with_template("{prefix:>11} {wide_bar} {pos:>4}/{len} {msg}")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    let all = MultiProgress::new();
    let bar = |run: &Run| {
        let bar = ProgressBar::new(TOTAL_STEPS).with_style(style.clone()).with_finish(ProgressFinish::AndLeave);
        all.add(bar.with_prefix(format!("{} {}", run.arm, run.seed)))
    };
    let bars: Vec<ProgressBar> = runs.iter().map(bar).collect();
    let mut ticks = interval(BAR_INTERVAL);
    loop {
        ticks.tick().await;
        for (bar, position) in bars.iter().zip(positions) {
            let position = *position.borrow();
            bar.set_position(position.steps);
            bar.set_message(position.figures());
        }
    }
}

async fn print_lines(runs: &[Run], positions: &[watch::Receiver<Position>]) -> Infallible {
    let mut ticks = interval(LINE_INTERVAL);
    loop {
        ticks.tick().await;
        for (run, position) in runs.iter().zip(positions) {
            let position = *position.borrow();
            say(&format!("{:>9} {}: step {}/{TOTAL_STEPS}  {}", run.arm, run.seed, position.steps, position.figures()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lrs_proto::{Decision, TelemetryRecord};

    #[test]
    fn a_position_follows_records_and_counts_decisions() {
        let mut position = Position::default();
        let record = TelemetryRecord { step: 41, loss: Some(0.5), learning_rate: Some(0.25), ..Default::default() };
        position.take(&Event::Record(record));
        position.take(&Event::Decision(Decision::default()));
        position.take(&Event::MissedEvents(3));
        assert_eq!((position.steps, position.decisions), (42, 1));
        assert_eq!(position.figures(), "loss 0.50000  rate 0.25000  decisions 1");
    }

    #[test]
    fn a_record_without_a_loss_leaves_the_last_one_standing() {
        let mut position = Position { loss: Some(0.5), ..Position::default() };
        position.take(&Event::Record(TelemetryRecord { step: 7, ..Default::default() }));
        assert_eq!((position.steps, position.loss), (8, Some(0.5)));
    }
}
