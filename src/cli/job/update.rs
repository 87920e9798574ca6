//! `lrs job update`: changes a job's spec, as a whole or field by field.

use std::{collections::BTreeSet, path::PathBuf};

use pbjson_types::FieldMask;

use super::{Session, show};
use crate::cli::{assignment::Assignment, failure::Failure, jobfile, order::OrderArgs, output::FormatArgs};
use lrs_proto::{Job, JobSpec, UpdateJobRequest, reflect};

/// Change a job's spec
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The change is a decision: it takes effect at the first step that no trainer has been given yet.

Examples:
  lrs job update vision/cifar --set spec.total_steps=40000 --reason 'train longer'
  lrs job update vision/cifar --set 'spec.schedule={cosine: {}}'
  lrs job update vision/cifar -f changes.yaml                    the fields that the file has")]
#[group(id = "what", required = true, multiple = true, args = ["file", "changes"])]
pub struct Args {
    /// The job
    job: String,
    /// Job file with the new values; fields that are not in it stay as they are
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Set a field, such as `spec.groups[0].base_lr=0.1`; may be given several times
    #[arg(long = "set", value_name = "PATH=VALUE")]
    changes: Vec<Assignment>,
    #[command(flatten)]
    order: OrderArgs,
    #[command(flatten)]
    format: FormatArgs,
}

pub(super) async fn run(session: &Session, args: &Args) -> Result<(), Failure> {
    let name = session.name(&args.job)?;
    let before = session.job(&name).await?;
    let (job, update_mask) = if let Some(file) = &args.file {
        let job = one_job(jobfile::read_change(file, &args.changes, &before)?)?;
        if !job.name.is_empty() && session.name(&job.name)? != name {
            return Err(Failure::invalid(format!("the file is of {}, and the command line names {name}", job.name))
                .with_hint("take the name out of the file, or name its job"));
        }
        (job, None)
    } else {
        let mask = update_mask(&args.changes)?;
        let job = jobfile::change(&before, &args.changes)?;
        let spec = job.spec.map(|spec| only(&spec, &mask));
        (Job { spec, etag: job.etag, ..Job::default() }, Some(mask))
    };
    let request = UpdateJobRequest {
        // With the etag of the job that was read, so that a change by somebody else in between is not lost.
        job: Some(Job { name: name.to_string(), ..job }),
        update_mask,
        reason: args.order.record.reason.clone(),
        author: args.order.record.author.clone(),
        request_id: args.order.request_id(),
    };
    let job = session.server.call(async |mut service| service.update_job(request.clone()).await).await?;
    args.format.print(&job, || {
        let what = if job.spec == before.spec { "Nothing changed in" } else { "Changed" };
        let from = show::from_order(&job).filter(|_| job.spec != before.spec);
        let from = from.map(|from| format!(", {from}")).unwrap_or_default();
        format!("{what} the spec of {name}{from}.\n{}", show::job(&job))
    })
}

/// The fields of the spec that `changes` touch, each once.
fn update_mask(changes: &[Assignment]) -> Result<FieldMask, Failure> {
    let mut paths = changes.iter().map(Assignment::mask_path).collect::<Result<Vec<_>, _>>()?;
    paths.sort_unstable();
    paths.dedup();
    Ok(FieldMask { paths })
}

/// `spec` with the fields that `mask` touches and no others. So a short form, such as `controller`, is not sent beside
/// the long form that the job has.
fn only(spec: &JobSpec, mask: &FieldMask) -> JobSpec {
    let Ok(mut message) = reflect::to_dynamic(spec) else { return spec.clone() };
    let touched: Option<BTreeSet<&str>> =
        mask.paths.iter().map(|path| path.strip_prefix("spec.")?.split('.').next()).collect();
    // A path that names the whole spec touches all of its fields.
    let Some(touched) = touched else { return spec.clone() };
    for field in reflect::descriptor::<JobSpec>().fields().filter(|field| !touched.contains(field.name())) {
        message.clear_field(&field);
    }
    reflect::from_dynamic(&message).unwrap_or_else(|_| spec.clone())
}

/// The only job of a file.
pub(super) fn one_job(jobs: Vec<Job>) -> Result<Job, Failure> {
    match <[Job; 1]>::try_from(jobs) {
        Ok([job]) => Ok(job),
        Err(jobs) => Err(Failure::invalid(format!("the file has {} documents: must have one", jobs.len()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_has_every_changed_field_once() {
        let changes = ["spec.groups[0].base_lr=1", "spec.groups[1].base_lr=2", "spec.total_steps=5"];
        let changes: Vec<Assignment> = changes.into_iter().map(|change| change.parse().unwrap()).collect();
        assert_eq!(update_mask(&changes).unwrap().paths, ["spec.groups", "spec.total_steps"]);
    }

    #[test]
    fn a_short_form_is_sent_without_the_long_form_of_the_job() {
        let spec: JobSpec = serde_json::from_str(
            r#"{"controller": "auto", "controllers": [{"auto": {}}], "labels": {"a": "b"}, "total_steps": "5"}"#,
        )
        .unwrap();
        let mask = FieldMask { paths: vec!["spec.controller".into(), "spec.labels.a".into()] };

        let sent = only(&spec, &mask);

        assert_eq!((sent.controller.as_str(), sent.controllers.len(), sent.total_steps), ("auto", 0, None));
        assert_eq!(sent.labels, spec.labels);
        assert_eq!(only(&spec, &FieldMask { paths: vec!["spec".into()] }), spec);
    }

    #[test]
    fn a_change_outside_the_spec_is_refused() {
        assert!(update_mask(&["name=other".parse().unwrap()]).is_err());
    }
}
