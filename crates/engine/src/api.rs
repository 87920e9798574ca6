//! The values in which the engine is asked and answers: no protos, no sockets, no SQL.

mod error;
mod settings;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

pub use super::{pace::Pace, steering::Told};
pub use error::Error;
pub use lrs_control::Status as ControllerStatus;
use lrs_model::{
    change::{Change as Record, Origin},
    decision::{Decision, RateOverride},
    job::{AttemptRow, Idle, JobRow, State, Timestamp},
    name::JobName,
    spec::Spec,
    telemetry::Sample,
};
pub use settings::Settings;

/// A job as it is now.
#[derive(Clone, Debug)]
pub struct JobView {
    /// As stored.
    pub row: Arc<JobRow>,
    /// The newest attempt; 0 before the first.
    pub attempt: u32,
    /// How far the newest attempt has come; `None` for jobs that have ended, have no attempt, or are not in memory.
    pub progress: Option<Progress>,
    /// When the job was last active: its trainer called or reported, or somebody changed it.
    pub active_time: Timestamp,
    /// How long it has been idle; a job that has ended counts as active.
    pub idle: Idle,
}

impl JobView {
    /// The job with this row, last active at `active_time`, and `idle` if it has not ended.
    #[must_use]
    pub fn new(row: Arc<JobRow>, attempt: u32, progress: Option<Progress>, active_time: Timestamp, idle: Idle) -> Self {
        let idle = if row.state.is_ended() { Idle::Active } else { idle };
        Self { row, attempt, progress, active_time, idle }
    }

    /// Whether the job should train, and its trainer has not been heard of for a while.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        self.row.state == State::Running && self.idle != Idle::Active
    }

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
    /// When the trainer last called or reported to this process.
    pub report_time: Option<Timestamp>,
    /// Samples that came again, since the process started.
    pub repeated_samples: u64,
    /// Samples that came again with other values, since the process started.
    pub conflicting_samples: u64,
    /// Samples that came too late, since the process started.
    pub late_samples: u64,
    /// The status of each controller, with its place and kind, in the order of the spec.
    pub controllers: Vec<(String, ControllerStatus)>,
    /// Where the trainer was last, and how long its steps take; `None` before it was seen at two steps.
    pub pace: Option<Pace>,
    /// The first step at which all of people's orders are in force, if the trainer is not known to have come there.
    pub order_step: Option<u64>,
    /// The ranks without which no further step is complete, in words; empty if no rank is missing.
    pub missing_ranks: String,
}

/// The values that a parameter group uses at a step.
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
    /// What the trainer is told beside the rates.
    pub told: Told,
}

impl Directive {
    /// Whether it has the rates of the same groups as `other`, in the same order.
    #[must_use]
    pub fn has_groups_of(&self, other: &Self) -> bool {
        let same = |(a, b): (&GroupRate, &GroupRate)| Arc::ptr_eq(&a.group, &b.group) || a.group == b.group;
        self.rates.len() == other.rates.len() && self.rates.iter().zip(&other.rates).all(same)
    }
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

/// A call for a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateCall {
    /// The attempt; 0 is the newest, and makes a step final only near the trainer.
    pub attempt: u64,
    /// The step.
    pub step: u64,
    /// How many steps after it are wanted too.
    pub plan_steps: usize,
    /// How long to wait for the step to become final.
    pub wait: Duration,
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
    /// How many ranks report in it.
    pub reporting_ranks: u32,
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
    /// By which way.
    pub origin: Origin,
    /// Of what is asked for, if the order says more than its kind: another one means another request.
    pub fingerprint: i64,
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
    /// Take back people's advice to stop.
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
    /// Who registers it, and why.
    pub order: Order,
}

/// A job as it should be.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    /// The job, registered if it is not there.
    pub job: NewJob,
    /// If set, the job must not have changed since it had this etag.
    pub etag: Option<String>,
}

/// Jobs as they should be: all of them, or none is changed.
#[derive(Clone, Debug, PartialEq)]
pub struct Apply {
    /// The jobs, each once.
    pub jobs: Vec<Wanted>,
    /// Whether to refuse to change a job that is there.
    pub create_only: bool,
    /// Whether to check everything and change nothing.
    pub validate_only: bool,
}

/// What became of a job that was applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// It was registered.
    Created,
    /// Its spec was changed.
    Updated,
    /// It was there as wanted.
    Unchanged,
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
    /// Who forks it, and why.
    pub order: Order,
}

/// What came of a report, once it is durable. Counts are of this report.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Receipt {
    /// Everything that this rank reported at or below this step is durable.
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
    /// Adds the receipt of the next report of the same rank.
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
    /// Somebody changed the job, by a decision or otherwise.
    Change(Box<Record>),
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

/// A page of changes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ChangePage {
    /// The changes.
    pub changes: Vec<Record>,
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
