//! What an export is of.

use serde_json::{Value, json};

/// What an export is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// The resource name of the job.
    pub job: String,
    /// The attempt, from 1; 0 before the first.
    pub attempt: u32,
}

impl Subject {
    /// The subject as every file of an export says it, with the release that wrote it.
    pub(crate) fn document(&self) -> Value {
        json!({ "job": self.job, "attempt": self.attempt, "lrs": env!("CARGO_PKG_VERSION") })
    }
}
