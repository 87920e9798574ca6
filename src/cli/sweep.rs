//! `lrs sweep`: the median rule over the live jobs of an experiment, as advice to stop.
//!
//! The sweep is a client like any other operator's. It reads telemetry, judges each job with the pure rule of `median`,
//! and records its advice, with the evidence, as a decision. The server makes the decision durable before any trainer
//! sees it.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use serde::Serialize;

use super::{
    connect::{ConnectArgs, Connection},
    failure::{Exit, Failure},
    job_name::{self, NamespaceArg},
    output,
    values::whole,
};
use crate::config::Length;
use lrs_model::number::exact;
use lrs_proto::{AdviseStopRequest, Decision};

mod board;
mod median;

use board::{AUTHOR, Board, Finding, STEP};

/// Tell an experiment's worst jobs to stop
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
A rung is a step of the training. At each rung, the sweep compares a job's best value of the objective so far with the
median of the running means of the jobs that began before it. If the job is worse, its trainer is advised to stop. The
judgement at a rung depends on the telemetry up to that step alone, so a second sweep, or a later one with --dry-run,
judges alike.

At each rung the sweep waits for all jobs that began earlier. A dead job holds it up until you end that job with
`lrs job complete`.

Examples:
  lrs sweep digits -n vision --every 500
  lrs sweep digits -n vision --every 100 --after 1000 --min-jobs 5 --json
  lrs sweep digits -n vision --every 500 --linger 10m            beside a study
  lrs sweep digits -n vision --every 500 --once --dry-run")]
pub struct Args {
    /// The experiment, as the jobs' specs name it
    experiment: String,
    /// Distance between rungs; there are at most 10,000 rungs
    #[arg(long, value_name = "STEPS", value_parser = whole(1..=1_i64 << 40))]
    every: i64,
    /// The first rung [default: --every]
    #[arg(long, value_name = "STEP", value_parser = whole(0..=1_i64 << 50))]
    after: Option<i64>,
    /// Judge a job only if at least this many others have a value at the rung
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = whole(1..=u16::MAX))]
    min_jobs: u16,
    /// How long to wait between looks at the jobs, such as 500ms or 1m
    #[arg(long, value_name = "TIME", default_value = "2s", allow_hyphen_values = true)]
    interval: Length,
    /// How long to go on when no job is live, for a study whose trials run one after another
    #[arg(long, value_name = "TIME", default_value = "0s", allow_hyphen_values = true)]
    linger: Length,
    /// Judge once and exit
    #[arg(long)]
    once: bool,
    /// Print the judgements; advise nobody
    #[arg(long)]
    dry_run: bool,
    /// Print JSON objects, one a line, in place of sentences
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connect: ConnectArgs,
    #[command(flatten)]
    namespace: NamespaceArg,
}

/// Where jobs are judged, and by how many others.
#[derive(Clone, Copy, Debug)]
struct Rule {
    first: i64,
    every: i64,
    min_jobs: usize,
}

impl Rule {
    const MAX_RUNGS: usize = 10_000;

    /// The step of a rung: the last whose telemetry counts.
    fn step(&self, rung: usize) -> i64 {
        let rung = i64::try_from(rung).unwrap_or(i64::MAX);
        self.first.saturating_add(self.every.saturating_mul(rung))
    }

    /// The first rung at or after `step`.
    fn rung_of(&self, step: i64) -> Option<usize> {
        let beyond = step.saturating_sub(self.first).max(0);
        usize::try_from(beyond.unsigned_abs().div_ceil(self.every.unsigned_abs())).ok()
    }
}

/// Sweeps until no job of the experiment is live.
///
/// # Errors
/// If the server refuses, or the jobs cannot be compared.
pub async fn run(args: Args) -> Result<(), Failure> {
    let rule =
        Rule { first: args.after.unwrap_or(args.every), every: args.every, min_jobs: usize::from(args.min_jobs) };
    let (Length(interval), Length(linger)) = (args.interval, args.linger);
    let mut idle = Duration::ZERO;
    let server = args.connect.connect_as(concat!("lrs-study/", env!("CARGO_PKG_VERSION"))).await?;
    let board = Board::new(job_name::parent(&args.namespace.namespace), args.experiment.clone(), rule);
    let mut sweep = Sweep { server, board, found: VecDeque::new(), held_up: None };
    loop {
        match sweep.look(&args).await {
            // It judges as before once the server is back.
            Err(failure) if failure.exit == Exit::Unavailable && !args.once => eprintln!("{}", failure.message),
            result => result?,
        }
        idle = if sweep.board.is_over() { idle.saturating_add(interval) } else { Duration::ZERO };
        if args.once || idle > linger {
            break;
        }
        tokio::time::sleep(interval).await;
    }
    let (jobs, out) = sweep.board.counts();
    if args.json { Ok(()) } else { output::print(&format!("{out} of {jobs} jobs are not worth going on with.\n")) }
}

