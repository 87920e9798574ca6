//! Rows of a database, which may be damaged.

use super::input::text;
use lrs_engine::{
    job::{Job, Saved},
    timeline::Timeline,
};
use lrs_model::{
    controller::ControllerSpec,
    spec::{Group, Spec},
    telemetry::{Report, Sample},
};
use lrs_store as store;

/// The input is `initial_spec`, `spec`, `state` and `forked_from`, a line each.
pub(super) fn stored_job(data: &[u8]) {
    if let Some(text) = text(data) {
        store::fuzz::job(text);
    }
}

/// The input is `id`, `author_kind`, `evidence` and `effect`, a line each.
pub(super) fn stored_decision(data: &[u8]) {
    if let Some(text) = text(data) {
        store::fuzz::decision(text);
    }
}

/// The input is cut into the columns of a chunk by a length before each.
pub(super) fn stored_chunk(data: &[u8]) {
    store::fuzz::chunk(data);
}

/// The snapshot of a job with a controller. If it is taken, the job goes on from it.
pub(super) fn stored_snapshot(data: &[u8]) {
    let Ok(snapshot) = serde_json::from_slice::<Saved>(data) else { return };
    let group =
        Group { name: "default".into(), base_lr: 1.0, base_momentum: None, base_weight_decay: None, schedule: None };
    let controllers = vec![ControllerSpec::new("reduce_lr_on_plateau", serde_json::Map::new())];
    let spec = Spec { groups: vec![group], controllers, ..Spec::default() };
    let timeline = Timeline::try_new(&spec, []).unwrap_or_else(|violations| panic!("{violations}"));
    let Some(mut job) = Job::from_saved(&timeline, 1, None, snapshot) else { return };
    let text = serde_json::to_string(&job.saved()).expect("a snapshot is JSON");
    let again: Saved = serde_json::from_str(&text).expect("a snapshot is read");
    let again = Job::from_saved(&timeline, 1, None, again).expect("what was restored can be restored");
    assert_eq!(serde_json::to_string(&again.saved()).expect("JSON"), text);
    let step = job.complete_end();
    let report = Report { samples: vec![Sample { loss: Some(1.0), ..Sample::new(step) }], through_step: Some(step) };
    let _ = job.take(0, report, 10_000);
    let _ = job.timeline().directive_at(step);
}
