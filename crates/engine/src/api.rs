//! The words in which the engine is asked and answers. Plain values; no protos, no sockets, no SQL.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

pub use super::steering::Told;
pub use lrs_control::Status as ControllerStatus;
use lrs_model::{
    decision::{Decision, RateOverride},
    job::{AttemptRow, JobRow, State, Timestamp},
    name::JobName,
    spec::Spec,
    telemetry::Sample,
    violation::Violations,
};

/// Why a call to the engine failed. Nothing was changed, unless said otherwise.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The spec, or another argument, is wrong: every violation, by field.
    #[error("invalid argument: {0}")]
    Invalid(Violations),
    /// There is no such job.
    #[error("there is no job {0}")]
    JobNotFound(String),
    /// No job of the namespace is of this experiment.
    #[error("no job of namespaces/{namespace} is of the experiment {experiment:?}")]
    ExperimentNotFound {
        /// The namespace.
        namespace: String,
        /// The experiment.
        experiment: String,
    },
    /// The name is taken by another job.
    #[error("{0} exists already")]
    JobExists(JobName),
    /// The request was made before with other contents.
    #[error("request_id {request_id:?} was used before for another change of {job}")]
    RequestIdReused {
        /// The job.
        job: JobName,
        /// The request's identifier.
        request_id: String,
    },
    /// The job has ended, so it takes no telemetry, gives no rates and can not be changed.
    #[error("{job} has ended: it is {state}")]
    JobEnded {
        /// The job.
        job: JobName,
        /// How it ended.
        state: State,
    },
    /// The job has not ended, and must have.
    #[error("{job} is {state}: end it first, or set force")]
    JobNotEnded {
        /// The job.
        job: JobName,
        /// Its state.
        state: State,
    },
    /// No attempt has been started.
    #[error("{0} has no attempt yet: call StartAttempt first")]
    NoAttempt(JobName),
    /// The attempt is not the newest.
    #[error("attempt {attempt} of {job} is over: attempt {newest} is the newest")]
    StaleAttempt {
        /// The job.
        job: JobName,
        /// The attempt that was named.
        attempt: u32,
        /// The newest attempt.
        newest: u32,
    },
    /// The attempt has not been started.
    #[error("{job} has no attempt {attempt}: the newest is {newest}")]
    UnknownAttempt {
        /// The job.
        job: JobName,
        /// The attempt that was named.
        attempt: u64,
        /// The newest attempt.
        newest: u32,
    },
    /// The token belongs to an attempt with another `resume_step`.
    #[error("attempt_token {token:?} of {job} was used with resume_step {first}, not {now}")]
    AttemptTokenReused {
        /// The job.
        job: JobName,
        /// The token.
        token: String,
        /// The `resume_step` it was first used with.
        first: u64,
        /// The `resume_step` given now.
        now: u64,
    },
    /// Somebody changed the job since it was read.
    #[error("{job} has changed since it was read: its etag is {found:?}, not {expected:?}")]
    EtagMismatch {
        /// The job.
        job: JobName,
        /// The etag that was sent.
        expected: String,
        /// The etag it has.
        found: String,
    },
    /// The job's state does not allow it.
    #[error("{job} is {state}: {problem}")]
    WrongState {
        /// The job.
        job: JobName,
        /// Its state.
        state: State,
        /// What can not be done.
        problem: String,
    },
    /// What the store has of this job can not be understood; other jobs are not affected.
    #[error("the stored data of {job} is damaged: {problem}")]
    JobDamaged {
        /// The job.
        job: String,
        /// Table, row and problem.
        problem: String,
    },
    /// The telemetry is past its namespace's retention and was removed, all or some.
    #[error(
        "the telemetry of {job} is past its retention: its removal began at {removed_time}; its decisions are still there"
    )]
    TelemetryRemoved {
        /// The job.
        job: JobName,
        /// When its removal began, in words.
        removed_time: String,
    },
    /// A bound of the configuration has been reached; try again after a while.
    #[error("{what} is full ({limit})")]
    Overloaded {
        /// What is full.
        what: &'static str,
        /// Its limit.
        limit: usize,
    },
    /// The database is away; try again after a while.
    #[error("the database is not available: {0}")]
    StoreUnavailable(String),
    /// The database refused.
    #[error("the database refused: {0}")]
    Store(String),
    /// The process is shutting down.
    #[error("the server is shutting down")]
    ShuttingDown,
}

