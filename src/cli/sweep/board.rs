//! The jobs of an experiment and how far each has trained, as read from the server.

use std::collections::VecDeque;

use super::{
    Rule,
    median::{Contender, Judgement, Out, Standing, judge},
};
use crate::cli::{connect::Connection, failure::Failure, job};
use lrs_model::telemetry::LOSS;
use lrs_proto::{
    Decision, Job, ListJobsRequest, Mode, Objective, QueryTelemetryRequest,
    decision::{Author, Effect},
    job::State,
};

const PAGE_JOBS: i32 = 1000;
const PAGE_STEPS: i32 = 20_000;
/// The author of the advice.
pub(super) const AUTHOR: &str = "sweep";
/// The figure of the evidence that says at which step a job was judged.
pub(super) const STEP: &str = "step";

/// A job that has begun.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) name: String,
    /// When its first attempt began: seconds and nanoseconds.
    began: (i64, i32),
    watermark: Option<i64>,
    pub(super) is_stale: bool,
    /// Steps below this are in `running`.
    read_end: i64,
    running: Standing,
    contender: Contender,
    /// How many rungs it has reached.
    came_to: usize,
    /// Whether it has ended and there is nothing more to read.
    is_read: bool,
    /// The next rung to judge it at.
    rung: usize,
}

/// The jobs of an experiment that have begun, by when they began.
#[derive(Debug)]
pub(super) struct Board {
    parent: String,
    experiment: String,
    rule: Rule,
    objective: Option<Objective>,
    entries: Vec<Entry>,
    /// Whether any job has not ended.
    has_live: bool,
}

/// A job that is out.
#[derive(Debug)]
pub(super) struct Finding {
    pub(super) job: String,
    pub(super) step: i64,
    pub(super) metric: String,
    /// Values as reported.
    pub(super) best: f64,
    pub(super) median: f64,
    pub(super) jobs: usize,
    /// Whether the job's trainer can still be advised.
    pub(super) is_live: bool,
}

impl Board {
    pub(super) fn new(parent: String, experiment: String, rule: Rule) -> Self {
        Self { parent, experiment, rule, objective: None, entries: Vec::new(), has_live: true }
    }

    /// Whether all jobs have ended.
    pub(super) fn is_over(&self) -> bool {
        !self.has_live && !self.entries.is_empty()
    }

    /// How many jobs have begun, and how many of them are out.
    pub(super) fn counts(&self) -> (usize, usize) {
        (self.entries.len(), self.entries.iter().filter(|entry| entry.contender.out_at.is_some()).count())
    }

    /// Reads which jobs there are, and how far each has come.
    pub(super) async fn refresh(&mut self, server: &Connection) -> Result<(), Failure> {
        let jobs = self.jobs(server).await?;
        if jobs.is_empty() {
            let failure =
                Failure::invalid(format!("{} has no job of the experiment {:?}", self.parent, self.experiment));
            return Err(
                failure.with_hint("the jobs of an experiment have `experiment` in their specs; -n names the namespace")
            );
        }
        self.objective = Some(common_objective(&jobs)?);
        self.has_live = jobs.iter().any(|job| !has_ended(job));
        for job in jobs.into_iter().filter(|job| job.attempt > 0) {
            let known = self.entries.iter().position(|entry| entry.name == job.name);
            let place = match known {
                Some(place) => place,
                None => self.admit(server, &job).await?,
            };
            let entry = &mut self.entries[place];
            entry.watermark = job.progress.as_ref().and_then(|progress| progress.watermark_step).or(entry.watermark);
            entry.is_stale = job.state() == State::Stale;
            entry.contender.has_ended = has_ended(&job);
        }
        Ok(())
    }

    async fn jobs(&self, server: &Connection) -> Result<Vec<Job>, Failure> {
        let mut request = ListJobsRequest {
            parent: self.parent.clone(),
            page_size: PAGE_JOBS,
            filter: format!("experiment = {:?}", self.experiment),
            ..Default::default()
        };
        let mut jobs = Vec::new();
        loop {
            let page = server.call(async |mut service| service.list_jobs(request.clone()).await).await?;
            jobs.extend(page.jobs);
            if page.next_page_token.is_empty() {
                return Ok(jobs);
            }
            request.page_token = page.next_page_token;
        }
    }

    /// Adds a job that has begun, and returns its place.
    async fn admit(&mut self, server: &Connection, job: &Job) -> Result<usize, Failure> {
        let attempts = job::attempts::read(server, &job.name).await?;
        let began =
            attempts.first().and_then(|first| first.create_time.as_ref()).map_or((0, 0), |t| (t.seconds, t.nanos));
        // Earlier advice of any sweep stands, even if somebody withdrew it.
        let decisions = job::decisions::read(server, &job.name, None).await?;
        let out_at = decisions.iter().find_map(|decision| self.rule.rung_of(advised_at(decision)?));
        let entry = Entry {
            name: job.name.clone(),
            began,
            watermark: None,
            is_stale: false,
            read_end: 0,
            running: Standing::default(),
            contender: Contender { out_at, ..Contender::default() },
            came_to: 0,
            is_read: false,
            rung: 0,
        };
        let key = |entry: &Entry| (entry.began, entry.name.clone());
        let place = self.entries.partition_point(|other| key(other) < key(&entry));
        self.entries.insert(place, entry);
        Ok(place)
    }

    /// Judges every job at every rung that it has reached; `found` gets the jobs that are newly out.
    pub(super) async fn judge(&mut self, server: &Connection, found: &mut VecDeque<Finding>) -> Result<(), Failure> {
        let Some(objective) = self.objective.clone() else { return Ok(()) };
        for place in 0..self.entries.len() {
            self.entries[place].read(server, &self.rule, &objective).await?;
            found.extend(self.judge_one(place, &objective));
        }
        Ok(())
    }

