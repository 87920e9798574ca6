//! An attempt's history: which attempt trained which of its steps, and where people's decisions count in it.

use lrs_model::{
    decision::{Decision, DecisionId, Effect},
    job::AttemptRow,
};

/// A stretch of an attempt's history: the steps `start..end`, as `attempt` reported them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// The attempt that trained them.
    pub attempt: u32,
    /// First step.
    pub start: u64,
    /// First step no longer of this part.
    pub end: u64,
    /// How many ranks report, as its trainer said; `None`: as many as the spec says.
    pub ranks: Option<u32>,
}

impl Part {
    /// Whether `step` of `attempt` lies in this part.
    #[must_use]
    pub fn has(&self, attempt: u32, step: u64) -> bool {
        self.attempt == attempt && (self.start..self.end).contains(&step)
    }

    /// Whether this is a controller's decision that takes effect at a step of this part. People's decisions are of no
    /// part.
    #[must_use]
    pub fn has_decision(&self, decision: &Decision) -> bool {
        match decision.id {
            DecisionId::Controller { attempt, .. } => self.has(attempt, decision.effective_step),
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
            parts.push(Part { attempt, start: row.resume_step, end, ranks: row.reporting_ranks });
            end = row.resume_step;
        }
        attempt = row.parent_attempt;
    }
    parts.reverse();
    parts
}

/// Where people's decisions count in the history of an attempt.
///
/// An attempt begins with the orders as they stand: a decision of an earlier attempt that lies ahead of the attempt's
/// first step counts from that step on. The steps in between were given out to the earlier attempt only. An override
/// with an end names its steps, and keeps them.
#[derive(Debug)]
pub struct Standing {
    attempt: u32,
    /// For each attempt up to `attempt` the lowest step that a later one of them begins at.
    resumed_below: Vec<u64>,
}

impl Standing {
    /// In the history of `attempt`. `attempts` rise from 1.
    #[must_use]
    pub fn new(attempts: &[AttemptRow], attempt: u32) -> Self {
        let known = attempts.partition_point(|row| row.attempt <= attempt);
        let mut lowest = u64::MAX;
        let mut resumed_below: Vec<u64> = attempts[..known]
            .iter()
            .rev()
            .map(|row| {
                lowest = lowest.min(row.resume_step);
                lowest
            })
            .collect();
        resumed_below.reverse();
        Self { attempt, resumed_below }
    }

    /// The step from which a person's decision counts; `None` if it was taken in a later attempt.
    #[must_use]
    pub fn effective_step(&self, decision: &Decision) -> Option<u64> {
        if decision.attempt > self.attempt {
            return None;
        }
        if matches!(&decision.effect, Effect::Override(order) if order.end_step.is_some()) {
            return Some(decision.effective_step);
        }
        let next = self.resumed_below.get(decision.attempt as usize);
        Some(next.map_or(decision.effective_step, |&resumed| decision.effective_step.min(resumed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lrs_model::{
        decision::{Author, OverrideSetting, RateOverride},
        job::Timestamp,
    };

    fn attempt(attempt: u32, resume_step: u64) -> AttemptRow {
        AttemptRow {
            attempt,
            token: attempt.to_string(),
            resume_step,
            parent_attempt: attempt - 1,
            reserved_end: 0,
            reporting_ranks: None,
            create_time: Timestamp(0),
        }
    }

    #[test]
    fn a_rewind_below_an_older_rewind_leaves_that_one_out() {
        let attempts = [attempt(1, 0), attempt(2, 500), attempt(3, 300), attempt(4, 700)];
        let part = |attempt, start, end| Part { attempt, start, end, ranks: None };
        assert_eq!(lineage(&attempts, 2), [part(1, 0, 500), part(2, 500, u64::MAX)]);
        assert_eq!(lineage(&attempts, 3), [part(1, 0, 300), part(3, 300, u64::MAX)]);
        assert_eq!(lineage(&attempts, 4), [part(1, 0, 300), part(3, 300, 700), part(4, 700, u64::MAX)]);
        assert_eq!(lineage(&attempts, 9), []);
    }

    fn order(attempt: u32, effective_step: u64, effect: Effect) -> Decision {
        Decision {
            id: DecisionId::Person { seq: 1 },
            attempt,
            step: effective_step - 1,
            effective_step,
            author: Author::Person("ann".to_owned()),
            reason: String::new(),
            evidence: std::collections::BTreeMap::new(),
            effect,
            create_time: Timestamp(0),
        }
    }

    #[test]
    fn an_attempt_begins_with_the_orders_that_stand() {
        let attempts = [attempt(1, 0), attempt(2, 500), attempt(3, 300), attempt(4, 700)];
        let counts = |of: u32, at: u64| {
            [1, 2, 3, 4].map(|now| Standing::new(&attempts, now).effective_step(&order(of, at, Effect::Pause)))
        };
        assert_eq!(counts(1, 600), [Some(600), Some(500), Some(300), Some(300)]);
        assert_eq!(counts(1, 200), [Some(200); 4]);
        assert_eq!(counts(3, 800), [None, None, Some(800), Some(700)]);
        let setting = OverrideSetting::Factor(0.5);
        let until = Effect::Override(RateOverride { setting, end_step: Some(650) });
        assert_eq!(Standing::new(&attempts, 4).effective_step(&order(1, 600, until)), Some(600));
        assert_eq!(Standing::new(&[], 1).effective_step(&order(1, 600, Effect::Pause)), Some(600));
    }
}