/// A job as it is now.
#[derive(Clone, Debug)]
pub struct JobView {
    /// As stored.
    pub row: Arc<JobRow>,
    /// The newest attempt; 0 before the first.
    pub attempt: u32,
    /// How far the newest attempt has come; `None` for jobs that have ended or have no attempt.
    pub progress: Option<Progress>,
    /// The job is RUNNING but its trainer has not been heard of for a while.
    pub stale: bool,
}

impl JobView {
    /// Changes with every change of spec, state or attempt.
    #[must_use]
    pub fn etag(&self) -> String {
        lrs_model::etag::of(self.row.version)
    }
}

/// How far an attempt has come.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Progress {
    /// Steps below this are complete.
    pub complete_end: u64,
    /// Whether anything is complete.
    pub watermark_step: Option<u64>,
    /// The highest step given out as final.
    pub final_step: Option<u64>,
    /// The latest record.
    pub latest: Option<Sample>,
    /// The rates at the step after the highest one given out, or at the resume step.
    pub rates: Vec<GroupRate>,
    /// When the trainer was last heard of by this process.
    pub report_time: Option<Timestamp>,
    /// Samples that came again, since the process started.
    pub repeated_samples: u64,
    /// Samples that came again with other values, since the process started.
    pub conflicting_samples: u64,
    /// Samples that came too late, since the process started.
    pub late_samples: u64,
    /// What each controller is at, with its place and kind, in the order of the spec.
    pub controllers: Vec<(String, ControllerStatus)>,
}

/// What a parameter group is to use at a step.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupRate {
    /// The group's name.
    pub group: Arc<str>,
    /// Its learning rate.
    pub learning_rate: f64,
    /// Its momentum, where scheduled.
    pub momentum: Option<f64>,
    /// Its weight decay, where scheduled.
    pub weight_decay: Option<f64>,
}

/// What the trainer is told for a step.
#[derive(Clone, Debug, PartialEq)]
pub struct Directive {
    /// The step.
    pub step: u64,
    /// One a group, in the order of the spec.
    pub rates: Vec<GroupRate>,
    /// Where the rates come from.
    pub source: Source,
    /// What it is told beside the rates.
    pub told: Told,
}

/// Where a step's rates come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The schedule and the controllers.
    Schedule,
    /// A person's override.
    Override,
    /// The schedule, held by a pause.
    Pause,
}

/// The answer to a call for a step.
#[derive(Clone, Debug, PartialEq)]
pub struct DirectiveAnswer {
    /// The attempt that was answered for.
    pub attempt: u32,
    /// The step asked for.
    pub directive: Directive,
    /// Whether it is final.
    pub is_final: bool,
    /// The steps after it, as many as were asked for.
    pub plan: Vec<Directive>,
    /// How many of `plan`, from the first on, are final.
    pub final_steps: usize,
}

/// An attempt and what its trainer must know.
#[derive(Clone, Debug, PartialEq)]
pub struct AttemptInfo {
    /// The attempt.
    pub row: AttemptRow,
    /// The job's spec.
    pub spec: Arc<Spec>,
    /// Whether rates depend on telemetry.
    pub needs_telemetry: bool,
}

/// Who orders a change, and why.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Order {
    /// Who.
    pub author: String,
    /// Why.
    pub reason: String,
    /// Makes a repeat harmless.
    pub request_id: Option<String>,
}

/// What a person may order about a job's rate.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// Stop the schedule's clock.
    Pause,
    /// Let it go on.
    Resume,
    /// Set the rate by hand.
    Override(RateOverride),
    /// Go back to the schedule.
    ClearOverride,
    /// Advise to stop; the reason is what the trainer is told.
    AdviseStop {
        /// The figures that the advice rests on.
        evidence: BTreeMap<String, f64>,
    },
    /// Take back what people advised.
    WithdrawStop,
    /// Another spec, if the job still has this version.
    Spec {
        /// The new spec.
        spec: Box<Spec>,
        /// The version of the job that it was made from.
        version: u64,
    },
}

/// A job to be registered.
#[derive(Clone, Debug, PartialEq)]
pub struct NewJob {
    /// Its name.
    pub name: JobName,
    /// Its spec.
    pub spec: Spec,
    /// Makes a repeat harmless.
    pub request_id: Option<String>,
}

/// A fork to be made.
#[derive(Clone, Debug, PartialEq)]
pub struct Fork {
    /// The job to fork.
    pub source: JobName,
    /// The first step not shared.
    pub step: u64,
    /// The new job's name.
    pub name: JobName,
    /// The new job's spec from `step` on; `None` is the forked job's.
    pub spec: Option<Spec>,
    /// Makes a repeat harmless.
    pub request_id: Option<String>,
}

