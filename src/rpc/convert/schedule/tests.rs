//! The model reads what the wire says of a schedule, and violations name the path of the error.

use super::*;
use lrs_model::schedule::{Ease, Stair};
use serde_json::json;

fn read(written: serde_json::Value) -> (ScheduleSpec, Vec<String>) {
    let mut violations = Violations::new();
    let schedule = from_proto(&serde_json::from_value(written).unwrap(), &mut violations);
    (schedule, violations.iter().map(|violation| violation.field.clone()).collect())
}

#[test]
fn what_the_algebra_leaves_out_is_written_out() {
    let (schedule, wrong) = read(json!({"ease": {"over": 10}}));
    assert_eq!(wrong, [""; 0]);
    assert_eq!(schedule, ScheduleSpec::Ease(Box::new(Ease { over: 10.0, ..Ease::default() })));
}

#[test]
fn a_named_form_is_what_was_written() {
    let (schedule, wrong) = read(json!({"cyclic": {"up_steps": "5", "floor": {"min_factor": 0.5}}}));
    assert_eq!(wrong, [""; 0]);
    assert_eq!(schedule, ScheduleSpec::named("cyclic", json!({"up_steps": 5, "floor": {"min_factor": 0.5}})));
}

#[test]
fn what_is_wrong_is_named_by_its_path_and_the_rest_is_read() {
    let (_, wrong) = read(json!({"seq": {"boundaries": ["Infinity"], "parts": [{"base": "NaN"}, {}]}}));
    assert_eq!(wrong, ["seq.boundaries[0]", "seq.parts[0].base", "seq.parts[1]"]);
    let (_, wrong) = read(json!({"multi_step": {"milestones": [1, -1]}}));
    assert_eq!(wrong, ["multi_step.milestones[1]"]);
    let (schedule, wrong) = read(json!({"stair": {"every": 3, "schedule": {"ease": {"shape": {}}}}}));
    assert_eq!(wrong, ["stair.schedule.ease.shape"]);
    let ScheduleSpec::Stair(stair) = schedule else { panic!("not a stair") };
    assert_eq!(stair.every.to_bits(), 3.0_f64.to_bits());
}

#[test]
fn a_part_that_is_left_out_is_missing() {
    let (schedule, wrong) = read(json!({"stair": {"every": 2}}));
    assert_eq!(wrong, [""; 0]);
    assert_eq!(schedule, ScheduleSpec::Stair(Box::new(Stair { schedule: ScheduleSpec::Missing, every: 2.0 })));
}