/// A sweep under way.
struct Sweep {
    server: Connection,
    board: Board,
    /// Findings that are not printed yet.
    found: VecDeque<Finding>,
    /// The last message about a job that holds the others up.
    held_up: Option<String>,
}

impl Sweep {
    /// Looks at all jobs once.
    async fn look(&mut self, args: &Args) -> Result<(), Failure> {
        self.board.refresh(&self.server).await?;
        self.board.judge(&self.server, &mut self.found).await?;
        while let Some(finding) = self.found.front() {
            let is_told = finding.is_live && !args.dry_run;
            let decision = if is_told { advise(&self.server, finding).await? } else { None };
            let said = if args.json { finding.json(decision.as_ref())? } else { finding.sentence(decision.as_ref()) };
            self.found.pop_front();
            output::print(&said)?;
        }
        let late = self.board.holding_up();
        let late = late.map(|(job, step)| format!("waiting at step {step} for {job}, which has stopped reporting"));
        if let Some(late) = late.as_ref().filter(|_| late != self.held_up) {
            eprintln!("{late}");
        }
        self.held_up = late;
        Ok(())
    }
}

/// Records the advice; `None` if the job has ended in the meantime.
async fn advise(server: &Connection, finding: &Finding) -> Result<Option<Decision>, Failure> {
    let request = AdviseStopRequest {
        name: finding.job.clone(),
        withdraw: false,
        reason: finding.reason(),
        author: AUTHOR.to_owned(),
        evidence: finding.evidence(),
        // The same for the same finding, so that two sweeps at once advise once.
        request_id: format!("sweep at step {}", finding.step),
    };
    match server.call(async |mut service| service.advise_stop(request.clone()).await).await {
        Ok(decision) => Ok(Some(decision)),
        Err(failure) if failure.exit == Exit::Conflict => Ok(None),
        Err(failure) => Err(failure),
    }
}

impl Finding {
    fn reason(&self) -> String {
        let Self { step, metric, best, median, jobs, .. } = self;
        let (best, median) = (output::number(*best), output::number(*median));
        format!(
            "at step {step} its best {metric}, {best}, is worse than {median}, the median of the means of {jobs} jobs that began before"
        )
    }

    fn evidence(&self) -> BTreeMap<String, f64> {
        let figures =
            [(STEP, exact(self.step)), ("best", self.best), ("median", self.median), ("jobs", exact(self.jobs))];
        figures.map(|(name, figure)| (name.to_owned(), figure)).into()
    }

    fn sentence(&self, decision: Option<&Decision>) -> String {
        let told = match decision {
            Some(decision) => format!("advised to stop from step {} on", decision.effective_step),
            None if self.is_live => "not advised".to_owned(),
            None => "ended".to_owned(),
        };
        format!("{} ({told}): {}.\n", self.job, self.reason())
    }

    fn json(&self, decision: Option<&Decision>) -> Result<String, Failure> {
        output::json_line(&Said {
            job: &self.job,
            step: self.step,
            metric: &self.metric,
            best: self.best,
            median: self.median,
            jobs: self.jobs,
            decision: decision.map(|decision| decision.name.as_str()),
            effective_step: decision.map(|decision| decision.effective_step),
        })
    }
}

/// A finding as JSON.
#[derive(Serialize)]
struct Said<'a> {
    job: &'a str,
    step: i64,
    metric: &'a str,
    best: f64,
    median: f64,
    jobs: usize,
    decision: Option<&'a str>,
    effective_step: Option<i64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rungs_and_steps_lead_to_each_other() {
        let rule = Rule { first: 100, every: 50, min_jobs: 3 };
        assert_eq!([0, 1, 4].map(|rung| rule.step(rung)), [100, 150, 300]);
        assert_eq!([0, 100, 101, 150, 300].map(|step| rule.rung_of(step)), [0, 0, 1, 1, 4].map(Some));
    }

    #[test]
    fn a_finding_says_what_it_rests_on() {
        let finding = Finding {
            job: "namespaces/a/jobs/b".to_owned(),
            step: 100,
            metric: "val_loss".to_owned(),
            best: f64::INFINITY,
            median: 0.5,
            jobs: 4,
            is_live: true,
        };
        assert_eq!(finding.evidence()["step"].to_bits(), 100f64.to_bits());
        let json: serde_json::Value = serde_json::from_str(&finding.json(None).unwrap()).unwrap();
        assert_eq!((&json["best"], &json["decision"]), (&"Infinity".into(), &serde_json::Value::Null));
        assert!(
            finding.sentence(None).contains("its best val_loss, inf, is worse than 0.5"),
            "{}",
            finding.sentence(None)
        );
    }
}
