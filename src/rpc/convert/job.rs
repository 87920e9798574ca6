//! Jobs and their progress.

use super::{directive, int64, spec, time};
use lrs_engine::{ControllerStatus, JobView, Progress, warnings};
use lrs_model::job::{ForkPoint, Idle, State};
use lrs_proto as proto;

/// A job on the wire.
#[must_use]
pub fn to_proto(view: &JobView) -> proto::Job {
    let row = &view.row;
    proto::Job {
        name: row.name.to_string(),
        uid: row.id.to_string(),
        spec: Some(spec::to_proto(&row.spec)),
        initial_spec: Some(spec::to_proto(&row.initial_spec)),
        state: state_to_proto(row.state, view.idle).into(),
        state_reason: row.state_reason.clone(),
        state_author: row.state_author.clone(),
        attempt: view.attempt.into(),
        progress: view.progress.as_ref().map(|progress| progress_to_proto(view, progress)),
        forked_from: row.forked_from.as_ref().map(fork_point_to_proto),
        create_time: Some(time::to_proto(row.create_time)),
        update_time: Some(time::to_proto(row.update_time)),
        end_time: row.end_time.map(time::to_proto),
        etag: view.etag(),
        telemetry_removed_time: row.telemetry_removed_time.map(time::to_proto),
        active_time: Some(time::to_proto(view.active_time)),
        warnings: warnings_of(view),
    }
}

/// What is probably wrong with the spec, or with how the job is trained.
fn warnings_of(view: &JobView) -> Vec<String> {
    let step = view.progress.as_ref().and_then(|progress| progress.watermark_step);
    let late = step.and_then(|step| warnings::of_training(&view.row.spec, step));
    warnings::warnings(&view.row.spec).into_iter().chain(late).collect()
}

/// A state on the wire; only a running job can be stale, and only one that has not ended can be abandoned.
#[must_use]
pub fn state_to_proto(state: State, idle: Idle) -> proto::job::State {
    match state {
        State::Pending | State::Running | State::Paused if idle == Idle::Abandoned => proto::job::State::Abandoned,
        State::Pending => proto::job::State::Pending,
        State::Running if idle == Idle::Stale => proto::job::State::Stale,
        State::Running => proto::job::State::Running,
        State::Paused => proto::job::State::Paused,
        State::Completed => proto::job::State::Completed,
        State::Failed => proto::job::State::Failed,
        State::Cancelled => proto::job::State::Cancelled,
    }
}

fn progress_to_proto(view: &JobView, progress: &Progress) -> proto::Progress {
    let expected = progress.pace.filter(|_| !view.is_stale()).zip(progress.order_step);
    let late = progress.order_step.and_then(|step| warnings::of_order(&view.row.spec, step));
    proto::Progress {
        watermark_step: progress.watermark_step.map(int64),
        final_step: progress.final_step.map(int64),
        loss: progress.latest.as_ref().and_then(|sample| sample.loss),
        rates: progress.rates.iter().map(directive::rate_to_proto).collect(),
        report_time: progress.report_time.map(time::to_proto),
        repeated_samples: int64(progress.repeated_samples),
        conflicting_samples: int64(progress.conflicting_samples),
        controllers: progress.controllers.iter().map(status_to_proto).collect(),
        late_samples: int64(progress.late_samples),
        missing_ranks: progress.missing_ranks.clone(),
        step_seconds: progress.pace.map(|pace| pace.step_time.as_secs_f64()),
        order_step: progress.order_step.map(int64),
        order_warning: late.unwrap_or_default(),
        order_time: expected.and_then(|(pace, step)| pace.expected_time(step)).map(time::to_proto),
    }
}

fn fork_point_to_proto(point: &ForkPoint) -> proto::ForkPoint {
    proto::ForkPoint { job: point.job.clone(), attempt: point.attempt.into(), step: int64(point.step) }
}

fn status_to_proto((controller, status): &(String, ControllerStatus)) -> proto::ControllerStatus {
    proto::ControllerStatus {
        controller: controller.clone(),
        phase: status.phase.to_owned(),
        missing: status.missing.clone(),
        notice: status.notice.clone(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use lrs_model::{
        job::{JobRow, Timestamp},
        name::{JobId, JobName},
        spec::Spec,
        telemetry::Sample,
    };

    fn view(state: State, idle: Idle) -> JobView {
        let row = JobRow {
            id: JobId(uuid::Uuid::nil()),
            name: JobName::new("a", "b").unwrap(),
            initial_spec: Spec::default(),
            spec: Spec::default(),
            state,
            state_reason: String::new(),
            state_author: String::new(),
            version: 7,
            request_id: None,
            forked_from: Some(ForkPoint { job: "namespaces/a/jobs/c".into(), attempt: 2, step: 9 }),
            create_time: Timestamp(1),
            update_time: Timestamp(2),
            end_time: None,
            telemetry_removed_time: None,
        };
        let latest = Sample { loss: Some(f64::INFINITY), ..Sample::new(3) };
        let progress = Progress { watermark_step: Some(3), latest: Some(latest), ..Progress::default() };
        JobView { row: Arc::new(row), attempt: 1, progress: Some(progress), active_time: Timestamp(2), idle }
    }

    #[test]
    fn a_job_says_its_state_its_progress_and_its_etag() {
        let job = to_proto(&view(State::Paused, Idle::Stale));
        assert_eq!((job.state(), job.etag.as_str(), job.attempt), (proto::job::State::Paused, "\"7\"", 1));
        assert_eq!(job.forked_from.unwrap().step, 9);
        let progress = job.progress.unwrap();
        assert_eq!((progress.watermark_step, progress.final_step), (Some(3), None));
        assert_eq!(progress.loss, Some(f64::INFINITY));
    }

    #[test]
    fn only_a_running_job_can_be_stale_and_only_one_that_has_not_ended_abandoned() {
        assert_eq!(to_proto(&view(State::Running, Idle::Stale)).state(), proto::job::State::Stale);
        assert_eq!(to_proto(&view(State::Running, Idle::Active)).state(), proto::job::State::Running);
        for state in [State::Pending, State::Running, State::Paused] {
            assert_eq!(to_proto(&view(state, Idle::Abandoned)).state(), proto::job::State::Abandoned);
        }
        assert_eq!(to_proto(&view(State::Failed, Idle::Abandoned)).state(), proto::job::State::Failed);
    }
}
