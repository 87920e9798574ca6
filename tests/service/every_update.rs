//! Whatever an update asks for happens, or is refused by its name: every field of a job and of its spec, in every way.

use std::collections::BTreeMap;

use lrs_proto::{Job, JobSpec, UpdateJobRequest, reflect, reflect::descriptor};
use pbjson_types::FieldMask;
use serde_json::{Value, json};

use crate::program::{client_of, texts};
use crate::server::{Server, spec_json};

/// The spec that every job begins with.
fn base() -> Value {
    json!({"groups": [{"name": "all", "base_lr": 0.1, "base_momentum": 0.9, "base_weight_decay": 0.01}],
           "total_steps": "100", "steps_per_epoch": "10", "tokens_per_step": "64"})
}

/// A value for each field of a spec, other than that of [`base`].
fn of_spec() -> BTreeMap<&'static str, Value> {
    BTreeMap::from([
        ("display_name", json!("another")),
        ("groups", json!([{"name": "all", "base_lr": 0.2}])),
        ("total_steps", json!("200")),
        ("steps_per_epoch", json!("20")),
        ("schedule", json!({"cosine": {}})),
        ("momentum_schedule", json!({"base": 1.0})),
        ("weight_decay_schedule", json!({"base": 1.0})),
        ("controllers", json!([{"greedy": {}}])),
        ("objective", json!({"metric": "loss", "target": 0.5})),
        ("experiment", json!("digits")),
        ("arm", json!("ARM_BASELINE")),
        ("seed", json!("7")),
        ("labels", json!({"team": "vision"})),
        ("decision_lag", json!("8")),
        ("commit_ahead", json!("8")),
        ("reporting_ranks", json!(2)),
        ("rate_limits", json!({"max_lr": 1.0})),
        ("tier", json!(2)),
        ("controller", json!("auto")),
        ("base_lr_from", json!({"study_trial": "namespaces/test/jobs/other"})),
        ("target_epochs", json!(30.0)),
        ("tokens_per_step", json!("128")),
    ])
}

/// A value for each field of a job but its spec, other than that of a job that was just registered.
fn of_job() -> BTreeMap<&'static str, Value> {
    BTreeMap::from([
        ("name", json!("namespaces/test/jobs/other")),
        ("uid", json!("01a22cfd-5352-777e-8ecd-944b655422d0")),
        ("state", json!("STATE_PAUSED")),
        ("state_reason", json!("why")),
        ("attempt", json!("7")),
        ("progress", json!({"final_step": "7"})),
        ("forked_from", json!({"job": "namespaces/test/jobs/other", "attempt": "1", "step": "1"})),
        ("create_time", json!("2026-01-31T12:00:00Z")),
        ("update_time", json!("2026-01-31T12:00:00Z")),
        ("end_time", json!("2026-01-31T12:00:00Z")),
        ("etag", json!("\"12345\"")),
        ("initial_spec", json!({"display_name": "another"})),
        ("telemetry_removed_time", json!("2026-01-31T12:00:00Z")),
        ("state_author", json!("ann")),
        ("active_time", json!("2026-01-31T12:00:00Z")),
        ("warnings", json!(["nothing"])),
    ])
}

/// The ways to ask for a change.
#[derive(Clone, Copy, Debug)]
enum Way {
    GrpcMask,
    GrpcPopulated,
    GrpcWhole,
    HttpMask,
    HttpPopulated,
    HttpWhole,
    File,
    Set,
}

const WAYS: [Way; 8] = [
    Way::GrpcMask,
    Way::GrpcPopulated,
    Way::GrpcWhole,
    Way::HttpMask,
    Way::HttpPopulated,
    Way::HttpWhole,
    Way::File,
    Way::Set,
];

/// Asks for `job`, which differs from the job `id` in the field at `path`. Why it was refused, if it was.
async fn ask(server: &Server, way: Way, id: &str, path: &str, value: &Value, job: &Value) -> Result<(), String> {
    let mask = match way {
        Way::GrpcMask | Way::HttpMask => path,
        Way::GrpcWhole | Way::HttpWhole => "*",
        _ => "",
    };
    match way {
        Way::GrpcMask | Way::GrpcPopulated | Way::GrpcWhole => {
            let mut wire: Job = serde_json::from_value(job.clone()).unwrap();
            if path != "name" {
                wire.name = format!("namespaces/test/jobs/{id}");
            }
            let update_mask = (!mask.is_empty()).then(|| FieldMask { paths: vec![mask.to_owned()] });
            let request = UpdateJobRequest { job: Some(wire), update_mask, ..Default::default() };
            let answer = server.jobs().await.update_job(request).await;
            answer.map(drop).map_err(|status| status.message().to_owned())
        }
        Way::HttpMask | Way::HttpPopulated | Way::HttpWhole => {
            let query = if mask.is_empty() { String::new() } else { format!("?updateMask={mask}") };
            let url = format!("/v1/namespaces/test/jobs/{id}{query}");
            let (status, answer) = server.http_request("PATCH", &url, &job.to_string()).await;
            if status == 200 { Ok(()) } else { Err(answer) }
        }
        Way::File | Way::Set => {
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join("changes.yaml");
            std::fs::write(&file, job.to_string()).unwrap();
            let mut command = client_of(server);
            command.args(["job", "update", &format!("test/{id}")]);
            match way {
                Way::File => command.arg("-f").arg(&file),
                _ => command.args(["--set", &format!("{path}={value}")]),
            };
            let output = command.output().unwrap();
            let (out, err) = texts(&output);
            if output.status.success() { Ok(()) } else { Err(out + &err) }
        }
    }
}

