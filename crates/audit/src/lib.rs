//! The figures of a report: of each job, and between the two arms of an experiment.

mod area;
mod comparison;
mod decisions;
mod job;
mod loss;
mod measure;
mod metric;
mod plateau;
mod resample;
mod stability;
mod verdict;
mod wall;

pub use comparison::{Comparison, LeftOut, Pair, Savings, compare};
pub use decisions::{DecisionFigures, DecisionLog, Decisions, MAX_DECISIONS, Slope, SlopeChange};
pub use job::{Curve, JobFacts, JobFigures, JobTally, ObjectiveFigures, Stretch};
pub use loss::LossFigures;
pub use measure::{Difference, Measure, MeasureFigures, MeasuredPair};
pub use metric::{MAX_METRICS, MetricFigures};
pub use plateau::PlateauFigures;
pub use resample::{Interval, RESAMPLES};
pub use stability::StabilityFigures;
pub use verdict::Verdict;

/// A report: the figures of the jobs, and what they say about an experiment's arms.
#[derive(Clone, Debug, PartialEq)]
pub struct Audit {
    /// What it is about.
    pub subject: Subject,
    /// By name.
    pub jobs: Vec<JobFigures>,
    /// The arms of the experiment; `None` of one job.
    pub comparison: Option<Comparison>,
}

/// What a report is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// One job, by its whole name.
    Job(String),
    /// The jobs of an experiment.
    Experiment {
        /// The namespace they are in.
        namespace: String,
        /// Its name.
        experiment: String,
    },
}

impl Audit {
    /// The report of these jobs, in any order.
    #[must_use]
    pub fn of(subject: Subject, mut jobs: Vec<JobFigures>) -> Self {
        jobs.sort_by(|a, b| a.facts.row.name.as_str().cmp(b.facts.row.name.as_str()));
        let comparison = match &subject {
            Subject::Job(_) => None,
            Subject::Experiment { experiment, .. } => Some(compare(experiment, &jobs)),
        };
        Self { subject, jobs, comparison }
    }
}
