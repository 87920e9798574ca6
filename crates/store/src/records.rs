//! The records of a job, as they are stored.

use super::Error;
use lrs_model::{
    change::Change,
    decision::Decision,
    job::{AttemptRow, Idle, JobRow, State, Timestamp},
    name::{JobId, JobName},
    telemetry::Sample,
};

/// A piece of the telemetry that one rank reported in one attempt, as it arrived or merged from several pieces.
#[derive(Clone, Debug, PartialEq)]
pub struct Chunk {
    /// The attempt.
    pub attempt: u32,
    /// The reporting rank.
    pub rank: u32,
    /// The place in the order of arrival within the attempt, over all ranks. Merged chunks leave gaps.
    pub seq: u64,
    /// The rank has declared its telemetry complete up to this step; `None` if it has declared nothing yet.
    pub through_step: Option<u64>,
    /// The samples by rising step, each step once. May be empty.
    pub samples: Vec<Sample>,
}

/// The snapshot of a running job, which a store does not look into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateRow {
    /// The attempt that was running.
    pub attempt: u32,
    /// The snapshot contains all chunks with a `seq` below this.
    pub next_seq: u64,
    /// The snapshot as JSON.
    pub state: String,
}

/// A page of decisions, in the order in which they were recorded.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DecisionQuery {
    /// Only decisions of this attempt.
    pub attempt: Option<u32>,
    /// Only people's decisions.
    pub people_only: bool,
    /// Begin after the decision at this position.
    pub after: Option<u64>,
    /// The most decisions to return.
    pub limit: u32,
}

/// A decision as stored.
#[derive(Clone, Debug, PartialEq)]
pub struct DecisionRow {
    /// Rises in the order in which the decisions were recorded, with gaps.
    pub position: u64,
    /// The decision.
    pub decision: Decision,
    /// The `request_id` that a person gave.
    pub request_id: Option<String>,
}

/// A page of the changes of the jobs that have, or had, a name, in the order in which they were recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangeQuery {
    /// The name.
    pub job_name: JobName,
    /// Begin after the change at this position.
    pub after: Option<u64>,
    /// The most changes to return.
    pub limit: u32,
}

/// A change as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangeRow {
    /// Rises in the order in which the changes were recorded, with gaps.
    pub position: u64,
    /// The change.
    pub change: Change,
}

/// A job of a listing, with what is said of it while it is not in memory.
#[derive(Clone, Debug, PartialEq)]
pub struct ListedJob {
    /// Its row.
    pub row: JobRow,
    /// Its newest attempt; 0 before the first.
    pub attempt: u32,
    /// When it was last active; see [`Write::MarkActive`](super::Write::MarkActive).
    pub active_time: Timestamp,
}

/// A job with all that is needed to serve it, but its telemetry and people's decisions.
#[derive(Debug)]
pub struct JobRecord {
    /// Its identity.
    pub id: JobId,
    /// Its name, as stored.
    pub name: String,
    /// The row, or why it cannot be understood.
    pub row: Result<JobRow, Error>,
    /// When it was last active.
    pub active_time: Timestamp,
    /// All attempts, the first attempt first, or why one of them cannot be understood.
    pub attempts: Result<Vec<AttemptRow>, Error>,
    /// Whether there are decisions by people.
    pub has_person_decisions: bool,
    /// The snapshot, or why it cannot be understood.
    pub state: Result<Option<StateRow>, Error>,
    /// Whether the snapshot's attempt has chunks that the snapshot does not contain.
    pub is_state_behind: bool,
}

/// How many jobs that have not ended are in a state and as active as each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JobCount {
    /// Their state.
    pub state: State,
    /// Since when they have been idle.
    pub idle: Idle,
    /// How many they are.
    pub count: u64,
}

/// A job that was read for inspection.
#[derive(Debug)]
pub struct LoadedJob {
    /// Its identity.
    pub id: JobId,
    /// Its name, as stored.
    pub name: String,
    /// The row, or why it cannot be understood.
    pub row: Result<JobRow, Error>,
}
