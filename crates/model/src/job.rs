//! Jobs, attempts and the states of a job.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{
    name::{JobId, JobName},
    spec::Spec,
};

/// Microseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

impl fmt::Display for Timestamp {
    /// Formats the time as in RFC 3339, in UTC.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_microsecond(self.0) {
            Ok(time) => time.fmt(f),
            Err(_) => write!(f, "{} µs after 1970", self.0),
        }
    }
}

/// The stored state of a job. `STALE` and `ABANDONED` are not here, because they are derived from the time when the job
/// was last active.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "described in proto/lrs/v1/job.proto")]
pub enum State {
    Pending,
    Running,
    Paused,
    Completed,
    Failed,
    Cancelled,
}

impl State {
    /// All states.
    pub const ALL: [Self; 6] =
        [Self::Pending, Self::Running, Self::Paused, Self::Completed, Self::Failed, Self::Cancelled];

    /// Whether the job will never train again.
    #[must_use]
    pub fn is_ended(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }

    /// The name of the state in the store and in filters.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Running => "RUNNING",
            Self::Paused => "PAUSED",
            Self::Completed => "COMPLETED",
            Self::Failed => "FAILED",
            Self::Cancelled => "CANCELLED",
        }
    }

    /// The state with this name, if it exists.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How long a job that has not ended has been idle: without a call or report of its trainer, and without a change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Idle {
    /// Not long.
    #[default]
    Active,
    /// So long that its trainer should have been heard of, if one is running.
    Stale,
    /// So long that nobody is expected to come back to it. It does not count as a live job until somebody does.
    Abandoned,
}

/// The times after which a job was last active if it is not stale, or not abandoned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdleBefore {
    /// Idle since then: stale.
    pub stale: Timestamp,
    /// Idle since then, which is earlier: abandoned.
    pub abandoned: Timestamp,
}

impl IdleBefore {
    /// How long a job has been idle that was last active at this time.
    #[must_use]
    pub fn idle(self, active_time: Timestamp) -> Idle {
        match active_time {
            time if time >= self.stale => Idle::Active,
            time if time >= self.abandoned => Idle::Stale,
            _ => Idle::Abandoned,
        }
    }
}

/// A job as stored.
#[derive(Clone, Debug, PartialEq)]
pub struct JobRow {
    /// The job's identity.
    pub id: JobId,
    /// The job's name, unique among existing jobs.
    pub name: JobName,
    /// The spec at registration, with every schedule and controller in its native form.
    pub initial_spec: Spec,
    /// The present spec: every decision about it has been applied.
    pub spec: Spec,
    /// The state of the job.
    pub state: State,
    /// The reason for the state, from its last author.
    pub state_reason: String,
    /// The author of the state; empty if nobody has changed it, or if an older release recorded the change.
    pub state_author: String,
    /// Rises by one with every change of spec, state or attempt.
    pub version: u64,
    /// The `request_id` of the request that created the job.
    pub request_id: Option<String>,
    /// The job and step that this job was forked from.
    pub forked_from: Option<ForkPoint>,
    /// When the job was registered.
    pub create_time: Timestamp,
    /// When spec, state or attempt last changed.
    pub update_time: Timestamp,
    /// When the job ended.
    pub end_time: Option<Timestamp>,
    /// When the removal of telemetry past its retention began; from then on the telemetry is incomplete.
    pub telemetry_removed_time: Option<Timestamp>,
}

impl JobRow {
    /// Stands for a row that cannot be read: only the identity and the name mean something.
    #[must_use]
    pub fn unreadable(id: JobId, name: JobName) -> Self {
        Self {
            id,
            name,
            initial_spec: Spec::default(),
            spec: Spec::default(),
            state: State::Failed,
            state_reason: String::new(),
            state_author: String::new(),
            version: 0,
            request_id: None,
            forked_from: None,
            create_time: Timestamp(0),
            update_time: Timestamp(0),
            end_time: None,
            telemetry_removed_time: None,
        }
    }
}

/// The origin of a forked job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForkPoint {
    /// The name that the job it was forked from had at that time.
    pub job: String,
    /// The attempt of the original job.
    pub attempt: u32,
    /// The first step that the two jobs do not share.
    pub step: u64,
}

/// An attempt as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttemptRow {
    /// Counted from 1.
    pub attempt: u32,
    /// The token that started the attempt, unique within the job.
    pub token: String,
    /// The first step that the attempt trains; its history before that step is the parent's.
    pub resume_step: u64,
    /// The attempt whose history before `resume_step` this one shares; 0 for none.
    pub parent_attempt: u32,
    /// Every step that may ever have been given out as final lies below this step.
    pub reserved_end: u64,
    /// How many ranks report, as the trainer said; `None`: as many as the spec says.
    pub reporting_ranks: Option<u32>,
    /// When the attempt was started.
    pub create_time: Timestamp,
}
