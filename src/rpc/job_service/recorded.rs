//! What a request has of the fields of a job that the service alone writes.

use crate::rpc::convert;
use lrs_engine::JobView;
use lrs_model::violation::Violations;
use lrs_proto::{
    Job,
    job::State,
    reflect::{DynamicMessage, FieldDescriptor, to_dynamic},
};
use lrs_runtime::heavy::in_place;

/// The fields that a request is made of.
const WRITTEN: [&str; 3] = ["name", "spec", "etag"];
/// What a running job changes all the time may be as it was when the caller read the job.
const PASSING: [&str; 3] = ["attempt", "progress", "active_time"];

/// Whether a request has any of them.
pub(super) fn is_in(given: &Job) -> bool {
    let Ok(given) = to_dynamic(given) else { return true };
    given.fields().any(|(field, _)| !WRITTEN.contains(&field.name()))
}

/// Notes those that are not as the job has them: nothing would come of them.
pub(super) fn refuse(v: &mut Violations, given: &Job, current: &JobView) {
    let now = convert::job::to_proto(current);
    // Without a change of the etag, a job may only have become stale or abandoned, or be heard from again.
    let has_etag = !given.etag.is_empty();
    let is_idle = |state| matches!(state, State::Stale | State::Abandoned);
    let is_open = |state| is_idle(state) || matches!(state, State::Pending | State::Running);
    let (read, is) = (given.state(), now.state());
    let is_same_state = has_etag && is_open(read) && is_open(is) && (is_idle(read) || is_idle(is));
    let may_differ = |field: &FieldDescriptor| {
        (has_etag && PASSING.contains(&field.name())) || (is_same_state && field.name() == "state")
    };
    in_place(|| {
        refuse_other(v, given, &now, may_differ, |field| {
            let instead = if field == "state" { "; the calls to pause, resume and complete change it" } else { "" };
            format!(
                "cannot be changed, as the service alone writes it: leave it out, or name the fields that change in \
                 `update_mask`{instead}"
            )
        });
    });
}

/// Notes those that a job that is not there yet will not have.
pub(super) fn refuse_for_new(v: &mut Violations, given: &Job) {
    if !given.etag.is_empty() {
        v.add("etag", "is of a job that is there, and there is none of this name: leave it out to register the job");
    }
    let new = Job { state: State::Pending.into(), ..Job::default() };
    refuse_other(
        v,
        given,
        &new,
        |_| false,
        |_| "cannot be given to a new job, as the service alone writes it: leave it out".to_owned(),
    );
}

fn refuse_other(
    v: &mut Violations,
    given: &Job,
    now: &Job,
    may_differ: impl Fn(&FieldDescriptor) -> bool,
    say: impl Fn(&str) -> String,
) {
    let (Ok(given), Ok(now)) = (to_dynamic(given), to_dynamic(now)) else {
        v.add("", "is nested too deeply");
        return;
    };
    let differs = |field: &FieldDescriptor, now: &DynamicMessage| given.get_field(field) != now.get_field(field);
    for (field, _) in given.fields() {
        if !WRITTEN.contains(&field.name()) && !may_differ(&field) && differs(&field, &now) {
            v.add(field.name(), say(field.name()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lrs_proto::{JobSpec, reflect::descriptor};

    #[test]
    fn whatever_the_service_writes_is_refused_for_a_new_job() {
        let full = crate::rpc::every::full(&descriptor::<Job>());
        let job: Job = lrs_proto::reflect::from_dynamic(&full).unwrap();
        let mut v = Violations::new();

        refuse_for_new(&mut v, &job);

        let found: Vec<&str> = v.iter().map(|violation| violation.field.as_str()).collect();
        for field in descriptor::<Job>().fields().filter(|field| !["name", "spec"].contains(&field.name())) {
            assert!(found.contains(&field.name()), "{}: {found:?}", field.name());
        }
        assert!(is_in(&job));
        let asked = Job { name: "a".into(), spec: Some(JobSpec::default()), etag: "7".into(), ..Job::default() };
        assert!(!is_in(&asked));
        let pending = Job { state: State::Pending.into(), ..Job::default() };
        let mut v = Violations::new();
        refuse_for_new(&mut v, &pending);
        assert!(v.is_empty());
    }
}
