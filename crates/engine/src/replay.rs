//! A job's decisions made once more from its telemetry. They must be the same.

use std::collections::VecDeque;

use super::{
    api::Directive,
    job::Job,
    lineage::{Part, Standing, lineage},
    steering::BaseMove,
    timeline::Timeline,
};
use lrs_model::{
    decision::{Decision, DecisionId},
    job::AttemptRow,
    spec::Spec,
    telemetry::Sample,
    violation::Violations,
};

/// What a replay found.
#[derive(Debug)]
pub struct Replay {
    /// What the controllers decided, in step order.
    pub decisions: Vec<Decision>,
    timeline: Timeline,
    /// How many records there were.
    pub records: u64,
}

impl Replay {
    /// What the trainer was told for `step`, as far as it follows from the records.
    #[must_use]
    pub fn directive_at(&self, step: u64) -> Directive {
        if step >= self.timeline.known_from() {
            return self.timeline.directive_at(step);
        }
        let decided = self.decisions.partition_point(|decision| decision.effective_step <= step);
        let moved = self.decisions[..decided].iter().rev().find_map(BaseMove::of);
        self.timeline.directive_with(step, moved.as_ref())
    }
}

/// Replays `records`, the complete ones of the history of `attempt` by rising step.
///
/// `people` are people's decisions, in any order; those of later attempts are left out. Without `attempts` it is one
/// attempt from step 0.
///
/// # Errors
/// If a spec is wrong.
pub fn replay(
    initial_spec: &Spec,
    attempts: &[AttemptRow],
    people: &[Decision],
    records: impl IntoIterator<Item = Sample>,
    attempt: u32,
) -> Result<Replay, Violations> {
    let mut replayer = Replayer::try_new(initial_spec, attempts, people, attempt)?;
    let mut decisions = Vec::new();
    let mut count = 0;
    for record in records {
        decisions.extend(replayer.take(&record));
        count += 1;
    }
    Ok(Replay { decisions, timeline: replayer.job.timeline().clone(), records: count })
}

/// A replay under way, for histories that are not held in memory.
#[derive(Debug)]
pub struct Replayer {
    job: Job,
    parts: VecDeque<Part>,
}

impl Replayer {
    /// A replay of the history of `attempt`, before its first record. See [`replay`].
    ///
    /// # Errors
    /// If a spec is wrong.
    pub fn try_new<'a>(
        initial_spec: &Spec,
        attempts: &[AttemptRow],
        people: impl IntoIterator<Item = &'a Decision>,
        attempt: u32,
    ) -> Result<Self, Violations> {
        let timeline = Timeline::of_attempt(initial_spec, people, &Standing::new(attempts, attempt))?;
        let mut parts: VecDeque<Part> = lineage(attempts, attempt).into();
        let first = parts.pop_front();
        let (first_attempt, start) = first.map_or((attempt, 0), |part| (part.attempt, part.start));
        let mut job = Job::new(timeline, first_attempt, start);
        job.expect(&parts);
        Ok(Self { job, parts })
    }

    /// The rate of every step, as far as it follows from the records taken.
    #[must_use]
    pub fn timeline(&self) -> &Timeline {
        self.job.timeline()
    }

    /// Goes on under the people's decisions of `timeline`, which change nothing about the records taken so far.
    pub fn follow(&mut self, timeline: &Timeline) {
        // A replay holds no step back.
        let decisions = self.job.apply(timeline);
        debug_assert!(decisions.is_empty(), "{decisions:?}");
    }

    /// What the controllers decide on the next record.
    pub fn take(&mut self, record: &Sample) -> Vec<Decision> {
        let mut decisions = Vec::new();
        while let Some(part) = self.parts.pop_front_if(|part| part.start <= record.step) {
            decisions.extend(self.job.begin_attempt(part.attempt, part.start));
        }
        decisions.extend(self.job.take_record(record));
        decisions
    }
}

/// The recorded decisions by controllers that belong to the history of `attempt`.
#[must_use]
pub fn recorded<'a>(decisions: &'a [Decision], attempts: &[AttemptRow], attempt: u32) -> Vec<&'a Decision> {
    let parts = lineage(attempts, attempt);
    let belongs = |decision: &&Decision| match decision.id {
        DecisionId::Person { .. } => false,
        DecisionId::Controller { .. } => parts.is_empty() || parts.iter().any(|part| part.has_decision(decision)),
    };
    let mut recorded: Vec<&Decision> = decisions.iter().filter(belongs).collect();
    recorded.sort_by_key(|decision| (decision.step, decision.id));
    recorded
}

/// Whether two decisions are the same, all but the time they were stored at.
#[must_use]
pub fn same_decision(a: &Decision, b: &Decision) -> bool {
    let text = |decision: &Decision| {
        let timeless = Decision { create_time: lrs_model::job::Timestamp(0), ..decision.clone() };
        // As text, so that a NaN in the evidence equals itself.
        serde_json::to_string(&timeless).ok()
    };
    text(a) == text(b)
}
