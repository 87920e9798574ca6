//! The figures of an audit report: of each job, and of the comparison between the two arms of an experiment.

mod area;
mod comparison;
mod decisions;
mod difference;
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
pub use difference::{Difference, MeasuredPair};
pub use job::{Curve, JobFacts, JobFigures, JobTally, ObjectiveFigures};
pub use loss::LossFigures;
pub use measure::{Measure, MeasureFigures};
pub use metric::{MAX_METRICS, MetricFigures};
pub use plateau::PlateauFigures;
pub use resample::{Interval, RESAMPLES};
pub use stability::StabilityFigures;
pub use verdict::Verdict;
pub use wall::Stretch;

/// A report: the figures of the jobs, and the comparison of an experiment's arms.
#[derive(Clone, Debug, PartialEq)]
pub struct Audit {
    /// The job or experiment of the report.
    pub subject: Subject,
    /// The figures of the jobs, by name.
    pub jobs: Vec<JobFigures>,
    /// The comparison of the arms; `None` in the report of one job.
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
