//! What a job says about its units, for lengths in words in a body that is about the job.

use lrs_proto::{
    GetJobRequest, Job, JobSpec,
    lengths::Scale,
    reflect::{descriptor, from_dynamic, to_dynamic},
};
use prost::Message as _;
use tonic::{Status, codegen::http::uri::PathAndQuery};

use crate::rpc::Calls;

const GET_JOB: &str = "/lrs.v1.JobService/GetJob";

/// What is left of what a job says when the fields of the spec in `mask` are replaced.
///
/// # Errors
/// As for `GetJob`.
pub(super) async fn of_job(calls: &Calls, job: String, mask: &[String]) -> Result<Scale, Status> {
    let request = GetJobRequest { name: job }.encode_to_vec();
    let answer = calls.unary(PathAndQuery::from_static(GET_JOB), request.into()).await?;
    let job = Job::decode(answer).map_err(|problem| Status::internal(problem.to_string()))?;
    Ok(Scale::of(&without(job.spec.unwrap_or_default(), mask)))
}

/// `spec` without the fields that a mask names: what the request says of them is all that there will be.
fn without(spec: JobSpec, mask: &[String]) -> JobSpec {
    let names = mask.iter().map(|path| path.strip_prefix("spec.").unwrap_or(path));
    let Ok(mut message) = to_dynamic(&spec) else { return spec };
    for name in names {
        if name == "*" || name == "spec" {
            return JobSpec::default();
        }
        if let Some(field) = descriptor::<JobSpec>().get_field_by_name(name) {
            message.clear_field(&field);
        }
    }
    from_dynamic(&message).unwrap_or(spec)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_mask_replaces_measures_nothing() {
        let spec = JobSpec { total_steps: Some(1000), steps_per_epoch: Some(10), ..JobSpec::default() };
        let after = |mask: &[&str]| {
            let mask: Vec<String> = mask.iter().map(|&path| path.to_owned()).collect();
            let spec = without(spec.clone(), &mask);
            (spec.total_steps, spec.steps_per_epoch)
        };
        assert_eq!(after(&[]), (Some(1000), Some(10)));
        assert_eq!(after(&["spec.schedule", "steps_per_epoch"]), (Some(1000), None));
        assert_eq!(after(&["spec"]), (None, None));
        assert_eq!(after(&["*"]), (None, None));
    }
}
