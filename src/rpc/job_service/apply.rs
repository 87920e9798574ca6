//! `ApplyJobs`: many jobs are made what they should be, all of them or none.

use std::collections::HashSet;

use super::{recorded, update::fingerprint};
use crate::rpc::{
    convert,
    fields::{self, checked},
};
use lrs_engine::{Applied, Apply, Engine, Error, JobView, NewJob, Order, Wanted};
use lrs_model::{
    name::{JobName, parse_parent},
    violation::Violations,
};
use lrs_proto::{AppliedJob, ApplyJobsRequest, ApplyJobsResponse, Job, applied_job::Outcome};

const MAX_JOBS: usize = 1000;
/// The parent of jobs of several namespaces.
const ALL: &str = "namespaces/-";

/// Makes the jobs of the request what they should be.
pub(super) async fn apply(engine: &Engine, request: ApplyJobsRequest) -> Result<Vec<(JobView, Applied)>, Error> {
    let ApplyJobsRequest { parent, jobs, create_only, request_id, validate_only, reason, author } = request;
    let mut v = Violations::new();
    let namespace = if parent == ALL { None } else { fields::noted(&mut v, "parent", parse_parent(&parent)) };
    let order = fields::order(&mut v, author, reason, request_id);
    if jobs.is_empty() || jobs.len() > MAX_JOBS {
        v.refuse("jobs", format_args!("{} jobs", jobs.len()), format_args!("1 to {MAX_JOBS}"));
        return Err(Error::Invalid(v));
    }
    let mut names = HashSet::with_capacity(jobs.len());
    let mut wanted = Vec::with_capacity(jobs.len());
    for (index, mut job) in jobs.into_iter().enumerate() {
        let spec = job.spec.take();
        if recorded::is_in(&job)
            && let Ok(name) = job.name.parse()
        {
            let current = match engine.job(&name).await {
                Ok(current) => Some(current),
                Err(Error::JobNotFound(_)) => None,
                Err(error) => return Err(error),
            };
            v.within(format_args!("jobs[{index}]"), |v| match &current {
                Some(current) => recorded::refuse(v, &job, current),
                None => recorded::refuse_for_new(v, &Job { etag: String::new(), ..job.clone() }),
            });
        }
        let job = Job { spec, ..job };
        let job = v.within(format_args!("jobs[{index}]"), |v| {
            let job = wanted_from_proto(v, engine, job, &order, namespace);
            if let Some(job) = &job
                && !names.insert(job.job.name.clone())
            {
                v.add("name", format_args!("{} is named twice: each job may be named once", job.job.name));
            }
            job
        });
        wanted.extend(job);
    }
    let jobs = checked(v, Some(wanted))?;
    engine.apply_jobs(Apply { jobs, create_only, validate_only }).await
}

fn wanted_from_proto(
    v: &mut Violations,
    engine: &Engine,
    job: Job,
    order: &Order,
    namespace: Option<&str>,
) -> Option<Wanted> {
    let name: Option<JobName> = fields::job_name(v, "name", &job.name);
    if let (Some(name), Some(namespace)) = (&name, namespace)
        && name.namespace() != namespace
    {
        let allowed = format_args!("a job of namespaces/{namespace}, the request's parent; {ALL} takes any");
        v.refuse("name", format_args!("{:?}", name.as_str()), allowed);
    }
    let fingerprint = job.spec.as_ref().map_or(0, |spec| fingerprint(spec, &[]));
    let spec = fields::spec(v, engine, "spec", job.spec);
    let order = Order { fingerprint, ..order.clone() };
    let etag = (!job.etag.is_empty()).then_some(job.etag);
    Some(Wanted { job: NewJob { name: name?, spec: spec?, order }, etag })
}

pub(super) fn to_proto(applied: &[(JobView, Applied)]) -> ApplyJobsResponse {
    let job = |(job, applied): &(JobView, Applied)| AppliedJob {
        job: Some(Job { initial_spec: None, ..convert::job::to_proto(job) }),
        outcome: match applied {
            Applied::Created => Outcome::Created,
            Applied::Updated => Outcome::Updated,
            Applied::Unchanged => Outcome::Unchanged,
        }
        .into(),
    };
    ApplyJobsResponse { jobs: applied.iter().map(job).collect() }
}
