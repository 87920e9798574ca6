//! An attempt's history: which attempt trained which of its steps.

use lrs_model::{decision::DecisionId, job::AttemptRow};

/// A stretch of an attempt's history: the steps `start..end`, as `attempt` reported them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// The attempt that trained them.
    pub attempt: u32,
    /// First step.
    pub start: u64,
    /// First step no longer of this part.
    pub end: u64,
}

impl Part {
    /// Whether `step` of `attempt` lies in this part.
    #[must_use]
    pub fn has(&self, attempt: u32, step: u64) -> bool {
        self.attempt == attempt && (self.start..self.end).contains(&step)
    }

    /// Whether a controller took this decision on a step of this part. People's decisions are of no part.
    #[must_use]
    pub fn has_decision(&self, id: DecisionId) -> bool {
        match id {
            DecisionId::Controller { attempt, step, .. } => self.has(attempt, step),
            DecisionId::Person { .. } => false,
        }
    }
}

/// The history of `attempt`: its own steps, and below its resume step its parent's. `attempts` rise.
#[must_use]
pub fn lineage(attempts: &[AttemptRow], attempt: u32) -> Vec<Part> {
    let mut parts = Vec::new();
    let (mut attempt, mut end) = (attempt, u64::MAX);
    while let Ok(place) = attempts.binary_search_by_key(&attempt, |row| row.attempt) {
        let row = &attempts[place];
        if row.resume_step < end {
            parts.push(Part { attempt, start: row.resume_step, end });
            end = row.resume_step;
        }
        attempt = row.parent_attempt;
    }
    parts.reverse();
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use lrs_model::job::Timestamp;

    fn attempt(attempt: u32, resume_step: u64) -> AttemptRow {
        AttemptRow {
            attempt,
            token: attempt.to_string(),
            resume_step,
            parent_attempt: attempt - 1,
            reserved_end: 0,
            create_time: Timestamp(0),
        }
    }

    #[test]
    fn a_rewind_below_an_older_rewind_leaves_that_one_out() {
        let attempts = [attempt(1, 0), attempt(2, 500), attempt(3, 300), attempt(4, 700)];
        let part = |attempt, start, end| Part { attempt, start, end };
        assert_eq!(lineage(&attempts, 2), [part(1, 0, 500), part(2, 500, u64::MAX)]);
        assert_eq!(lineage(&attempts, 3), [part(1, 0, 300), part(3, 300, u64::MAX)]);
        assert_eq!(lineage(&attempts, 4), [part(1, 0, 300), part(3, 300, 700), part(4, 700, u64::MAX)]);
        assert_eq!(lineage(&attempts, 9), []);
    }
}
