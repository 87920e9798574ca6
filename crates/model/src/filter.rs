//! The checked arguments of a listing: which jobs, and in which order.

use super::{
    job::{State, Timestamp},
    name::JobId,
    spec::Arm,
};

/// A request for a page of jobs.
#[derive(Clone, Debug, PartialEq)]
pub struct JobQuery {
    /// Only jobs of this namespace; `None` for all namespaces.
    pub namespace: Option<String>,
    /// All conditions must hold.
    pub conditions: Vec<Condition>,
    /// The order of the jobs.
    pub order: JobOrder,
    /// The page begins after this job.
    pub after: Option<JobCursor>,
    /// The most jobs on the page.
    pub limit: u32,
}

/// A condition on a job.
#[derive(Clone, Debug, PartialEq)]
pub enum Condition {
    /// Compares the state.
    State(Comparison, State),
    /// Compares the experiment.
    Experiment(Comparison, String),
    /// Compares the arm; `None` is no arm.
    Arm(Comparison, Option<Arm>),
    /// Compares the display name.
    DisplayName(Comparison, String),
    /// Compares the value of the label with this key. A missing label is not equal to anything.
    Label(String, Comparison, String),
    /// Compares the time of registration.
    CreateTime(Comparison, Timestamp),
    /// Compares the time of the last change.
    UpdateTime(Comparison, Timestamp),
    /// Compares the time of the last activity.
    ActiveTime(Comparison, Timestamp),
}

/// An operator between two values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// The order of a listing; jobs with equal keys come by identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JobOrder {
    /// The key to sort by.
    pub key: OrderKey,
    /// Whether the largest key comes first.
    pub descending: bool,
}

/// A key to sort by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum OrderKey {
    Name,
    CreateTime,
    UpdateTime,
}

/// The key and the identity of the last job on the page before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobCursor {
    /// For a listing sorted by name.
    Name(String, JobId),
    /// For a listing sorted by a time.
    Time(Timestamp, JobId),
}
