//! `lrs job update` against a real server: every change in a file is made or refused.

use std::process::{Command, Output};

use crate::program::{client_of, texts};
use crate::server::{Server, spec_json};

fn update(server: &Server, changes: &str) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("changes.yaml");
    std::fs::write(&file, changes).unwrap();
    command(server).arg("-f").arg(&file).output().unwrap()
}

fn set(server: &Server, assignment: &str) -> Output {
    command(server).args(["--set", assignment]).output().unwrap()
}

fn command(server: &Server) -> Command {
    let mut command = client_of(server);
    command.args(["job", "update", "test/a"]);
    command
}

async fn spec_of(server: &Server) -> lrs_proto::JobSpec {
    let request = lrs_proto::GetJobRequest { name: "namespaces/test/jobs/a".to_owned() };
    server.jobs().await.get_job(request).await.unwrap().into_inner().spec.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_with_a_short_form_changes_the_controllers() {
    let server = Server::sqlite().await;
    let spec = r#"{"groups": [{"base_lr": 0.1}], "total_steps": 100, "tier": 1, "controllers": [{"greedy": {}}]}"#;
    server.register("a", spec_json(spec)).await;

    let (out, err) = texts(&update(&server, "spec: {controller: auto, tier: 1}"));
    assert!(out.starts_with("Changed the spec of namespaces/test/jobs/a"), "{out}\n{err}");
    let changed = spec_of(&server).await;
    assert!(matches!(
        changed.controllers[..],
        [lrs_proto::Controller { kind: Some(lrs_proto::controller::Kind::Auto(_)), .. }]
    ));
    assert_eq!((changed.controllers.len(), changed.total_steps), (1, Some(100)));

    let (out, err) = texts(&update(&server, "spec: {controller: auto}"));
    assert!(out.starts_with("Nothing changed in the spec of namespaces/test/jobs/a"), "{out}\n{err}");
    assert_eq!(spec_of(&server).await, changed);

    let (out, err) = texts(&update(&server, "spec: {controllers: [{greedy: {}}]}"));
    assert!(out.starts_with("Changed the spec"), "{out}\n{err}");
    assert_ne!(spec_of(&server).await.controllers, changed.controllers);

    let (out, err) = texts(&set(&server, "spec.controller=auto"));
    assert!(out.starts_with("Changed the spec"), "{out}\n{err}");
    assert_eq!(spec_of(&server).await.controllers, changed.controllers);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_change_after_registration_is_refused() {
    let server = Server::sqlite().await;
    server.register("a", spec_json(r#"{"groups": [{"base_lr": 0.1}], "total_steps": 100}"#)).await;
    let registered = spec_of(&server).await;

    for (changes, field) in [
        ("spec: {tier: 2}", "tier"),
        ("spec: {base_lr_from: {study_trial: namespaces/test/jobs/b}}", "base_lr_from"),
        ("spec: {controller: auto, controllers: [{greedy: {}}]}", "controller"),
    ] {
        let output = update(&server, changes);
        let (out, err) = texts(&output);
        assert!(!output.status.success() && err.contains(field), "{changes}: {out}\n{err}");
        assert_eq!(spec_of(&server).await, registered);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lengths_in_words_are_measured_by_the_spec_as_it_is_now() {
    let server = Server::sqlite().await;
    server
        .register("a", spec_json(r#"{"groups": [{"base_lr": 0.1}], "total_steps": 1000, "steps_per_epoch": 100}"#))
        .await;
    let (out, err) = texts(&set(&server, "spec.total_steps=3ep"));
    assert_eq!((spec_of(&server).await.total_steps, err.as_str()), (Some(300), ""), "{out}");
    assert!(set(&server, "spec.steps_per_epoch=null").status.success());
    assert!(set(&server, "spec.total_steps=null").status.success());
    let bare = spec_of(&server).await;
    assert_eq!((bare.total_steps, bare.steps_per_epoch), (None, None));
    for assignment in ["spec.total_steps=3ep", "spec.schedule={cosine: {decay_steps: 10%}}", "spec.total_steps="] {
        let output = set(&server, assignment);
        let (out, err) = texts(&output);
        assert!(
            !output.status.success() && (err.contains("needs the job's") || err.contains("has no value")),
            "{out}{err}"
        );
        assert_eq!(spec_of(&server).await, bare, "{assignment}");
    }
}
