//! Specs, however they are written.

use prost::Message as _;

use super::input::{check_violations, text};
use crate::{cli::jobfile, rpc::convert};
use lrs_engine as engine;
use lrs_engine::{Curve, CurveSteps, native};
use lrs_model::{MAX_STEP, spec::Spec, violation::Violations};
use lrs_proto as proto;
use lrs_proto::json::Canonical;

pub(super) fn job_spec(data: &[u8]) {
    if let Ok(message) = proto::JobSpec::decode(data) {
        check(message);
    }
}

pub(super) fn job_spec_json(data: &[u8]) {
    if let Ok(message) = serde_json::from_slice::<proto::JobSpec>(data) {
        check(message);
    }
}

pub(super) fn job_file(data: &[u8]) {
    let Some(text) = text(data) else { return };
    match jobfile::parse("fuzz.yaml", text, &[]) {
        Ok(jobs) => jobs.into_iter().filter_map(|job| job.spec).for_each(check),
        Err(failure) => assert!(failure.message.contains("fuzz.yaml") || !failure.message.is_empty()),
    }
}

pub(super) fn schedule(data: &[u8]) {
    if let Ok(schedule) = proto::Schedule::decode(data) {
        check(proto::JobSpec { schedule: Some(schedule), ..plain() });
    }
}

pub(super) fn controller(data: &[u8]) {
    if let Ok(controller) = proto::Controller::decode(data) {
        check(proto::JobSpec { controllers: vec![controller], ..plain() });
    }
}

/// The input is the JSON of a schedule in another library's words.
pub(super) fn library_call(data: &[u8]) {
    if let Ok(schedule) = serde_json::from_slice::<proto::Schedule>(data) {
        check(proto::JobSpec { schedule: Some(schedule), ..plain() });
    }
}

/// A spec that lacks nothing.
fn plain() -> proto::JobSpec {
    let group = proto::ParameterGroup {
        name: "default".to_owned(),
        base_lr: 0.1,
        base_momentum: Some(0.9),
        base_weight_decay: Some(0.01),
        schedule: None,
    };
    proto::JobSpec { groups: vec![group], total_steps: Some(1000), steps_per_epoch: Some(100), ..Default::default() }
}

fn read(message: proto::JobSpec) -> Result<Spec, Violations> {
    let mut violations = Violations::new();
    let spec = convert::spec::from_proto(message, &mut violations);
    violations.into_result(native::canonical(spec))
}

/// The curve at the places where something could happen; `None` if the spec is refused.
fn curve(spec: &Spec) -> Option<Curve> {
    let end = spec.total_steps.unwrap_or(5000);
    let steps = [0, 1, 2, 99, 100, 101, 1000, end / 2, end.saturating_sub(1), end, MAX_STEP - 1, MAX_STEP];
    let steps = steps.into_iter().filter(|step| *step <= MAX_STEP).collect();
    match engine::preview::preview(spec, CurveSteps::At(steps)) {
        Ok(curve) => Some(curve),
        Err(engine::Error::Invalid(violations)) => {
            assert!(!violations.is_empty());
            check_violations(&violations);
            None
        }
        Err(other) => panic!("a spec fails otherwise than by being wrong: {other}"),
    }
}

fn check(message: proto::JobSpec) {
    let spec = match read(message) {
        Ok(spec) => spec,
        Err(violations) => return check_violations(&violations),
    };
    let Some(first) = curve(&spec) else { return };
    for directive in &first.directives {
        for rate in &directive.rates {
            let figures = [Some(rate.learning_rate), rate.momentum, rate.weight_decay];
            assert!(figures.into_iter().flatten().all(f64::is_finite), "step {}: {rate:?}", directive.step);
        }
    }

    // The wire, JSON and the database give it back.
    let message = convert::spec::to_proto(&spec);
    assert_eq!(read(message.clone()).as_ref(), Ok(&spec), "over the wire");
    let json = serde_json::to_string(&Canonical(&message)).expect("a message is JSON");
    let again: proto::JobSpec = serde_json::from_str(&json).expect("canonical JSON is read");
    assert_eq!(read(again).as_ref(), Ok(&spec), "over JSON");
    let stored = serde_json::to_string(&spec).expect("a spec is stored");
    assert_eq!(serde_json::from_str::<Spec>(&stored).expect("what is stored is read"), spec, "over the database");

    // The native form, which is what a job is held to, is allowed where the written one is, and gives the same bits.
    let native = native::native(&spec);
    let stored = serde_json::to_string(&native).expect("a native spec is stored");
    let native: Spec = serde_json::from_str(&stored).expect("a stored native spec is read");
    let second = curve(&native).unwrap_or_else(|| panic!("the native form is refused: {native:?}"));
    assert!(
        first.directives.iter().zip(&second.directives).all(|(a, b)| a.rates == b.rates),
        "the native form differs"
    );
    assert_eq!(native::native(&native), native, "the native form of the native form");
}