async fn job(server: &Server, id: &str) -> Value {
    let request = lrs_proto::GetJobRequest { name: format!("namespaces/test/jobs/{id}") };
    serde_json::to_value(server.jobs().await.get_job(request).await.unwrap().into_inner()).unwrap()
}

/// What is read back of the field, with its long form.
fn read_back(spec: &Value, field: &str) -> Value {
    let descriptor = descriptor::<JobSpec>().get_field_by_name(field).unwrap();
    let long = reflect::long_form(&descriptor).unwrap_or(descriptor);
    spec[long.name()].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_field_of_a_spec_changes_or_is_refused_by_its_name() {
    let server = Server::sqlite().await;
    let values = of_spec();
    let mut refused = BTreeMap::new();
    for field in descriptor::<JobSpec>().fields() {
        let field = field.name();
        let value = values.get(field).unwrap_or_else(|| panic!("give {field} a value in this file's table"));
        for way in WAYS {
            let id = format!("{field}.{way:?}");
            server.register(&id, spec_json(&base().to_string())).await;
            let before = job(&server, &id).await;
            let mut asked = if matches!(way, Way::GrpcWhole | Way::HttpWhole) { base() } else { json!({}) };
            asked[field] = value.clone();
            let asked = json!({"spec": asked});
            let answer = ask(&server, way, &id, &format!("spec.{field}"), value, &asked).await;
            let after = job(&server, &id).await;
            match answer {
                Ok(()) => assert_ne!(
                    read_back(&after["spec"], field),
                    read_back(&before["spec"], field),
                    "{field} by {way:?}: nothing came of it"
                ),
                Err(why) => {
                    assert!(why.contains(field), "{field} by {way:?} is not named: {why}");
                    assert_eq!(after["spec"], before["spec"], "{field} by {way:?} was refused");
                    refused.entry(field.to_owned()).or_insert_with(Vec::new).push(format!("{way:?}: {why}"));
                }
            }
        }
    }
    // With the whole spec, a length in epochs stands beside the length in steps.
    let whole = refused.remove("target_epochs").unwrap_or_default();
    assert!(whole.iter().all(|way| way.contains("Whole")), "{whole:#?}");
    let fields: Vec<&str> = refused.keys().map(String::as_str).collect();
    assert_eq!(fields, ["base_lr_from", "decision_lag", "reporting_ranks", "tier"], "{refused:#?}");
    assert!(refused.values().all(|ways| ways.len() == WAYS.len()), "{refused:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_update_has_of_the_fields_that_only_the_service_writes_is_refused_by_its_name() {
    let server = Server::sqlite().await;
    let values = of_job();
    for field in descriptor::<Job>().fields().filter(|field| field.name() != "spec") {
        let field = field.name();
        let value = values.get(field).unwrap_or_else(|| panic!("give {field} a value in this file's table"));
        for way in WAYS {
            let id = format!("{field}.{way:?}");
            let before = server.register(&id, spec_json(&base().to_string())).await;
            let mut asked = json!({"spec": base()});
            asked["spec"]["display_name"] = json!("changed");
            asked[field] = value.clone();
            let answer = ask(&server, way, &id, field, value, &asked).await;
            let why = answer.expect_err(&format!("{field} by {way:?}: nothing came of it"));
            assert!(why.contains(field), "{field} by {way:?} is not named: {why}");
            assert_eq!(job(&server, &id).await["etag"], before.etag, "{field} by {way:?} was refused");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_was_read_can_be_sent_back_with_changes() {
    let server = Server::sqlite().await;
    for way in [Way::GrpcPopulated, Way::GrpcWhole, Way::HttpPopulated, Way::HttpWhole, Way::File] {
        let id = format!("{way:?}");
        server.register(&id, spec_json(&base().to_string())).await;
        let mut read = job(&server, &id).await;
        read["spec"]["display_name"] = json!("changed");
        // Its trainer begins and goes on in the meantime.
        server.start_attempt(&format!("namespaces/test/jobs/{id}"), "first", 0).await;
        server.final_rate(&format!("namespaces/test/jobs/{id}"), 1, 0).await;
        let now = job(&server, &id).await;
        for passing in ["etag", "state", "update_time"] {
            read[passing] = now[passing].clone();
        }
        ask(&server, way, &id, "", &Value::Null, &read).await.unwrap_or_else(|why| panic!("{way:?}: {why}"));
        assert_eq!(job(&server, &id).await["spec"]["display_name"], "changed", "{way:?}");
    }
}
