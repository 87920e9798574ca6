//! A job, its attempts and its life.

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
    /// As in RFC 3339, in UTC.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_microsecond(self.0) {
            Ok(time) => time.fmt(f),
            Err(_) => write!(f, "{} µs after 1970", self.0),
        }
    }
}

/// A job's life, as stored. `STALE` is not here: it is derived from when the trainer was last heard of.
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
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Pending, Self::Running, Self::Paused, Self::Completed, Self::Failed, Self::Cancelled];

    /// Whether the job will never train again.
    #[must_use]
    pub fn is_ended(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }

    /// As stored and as written in filters.
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

    /// The state written as `text`, if there is one.
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

/// A job as the store remembers it.
#[derive(Clone, Debug, PartialEq)]
pub struct JobRow {
    /// Its identity.
    pub id: JobId,
    /// Its name, unique among the jobs that exist.
    pub name: JobName,
    /// The spec it was registered with, every schedule and controller in its native form.
    pub initial_spec: Spec,
    /// The spec with the decisions about it applied.
    pub spec: Spec,
    /// Where it is in its life.
    pub state: State,
    /// Why, by whoever changed it last.
    pub state_reason: String,
    /// Who that was; empty if nobody has, or if an older release recorded it.
    pub state_author: String,
    /// Rises by one with every change of spec, state or attempt.
    pub version: u64,
    /// The `request_id` it was created with.
    pub request_id: Option<String>,
    /// Where it was forked from.
    pub forked_from: Option<ForkPoint>,
    /// When it was registered.
    pub create_time: Timestamp,
    /// When spec, state or attempt last changed.
    pub update_time: Timestamp,
    /// When it ended.
    pub end_time: Option<Timestamp>,
    /// From when on not all of its telemetry is there: when the removal of what is past its retention began.
    pub telemetry_removed_time: Option<Timestamp>,
}

impl JobRow {
    /// What stands for a row that cannot be read: only its identity and name mean something.
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

/// Where a forked job comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForkPoint {
    /// Name of the job it was forked from, at that time.
    pub job: String,
    /// The attempt of that job.
    pub attempt: u32,
    /// The first step that is not shared.
    pub step: u64,
}

/// An attempt as the store remembers it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttemptRow {
    /// Counted from 1.
    pub attempt: u32,
    /// The token it was started with, unique within the job.
    pub token: String,
    /// The first step it trains; its history below is the parent's.
    pub resume_step: u64,
    /// The attempt whose history below `resume_step` it shares; 0 for none.
    pub parent_attempt: u32,
    /// Every step that may ever have been given out as final lies below this.
    pub reserved_end: u64,
    /// When it was started.
    pub create_time: Timestamp,
}