    fn judge_one(&mut self, place: usize, objective: &Objective) -> Option<Finding> {
        let (before, rest) = self.entries.split_at_mut(place);
        let entry = rest.first_mut()?;
        while entry.contender.out_at.is_none() && entry.rung < entry.came_to {
            let standing = entry.contender.standings.get(entry.rung)?;
            let others = before.iter().map(|other| &other.contender);
            match judge(standing, entry.rung, others, self.rule.min_jobs) {
                Judgement::NotYet => return None,
                Judgement::In => entry.rung += 1,
                Judgement::Out(Out { best, median, jobs }) => {
                    entry.contender.out_at = Some(entry.rung);
                    return Some(Finding {
                        job: entry.name.clone(),
                        step: self.rule.step(entry.rung),
                        metric: objective.metric.clone(),
                        best: from_cost(objective, best),
                        median: from_cost(objective, median),
                        jobs,
                        is_live: !entry.contender.has_ended,
                    });
                }
            }
        }
        None
    }

    /// A job that has stopped reporting, and the step at which a later job waits for it.
    pub(super) fn holding_up(&self) -> Option<(&str, i64)> {
        let (place, late) =
            self.entries.iter().enumerate().find(|(_, entry)| entry.is_stale && entry.contender.out_at.is_none())?;
        let waits = |entry: &Entry| entry.rung >= late.came_to && entry.rung < entry.came_to;
        self.entries[place..].iter().any(waits).then(|| (late.name.as_str(), self.rule.step(late.came_to)))
    }
}

impl Entry {
    /// Reads on, to the last rung that the job has reached; to the end, if the job has ended.
    async fn read(&mut self, server: &Connection, rule: &Rule, objective: &Objective) -> Result<(), Failure> {
        while self.came_to < Rule::MAX_RUNGS
            && !self.is_read
            && self.contender.out_at.is_none_or(|out| self.came_to <= out)
        {
            let step = rule.step(self.came_to);
            let has_come = if self.contender.has_ended {
                self.has_record_from(server, step).await?
            } else {
                self.watermark >= Some(step)
            };
            if !has_come && !self.contender.has_ended {
                return Ok(());
            }
            self.take(server, objective, step + 1).await?;
            self.contender.standings.push(self.running);
            self.came_to += usize::from(has_come);
            self.is_read = !has_come;
        }
        Ok(())
    }

    async fn has_record_from(&self, server: &Connection, step: i64) -> Result<bool, Failure> {
        let request =
            QueryTelemetryRequest { job: self.name.clone(), start_step: step, page_size: 1, ..Default::default() };
        let page = server.call(async |mut service| service.query_telemetry(request.clone()).await).await?;
        Ok(!page.series.is_empty())
    }

    /// Takes the values of the steps below `end`.
    async fn take(&mut self, server: &Connection, objective: &Objective, end: i64) -> Result<(), Failure> {
        let mut request = QueryTelemetryRequest {
            job: self.name.clone(),
            start_step: self.read_end,
            end_step: Some(end),
            metrics: vec![objective.metric.clone()],
            page_size: PAGE_STEPS,
            ..Default::default()
        };
        // Stored once all pages are read: after a failure, pages read so far would count twice.
        let mut running = self.running;
        loop {
            let page = server.call(async |mut service| service.query_telemetry(request.clone()).await).await?;
            let values = page.series.iter().flat_map(|series| &series.value);
            values.for_each(|value| running.push(to_cost(objective, *value)));
            if page.next_page_token.is_empty() {
                (self.running, self.read_end) = (running, end);
                return Ok(());
            }
            request.page_token = page.next_page_token;
        }
    }
}

/// The objective of all jobs, which must be the same for a comparison.
fn common_objective(jobs: &[Job]) -> Result<Objective, Failure> {
    let objective = |job: &Job| {
        let stated = job.spec.as_ref().and_then(|spec| spec.objective.clone()).unwrap_or_default();
        let metric = if stated.metric.is_empty() { LOSS.to_owned() } else { stated.metric };
        let mode = if stated.mode == Mode::Max as i32 { Mode::Max } else { Mode::Min };
        Objective { metric, mode: mode.into(), ..Objective::default() }
    };
    let mut objectives = jobs.iter().map(|job| (&job.name, objective(job)));
    let Some((first, common)) = objectives.next() else { return Ok(Objective::default()) };
    match objectives.find(|(_, objective)| *objective != common) {
        None => Ok(common),
        Some((other, _)) => Err(Failure::invalid(format!("{first} and {other} have different objectives")).with_hint(
            "only jobs with the same objective can be compared: give them one objective, or put them into different experiments",
        )),
    }
}

fn to_cost(objective: &Objective, value: f64) -> f64 {
    match objective.mode() {
        // A value that is not finite stays the worst in either direction.
        Mode::Max if value.is_finite() => -value,
        _ => value,
    }
}

fn from_cost(objective: &Objective, cost: f64) -> f64 {
    if objective.mode() == Mode::Max { -cost } else { cost }
}

fn has_ended(job: &Job) -> bool {
    matches!(job.state(), State::Completed | State::Failed | State::Cancelled)
}

/// The step at which a sweep judged a job, if `decision` is its advice.
fn advised_at(decision: &Decision) -> Option<i64> {
    let is_ours = matches!(&decision.author, Some(Author::Person(author)) if author == AUTHOR);
    let is_advice = matches!(&decision.effect, Some(Effect::Advice(advice)) if !advice.is_withdrawn);
    #[expect(clippy::cast_possible_truncation, reason = "steps are far below 2^53")]
    (is_ours && is_advice).then(|| decision.evidence.get(STEP).map(|step| *step as i64)).flatten()
}
