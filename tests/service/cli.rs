//! The command line against a real server, as the README uses it.

use std::process::Output;

use crate::program::{client_of, program, succeeds};
use crate::server::{Server, spec_json};

fn lrs(server: &Server, line: &str) -> Output {
    client_of(server)
        .args(line.split_whitespace())
        .env("USER", "ann")
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap()
}

#[track_caller]
fn fails_with(output: Output, exit_code: i32) -> String {
    let err = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(exit_code), "{err}");
    assert!(!err.is_empty(), "a failure says why");
    err
}

fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_readme_works_as_written() {
    let server = Server::sqlite().await;
    succeeds(&lrs(&server, "preview -f examples/cifar.yaml"));
    succeeds(&lrs(&server, "job register -f examples/cifar.yaml"));
    let job = json(&succeeds(&lrs(&server, "job get vision/cifar --json")));
    assert_eq!(job["name"], "namespaces/vision/jobs/cifar");
    assert_eq!(job["state"], "STATE_PENDING");

    server.start_attempt("namespaces/vision/jobs/cifar", "first-run", 0).await;
    let rate = server.final_rate("namespaces/vision/jobs/cifar", 1, 0).await;
    assert!(rate.is_finite());
    succeeds(&lrs(&server, "job override vision/cifar --factor 0.5 --reason spikes"));
    let decisions = json(&succeeds(&lrs(&server, "job decisions vision/cifar --json")));
    let text = decisions.to_string();
    assert!(text.contains("\"person\":\"ann\"") && text.contains("spikes"), "{text}");
    succeeds(&lrs(&server, "job pause vision/cifar"));
    let resumed = json(&succeeds(&lrs(&server, "job resume vision/cifar --json")));
    assert_eq!(resumed["state"], "STATE_RUNNING");
    succeeds(&lrs(&server, "job complete vision/cifar"));
    let listed = succeeds(&lrs(&server, "job list --namespace vision"));
    assert!(listed.contains("cifar") && listed.contains("COMPLETED"), "{listed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_example_can_be_registered() {
    let server = Server::sqlite().await;
    for example in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/examples")).unwrap() {
        let path = example.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "yaml") {
            continue;
        }
        succeeds(&lrs(&server, &format!("job register -f {}", path.display())));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_says_what_is_wrong_and_has_its_exit_code() {
    let server = Server::sqlite().await;
    assert!(fails_with(lrs(&server, "job get vision/none"), 3).contains("vision/jobs/none"));
    let wrong = fails_with(lrs(&server, "job register -f examples/cifar.yaml --set spec.groups[0].base_lr=-1"), 2);
    assert!(wrong.contains("spec.groups[0].base_lr") && wrong.contains("-1"), "{wrong}");
    succeeds(&lrs(&server, "job register -f examples/cifar.yaml"));
    fails_with(lrs(&server, "job register -f examples/cifar.yaml --set spec.seed=7"), 4);
    fails_with(lrs(&server, "job resume vision/cifar"), 4);
    let unreachable = fails_with(lrs(&server, "job list --server http://127.0.0.1:1"), 5);
    assert!(unreachable.contains("lrs serve"), "{unreachable}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_agrees_with_the_record_and_finds_what_was_tampered_with() {
    let mut server = Server::sqlite().await;
    let spec = spec_json(
        r#"{"groups": [{"base_lr": 1.0}], "decision_lag": 2, "total_steps": 100, "schedule": {"cosine": {}},
            "controllers": [{"reduce_lr_on_plateau": {"factor": 0.5, "patience": 2}}]}"#,
    );
    let job = server.register("a", spec).await.name;
    let first = server.start_attempt(&job, "t1", 0).await;
    let mut stream = server.stream(&job, first, 0).await;
    stream.losses(0, &[1.0; 20]).await;
    stream.until_durable(19).await;
    succeeds(&lrs(&server, "job override test/a --factor 0.5"));
    succeeds(&lrs(&server, "job pause test/a"));
    let second = server.start_attempt(&job, "t2", 10).await;
    let mut stream = server.stream(&job, second, 0).await;
    stream.losses(10, &[f64::NAN; 30]).await;
    stream.until_durable(39).await;

    for line in ["replay test/a", "replay test/a --attempt 1"] {
        succeeds(&lrs(&server, line));
    }

    server.kill();
    let url = format!("sqlite://{}", server.database_file().display());
    let mut database = <sqlx::SqliteConnection as sqlx::Connection>::connect(&url).await.unwrap();
    let tamper = "update decisions set effective_step = effective_step + 1 where author_kind = 'controller'";
    assert!(sqlx::query(tamper).execute(&mut database).await.unwrap().rows_affected() > 0);
    sqlx::Connection::close(database).await.unwrap();
    server.start_again().await;
    let difference = lrs(&server, "replay test/a");
    assert_eq!(difference.status.code(), Some(6));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_with_another_spec_says_from_which_step_on_it_is_not_what_would_have_happened() {
    let server = Server::sqlite().await;
    let spec = spec_json(
        r#"{"groups": [{"base_lr": 1.0}], "total_steps": 100,
            "controllers": [{"reduce_lr_on_plateau": {"factor": 0.5, "patience": 9}}]}"#,
    );
    let job = server.register("a", spec).await.name;
    let attempt = server.start_attempt(&job, "t", 0).await;
    let mut stream = server.stream(&job, attempt, 0).await;
    stream.losses(0, &[1.0; 40]).await;
    stream.until_durable(39).await;
    succeeds(&lrs(&server, "job override test/a --factor 0.25"));
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "controllers: [{reduce_lr_on_plateau: {factor: 0.1, patience: 2}}]").unwrap();

    let line = format!("replay test/a --with {}", file.path().display());
    let text = succeeds(&lrs(&server, &line));
    let found = json(&succeeds(&lrs(&server, &format!("{line} --json"))));

    assert_eq!(found["first_difference_step"], 4, "{found}");
    assert!(text.contains("Before step 4 both give the same rates"), "{text}");
    assert!(text.contains("the loss would have differed"), "{text}");
    let count = |side: &str| found[side].as_array().unwrap().len();
    assert!(count("other_decisions") > count("own_decisions") && count("own_decisions") > 0, "{found}");
    assert_eq!(found["people_left_out"], 1);
    assert!(found["caveat"].as_str().unwrap().contains("1 of people's decisions"), "{found}");
}

#[test]
fn a_librarys_scheduler_is_previewed_without_a_file_or_a_server() {
    let preview =
        |arguments: &[&str]| program().args(["preview", "--library", "torch"]).args(arguments).output().unwrap();
    let csv = succeeds(&preview(&[
        "--scheduler",
        "StepLR",
        "--params",
        r#"{"step_size": 30}"#,
        "--base-lr",
        "0.5",
        "--total-steps",
        "1000",
        "--format",
        "csv",
    ]));
    let lines: Vec<_> = csv.lines().collect();
    assert!(lines.contains(&"29,0.5") && lines.contains(&"30,0.05"), "{csv}");
    assert!(lines.last().is_some_and(|last| last.starts_with("1000,")), "{csv}");

    let refused = fails_with(preview(&["--scheduler", "StepRL", "--params", r#"{"step_size": 30}"#]), 2);
    assert!(refused.contains("schedule.scheduler") && refused.contains("did you mean StepLR?"), "{refused}");
}