/// What came of a report, once it is durable. Counts are of this report.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Receipt {
    /// All that this rank reported at or below is durable.
    pub durable_through_step: Option<u64>,
    /// Samples that came again with the same values.
    pub repeated: u64,
    /// Samples that came again with other values.
    pub conflicting: u64,
    /// Samples for closed steps that had never been reported.
    pub late: u64,
    /// The lowest step in conflict.
    pub conflict_step: Option<u64>,
}

impl Receipt {
    /// Of this report and the next of the same rank.
    pub fn add(&mut self, next: &Self) {
        self.durable_through_step = self.durable_through_step.max(next.durable_through_step);
        self.repeated += next.repeated;
        self.conflicting += next.conflicting;
        self.late += next.late;
        self.conflict_step = self.conflict_step.into_iter().chain(next.conflict_step).min();
    }
}

/// Something that happened to a job.
#[derive(Clone, Debug)]
pub enum Event {
    /// Spec, state or attempt changed.
    Job(Box<JobView>),
    /// A decision was taken.
    Decision(Box<Decision>),
    /// Records became complete; the latest.
    Record(Box<Sample>),
    /// The reader was too slow and missed this many events.
    Missed(u64),
}

/// Which telemetry is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TelemetryQuery {
    /// The attempt whose history to read; `None` is the newest.
    pub attempt: Option<u32>,
    /// First step.
    pub start_step: u64,
    /// First step not wanted.
    pub end_step: u64,
    /// Metrics by name; empty is all.
    pub metrics: Vec<String>,
    /// How much of it.
    pub amount: TelemetryAmount,
}

/// How much telemetry is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TelemetryAmount {
    /// Every record, at most so many.
    Raw {
        /// The most records.
        limit: usize,
    },
    /// About so many points a metric, extremes kept.
    DownSampled {
        /// The points.
        max_points: usize,
    },
}

/// Telemetry in columns.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TelemetryAnswer {
    /// Steps and values by metric.
    pub series: BTreeMap<String, (Vec<u64>, Vec<f64>)>,
    /// Where the next page begins; `None` at the end.
    pub next_step: Option<u64>,
}

/// A page of decisions.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DecisionPage {
    /// The decisions.
    pub decisions: Vec<Decision>,
    /// The position of the last one, if there are more.
    pub next: Option<u64>,
}

/// A schedule's curve.
#[derive(Clone, Debug, PartialEq)]
pub struct Curve {
    /// The steps, rising.
    pub steps: Vec<u64>,
    /// The directive at each.
    pub directives: Vec<Directive>,
    /// The spec with named forms expanded.
    pub expanded: Spec,
}

/// Which steps of a curve are wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CurveSteps {
    /// These.
    At(Vec<u64>),
    /// Every so many to the end, and around every boundary, jump and restart.
    Every {
        /// The distance; `None` for about 1000 steps in all.
        every: Option<u64>,
        /// Where to end if the spec does not say.
        end: u64,
    },
}

/// The engine's bounds and habits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Shards, a task each.
    pub shards: usize,
    /// Steps in a reserved block.
    pub reserve_steps: u64,
    /// Reports and changes that may wait for the database.
    pub queue_items: usize,
    /// Values of telemetry that may wait for the database, at most 2^32 - 1.
    pub queue_values: usize,
    /// Items in one transaction.
    pub batch_items: usize,
    /// Values of telemetry that are taken at once; a larger report is taken in pieces.
    pub piece_values: usize,
    /// Jobs that have not ended.
    pub max_jobs: usize,
    /// Steps of one rank that may be reported but not yet closed by `through_step`.
    pub max_open_steps: usize,
    /// Decisions by people a job.
    pub max_person_decisions: usize,
    /// When a RUNNING job counts as STALE.
    pub stale_after: Duration,
    /// Chunks of an attempt after which small ones are merged.
    pub merge_after_chunks: u64,
    /// Records after which a snapshot is stored.
    pub snapshot_after_records: u64,
    /// Events that a watcher may lag behind.
    pub watch_events: usize,
    /// Jobs of an experiment that is reported.
    pub max_report_jobs: u32,
    /// Reports that may be made at once.
    pub max_reports: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            shards: 4,
            reserve_steps: 1024,
            queue_items: 4096,
            queue_values: 4_000_000,
            batch_items: 512,
            piece_values: 4096,
            max_jobs: 1_000_000,
            max_open_steps: 10_000,
            max_person_decisions: 10_000,
            stale_after: Duration::from_mins(5),
            merge_after_chunks: 512,
            snapshot_after_records: 4096,
            watch_events: 256,
            max_report_jobs: 200,
            max_reports: 2,
        }
    }
}
