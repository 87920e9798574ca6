//! Made-up jobs, in the form in which a server's jobs are read.

use std::sync::Arc;

use lrs_audit::{DecisionLog, JobFacts, JobFigures, JobTally, Stretch};
use lrs_model::{
    controller::Mode,
    decision::{Author, BaseRateChange, Decision, DecisionId, Effect, RateMove},
    job::{Idle, JobRow, State, Timestamp},
    name::{JobId, JobName},
    spec::{Arm, Objective, Spec},
    telemetry::Sample,
};

/// A job of an experiment.
pub struct Job {
    pub row: JobRow,
    pub decisions: Vec<Decision>,
    pub records: Vec<Sample>,
}

impl Job {
    /// A completed job that began at second 1000 and ended `seconds` later.
    pub fn new(id: &str, arm: Option<Arm>, seed: Option<i64>) -> Self {
        let name = JobName::new("test", id).unwrap();
        let uuid = id.bytes().fold(0_u128, |number, byte| number << 8 | u128::from(byte));
        let mut row = JobRow::unreadable(JobId(uuid::Uuid::from_u128(uuid)), name);
        row.state = State::Completed;
        row.create_time = Timestamp(900_000_000);
        row.end_time = Some(Timestamp(1_100_000_000));
        row.spec = Spec { experiment: "digits".to_owned(), arm, seed, ..Spec::default() };
        Self { row, decisions: Vec::new(), records: Vec::new() }
    }

    pub fn objective(mut self, metric: &str, mode: Mode, target: Option<f64>) -> Self {
        self.row.spec.objective = Some(Objective { target, ..Objective::new(metric, mode) });
        self
    }

    pub fn title(mut self, title: &str) -> Self {
        title.clone_into(&mut self.row.spec.display_name);
        self
    }

    pub fn label(mut self, key: &str, value: &str) -> Self {
        self.row.spec.labels.insert(key.to_owned(), value.to_owned());
        self
    }

    pub fn state(mut self, state: State) -> Self {
        self.row.state = state;
        self.row.end_time = self.row.end_time.filter(|_| state.is_ended());
        self
    }

    /// A loss at each of these steps.
    pub fn losses(mut self, points: impl IntoIterator<Item = (u64, f64)>) -> Self {
        self.records =
            points.into_iter().map(|(step, loss)| Sample { loss: Some(loss), ..Sample::new(step) }).collect();
        self
    }

    /// A metric at the steps that have it.
    pub fn metric(mut self, name: &str, value: impl Fn(u64) -> Option<f64>) -> Self {
        for record in &mut self.records {
            if let Some(value) = value(record.step) {
                record.add_metric(name.into(), value);
            }
        }
        self
    }

    /// A cut of the rate to half.
    pub fn cut(mut self, effective_step: u64) -> Self {
        let change = BaseRateChange { group: "default".to_owned(), previous_base_lr: 1.0, base_lr: 0.5 };
        let step = effective_step - 1;
        self.decisions.push(Decision {
            id: DecisionId::Controller { attempt: 1, step, controller: 0 },
            attempt: 1,
            step,
            effective_step,
            author: Author::Controller("0/reduce_lr_on_plateau".to_owned()),
            reason: "val_loss has not improved for <3> evaluations".to_owned(),
            evidence: std::collections::BTreeMap::new(),
            effect: Effect::BaseRates(RateMove { groups: vec![change], ..RateMove::default() }),
            create_time: Timestamp(0),
        });
        self
    }

    pub fn figures(self) -> JobFigures {
        let stretches = vec![Stretch { start_step: 0, start_time: Timestamp(1_000_000_000) }];
        let facts = JobFacts { row: Arc::new(self.row), idle: Idle::Active, attempt: 1, stretches };
        let mut log = DecisionLog::default();
        self.decisions.into_iter().for_each(|decision| log.take(decision));
        let mut tally = JobTally::new(facts, log);
        self.records.iter().for_each(|record| tally.take(record));
        tally.figures()
    }
}
