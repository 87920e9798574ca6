//! Which jobs, in which order: the arguments of a listing, checked.

use super::{
    job::{State, Timestamp},
    name::JobId,
    spec::Arm,
};

/// A page of jobs to be read.
#[derive(Clone, Debug, PartialEq)]
pub struct JobQuery {
    /// Only of this namespace; `None` is all.
    pub namespace: Option<String>,
    /// All must hold.
    pub conditions: Vec<Condition>,
    /// The order.
    pub order: JobOrder,
    /// Begin after this one.
    pub after: Option<JobCursor>,
    /// How many at most.
    pub limit: u32,
}

/// A comparison that must hold.
#[derive(Clone, Debug, PartialEq)]
pub enum Condition {
    /// The state is, or is not.
    State(Comparison, State),
    /// The experiment is, or is not.
    Experiment(Comparison, String),
    /// The arm is, or is not; `None` is no arm.
    Arm(Comparison, Option<Arm>),
    /// The display name is, or is not.
    DisplayName(Comparison, String),
    /// The label of this key is, or is not, this value. A label that is not there is not equal to anything.
    Label(String, Comparison, String),
    /// When it was registered.
    CreateTime(Comparison, Timestamp),
    /// When it last changed.
    UpdateTime(Comparison, Timestamp),
}

/// How two values compare.
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

/// What a listing is sorted by; jobs of equal keys by their identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JobOrder {
    /// The key.
    pub key: OrderKey,
    /// Largest first.
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

/// The last job of the page before: its key and its identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobCursor {
    /// Sorted by name.
    Name(String, JobId),
    /// Sorted by one of the times.
    Time(Timestamp, JobId),
}
