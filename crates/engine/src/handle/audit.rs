//! Audit reports: the record of a job or an experiment, read step by step and turned into figures.

use std::sync::Arc;

use super::{Engine, off_thread, records::check_whole};
use crate::{
    api::{Error, JobView},
    history::Records,
    lineage::{Part, lineage},
};
use lrs_audit::{Audit, DecisionLog, JobFacts, JobFigures, JobTally, Stretch, Subject};
use lrs_model::{
    decision::{Decision, DecisionId},
    filter::{Comparison, Condition, JobOrder, JobQuery, OrderKey},
    job::{AttemptRow, JobRow},
    name::JobName,
    violation::Violations,
};

/// Decisions read at once.
const DECISIONS: u32 = 1000;

impl Engine {
    /// The report of one job, with `target` in place of its objective's own.
    ///
    /// # Errors
    /// If there is none, too many reports are being made, or the store is away.
    pub async fn audit_job(&self, name: &JobName, target: Option<f64>) -> Result<Audit, Error> {
        let _slot = self.report_slot()?;
        let view = self.job(name).await?;
        let figures = self.figures(view, target).await?;
        finish(Subject::Job(name.to_string()), vec![figures]).await
    }

    /// The report of the jobs of `namespace` whose spec names `experiment`, with `target` in place of their objectives'
    /// own.
    ///
    /// # Errors
    /// If there are none, or more than a report may have, too many reports are being made, or the store is away.
    pub async fn audit_experiment(
        &self,
        namespace: &str,
        experiment: &str,
        target: Option<f64>,
    ) -> Result<Audit, Error> {
        let _slot = self.report_slot()?;
        let limit = self.0.context.settings.max_report_jobs;
        let query = JobQuery {
            namespace: Some(namespace.to_owned()),
            conditions: vec![Condition::Experiment(Comparison::Equal, experiment.to_owned())],
            order: JobOrder { key: OrderKey::Name, descending: false },
            after: None,
            limit: limit.saturating_add(1),
        };
        let views = self.list_jobs(query).await?;
        if views.is_empty() {
            let (namespace, experiment) = (namespace.to_owned(), experiment.to_owned());
            return Err(Error::ExperimentNotFound { namespace, experiment });
        }
        if views.len() > limit as usize {
            let mut violations = Violations::new();
            let allowed = format_args!("one of at most {limit} jobs (max_report_jobs)");
            violations.refuse("experiment", format_args!("{experiment:?}, which has more jobs than that,"), allowed);
            return Err(Error::Invalid(violations));
        }
        let mut jobs = Vec::with_capacity(views.len());
        for view in views {
            jobs.push(self.figures(view, target).await?);
        }
        let subject = Subject::Experiment { namespace: namespace.to_owned(), experiment: experiment.to_owned() };
        finish(subject, jobs).await
    }

    /// A place among the reports that are being made.
    fn report_slot(&self) -> Result<tokio::sync::SemaphorePermit<'_>, Error> {
        let limit = self.0.context.settings.max_reports;
        self.0.reports.try_acquire().map_err(|_| Error::Overloaded { what: "the list of reports being made", limit })
    }

    /// The figures of a job's newest history.
    async fn figures(&self, view: JobView, target: Option<f64>) -> Result<JobFigures, Error> {
        let name = view.row.name.clone();
        let attempts = self.attempts(&name).await?;
        let parts = lineage(&attempts, view.attempt);
        let facts = JobFacts {
            idle: view.idle,
            attempt: view.attempt,
            stretches: parts.iter().filter_map(|part| stretch(part, &attempts)).collect(),
            row: aimed(view.row.clone(), target),
        };
        // Before the telemetry, so that it is known where rates changed. A decision that comes meanwhile is left to the
        // next report.
        let decisions = self.decision_log(&name, &parts).await?;
        let mut tally = JobTally::new(facts, decisions);
        if check_whole(&view.row).is_ok() && view.attempt > 0 {
            match self.history(&name, Some(view.attempt), 0..u64::MAX).await {
                Ok((view, mut records)) => {
                    tally = read(tally, &mut records).await?;
                    self.check_still_whole(&view).await?;
                }
                Err(Error::TelemetryRemoved { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(tally.figures())
    }

    async fn decision_log(&self, name: &JobName, parts: &[Part]) -> Result<DecisionLog, Error> {
        let mut log = DecisionLog::default();
        let mut after = None;
        loop {
            let page = self.decisions(name, None, after, DECISIONS).await?;
            page.decisions
                .into_iter()
                .filter(|decision| belongs(decision, parts))
                .for_each(|decision| log.take(decision));
            after = page.next;
            if after.is_none() {
                return Ok(log);
            }
        }
    }
}

/// The job with another target of its objective, if it has one.
fn aimed(mut row: Arc<JobRow>, target: Option<f64>) -> Arc<JobRow> {
    if target.is_some()
        && let Some(objective) = &mut Arc::make_mut(&mut row).spec.objective
    {
        objective.target = target;
    }
    row
}

fn stretch(part: &Part, attempts: &[AttemptRow]) -> Option<Stretch> {
    let row = attempts.iter().find(|row| row.attempt == part.attempt)?;
    Some(Stretch { start_step: part.start, start_time: row.create_time })
}

/// Whether a decision belongs to this history: a controller's by the step it was taken at, a person's by its effective
/// step.
fn belongs(decision: &Decision, parts: &[Part]) -> bool {
    let step = match decision.id {
        DecisionId::Controller { step, .. } => step,
        DecisionId::Person { .. } => decision.effective_step,
    };
    decision.attempt == 0 || parts.iter().any(|part| part.has(decision.attempt, step))
}

/// Feeds the records to the tally, off the threads that answer calls.
async fn read(mut tally: JobTally, records: &mut Records<'_>) -> Result<JobTally, Error> {
    while let Some(window) = records.next_window().await? {
        tally = off_thread(move || {
            for record in &window {
                tally.take(record);
            }
            tally
        })
        .await?;
    }
    Ok(tally)
}

async fn finish(subject: Subject, jobs: Vec<JobFigures>) -> Result<Audit, Error> {
    off_thread(move || Audit::of(subject, jobs)).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Settings;
    use lrs_runtime::clock::SystemClock;
    use lrs_store as store;

    #[tokio::test]
    async fn a_report_too_many_is_refused_until_there_is_a_place_again() {
        let directory = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", directory.path().join("lrs.db").display());
        let store = url.parse::<store::DatabaseUrl>().unwrap().open().await.unwrap();
        let settings = Settings { max_reports: 1, ..Settings::default() };
        let engine = Engine::start(settings, store, Arc::new(SystemClock));
        engine.recovered().await.unwrap();
        let name = JobName::new("a", "b").unwrap();

        let held = engine.report_slot().unwrap();
        let refused = engine.audit_job(&name, None).await.unwrap_err();
        drop(held);
        let answered = engine.audit_job(&name, None).await.unwrap_err();

        assert!(matches!(refused, Error::Overloaded { limit: 1, .. }), "{refused}");
        assert!(matches!(answered, Error::JobNotFound(_)), "{answered}");
        engine.shutdown().await;
    }
}
