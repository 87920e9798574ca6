//! `ApplyJobs`, with the failures in the words of who named the jobs.

use super::{connect::Connection, failure::Failure};
use lrs_proto::{ApplyJobsRequest, ApplyJobsResponse, Job};

/// Has the server make the jobs what the request says.
///
/// # Errors
/// If the server cannot be reached, or refuses. Wrong fields are named by job.
pub async fn send(server: &Connection, request: ApplyJobsRequest) -> Result<ApplyJobsResponse, Failure> {
    let applied = server.call(async |mut service| service.apply_jobs(request.clone()).await).await;
    applied.map_err(|failure| about(failure, &request.jobs))
}

/// The failure with the jobs named, where the server counts them: `jobs[1].spec.groups` is a field of the second.
fn about(failure: Failure, jobs: &[Job]) -> Failure {
    let named = |(field, problem): (String, String)| {
        let place = field.strip_prefix("jobs[").and_then(|rest| rest.split_once(']'));
        let place = place.and_then(|(index, rest)| Some((jobs.get(index.parse::<usize>().ok()?)?, rest)));
        match place {
            Some((_, rest)) if jobs.len() == 1 => (rest.trim_start_matches('.').to_owned(), problem),
            Some((job, rest)) => (format!("{}: {}", job.name, rest.trim_start_matches('.')), problem),
            None => (field, problem),
        }
    };
    Failure { violations: failure.violations.into_iter().map(named).collect(), ..failure }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_field_is_told_by_the_job_that_has_it() {
        let failure = Failure {
            violations: vec![
                ("jobs[1].spec.groups".to_owned(), "is required".to_owned()),
                ("reason".to_owned(), "is too long".to_owned()),
            ],
            ..Failure::invalid("refused")
        };
        let jobs = ["a", "b"].map(|job| Job { name: format!("namespaces/n/jobs/{job}"), ..Job::default() });
        let fields = |failure: Failure| failure.violations.into_iter().map(|(field, _)| field).collect::<Vec<_>>();
        assert_eq!(fields(about(failure, &jobs)), ["namespaces/n/jobs/b: spec.groups", "reason"]);
        let alone =
            Failure { violations: vec![("jobs[0].spec".to_owned(), "is required".to_owned())], ..Failure::invalid("") };
        assert_eq!(fields(about(alone, &jobs[..1])), ["spec"]);
    }
}
