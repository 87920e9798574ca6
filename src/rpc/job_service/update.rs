//! `UpdateJob`: replaces some fields of a job's spec.

use crate::rpc::{
    convert,
    fields::{self, checked},
    update_mask,
};
use lrs_engine::{Change, Engine, Error, JobView, Order};
use lrs_model::{change::ChangeKind, etag, name::JobName, violation::Violations};
use lrs_proto::{Job, JobSpec, UpdateJobRequest};
use lrs_runtime::heavy::in_place;

/// How often to try, when somebody else changes the job between our read and our write.
const MAX_TRIES: usize = 5;

/// Changes the spec. Without an etag, a change by somebody else in the meantime is no error: the named fields then go
/// into the spec as that change left it.
pub(super) async fn update(engine: &Engine, request: UpdateJobRequest) -> Result<JobView, Error> {
    let Update { name, etag, spec, paths, order, recorded } = Update::from_proto(request)?;
    if engine.is_repeat(&name, &[ChangeKind::Updated, ChangeKind::SpecChanged], &order).await? {
        return engine.job(&name).await;
    }
    let mut tries = 1;
    loop {
        let current = engine.job(&name).await?;
        let version = match &etag {
            Some(etag) => etag::version(etag).ok_or_else(|| Error::EtagMismatch {
                job: name.clone(),
                expected: etag.clone(),
                found: current.etag(),
            })?,
            None => current.row.version,
        };
        let mut v = Violations::new();
        if asks_for_all(&paths) {
            v.within("job", |v| super::recorded::refuse(v, &recorded, &current));
        }
        let wire = in_place(|| update_mask::apply(&mut v, &convert::spec::to_proto(&current.row.spec), &spec, &paths));
        let changed = fields::spec(&mut v, engine, "job.spec", Some(wire));
        let change = Change::Spec { spec: Box::new(checked(v, changed)?), version };
        match engine.change_job(&name, change, order.clone()).await {
            Ok((job, _)) => return Ok(job),
            Err(Error::EtagMismatch { .. }) if etag.is_none() && tries < MAX_TRIES => tries += 1,
            Err(error) => return Err(super::below("job.spec")(error)),
        }
    }
}

#[derive(Debug)]
struct Update {
    name: JobName,
    etag: Option<String>,
    spec: JobSpec,
    paths: Vec<String>,
    order: Order,
    /// The job in the request, without its spec.
    recorded: Job,
}

impl Update {
    fn from_proto(request: UpdateJobRequest) -> Result<Self, Error> {
        let mut v = Violations::new();
        let mut job = request.job.unwrap_or_default();
        let name = fields::job_name(&mut v, "job.name", &job.name);
        let order = fields::order(&mut v, request.author, request.reason, request.request_id);
        let paths = request.update_mask.unwrap_or_default().paths;
        let spec = job.spec.take().unwrap_or_default();
        // An unknown field in the mask is refused even if the job does not exist.
        update_mask::apply(&mut v, &JobSpec::default(), &spec, &paths);
        let name = checked(v, name)?;
        let order = Order { fingerprint: fingerprint(&spec, &paths), ..order };
        let etag = (!job.etag.is_empty()).then(|| job.etag.clone());
        Ok(Self { name, etag, spec, paths, order, recorded: job })
    }
}

/// Whether a request asks for all that it has, not for the fields of a mask.
fn asks_for_all(paths: &[String]) -> bool {
    paths.is_empty() || paths.iter().any(|path| path == update_mask::WHOLE)
}

/// Tells requests for different changes apart. Equal for equal requests in every release and on every machine.
pub(super) fn fingerprint(spec: &JobSpec, paths: &[String]) -> i64 {
    let mut bytes = paths.join(",").into_bytes();
    bytes.push(0);
    // A value of JSON has its keys in order, while maps on the wire have none.
    bytes.extend(serde_json::to_value(spec).map(|json| json.to_string()).unwrap_or_default().into_bytes());
    // FNV-1a, 64 bits.
    let hash = bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3));
    hash.cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_wrong_with_the_request_is_named_before_the_job_is_read() {
        let update_mask = Some(pbjson_types::FieldMask { paths: vec!["spec.colour".into()] });
        let request = UpdateJobRequest { update_mask, reason: "x".repeat(1001), ..Default::default() };
        let Err(Error::Invalid(violations)) = Update::from_proto(request) else { panic!("not refused") };
        let fields: Vec<_> = violations.iter().map(|violation| violation.field.as_str()).collect();
        assert_eq!(fields, ["job.name", "reason", "update_mask"]);
    }

    #[test]
    fn an_empty_etag_matches_everything() {
        let job = Job { name: "namespaces/a/jobs/b".into(), ..Default::default() };
        let update = Update::from_proto(UpdateJobRequest { job: Some(job), ..Default::default() }).unwrap();
        assert_eq!(update.etag, None);
    }
}
