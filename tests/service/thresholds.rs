//! What is asked for when a metric reaches a value happens, and what a controller does not get is said.

use lrs_proto::{
    Decision, Directive, GetJobRequest, ListDecisionsRequest, MetricSeries, OverrideLearningRateRequest,
    PauseJobRequest, Progress, RateOverride, StreamTelemetryRequest, advice::Topic, decision::Effect,
    override_learning_rate_request::Order, rate_override::Setting,
};
use serde_json::{Value, json};

use crate::program::{client_of, program, succeeds, texts};
use crate::server::{PATIENCE, Server, spec_json};

async fn progress(server: &Server, job: &str) -> Progress {
    let request = GetJobRequest { name: job.to_owned() };
    server.jobs().await.get_job(request).await.unwrap().into_inner().progress.unwrap()
}

async fn decisions(server: &Server, job: &str) -> Vec<Decision> {
    let request = ListDecisionsRequest { job: job.to_owned(), ..Default::default() };
    server.jobs().await.list_decisions(request).await.unwrap().into_inner().decisions
}

/// What the trainer is told for a step, once it is final.
async fn told(server: &Server, job: &str, attempt: i64, step: i64) -> Directive {
    let answer = server.ask(job, attempt, step, 0, PATIENCE).await.unwrap();
    answer.directive.filter(|directive| directive.is_final).unwrap()
}

/// A report of steps from `first` on, with a loss each and evaluations at some of them.
fn report(first: i64, losses: &[f64], evaluations: &[(i64, f64)]) -> StreamTelemetryRequest {
    let step: Vec<i64> = (first..).take(losses.len()).collect();
    StreamTelemetryRequest {
        through_step: step.last().copied(),
        step,
        loss: losses.to_vec(),
        metrics: vec![MetricSeries {
            name: "val_loss".to_owned(),
            step: evaluations.iter().map(|(step, _)| *step).collect(),
            value: evaluations.iter().map(|(_, value)| *value).collect(),
        }],
        ..Default::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_is_told_by_default_and_the_job_goes_on_without_waiting_for_telemetry() {
    let mut server = Server::sqlite().await;
    let spec = r#"{"groups": [{"base_lr": 1}], "total_steps": 1000,
        "objective": {"metric": "val_loss", "target": 0.5}}"#;
    let job = server.register("noticed", spec_json(spec)).await.name;
    let attempt = server.start_attempt(&job, "t", 0).await;
    assert_eq!(server.final_rate(&job, attempt, 60).await.to_bits(), 1.0_f64.to_bits(), "no telemetry is needed");
    let mut stream = server.stream(&job, attempt, 0).await;
    stream.send(report(0, &[1.0; 20], &[(9, 0.7), (19, 0.5)])).await;
    stream.until_durable(19).await;
    stream.send(report(20, &[1.0; 5], &[(21, 0.1)])).await;
    stream.until_durable(24).await;

    let found = decisions(&server, &job).await;
    let [decision] = &found[..] else { panic!("{found:?}") };
    let Some(Effect::Advice(advice)) = &decision.effect else { panic!("{decision:?}") };
    assert_eq!((advice.topic(), decision.step), (Topic::Threshold, 19));
    let words = "val_loss is 0.5 at step 19, at or below 0.5: a notice, which changes nothing";
    assert_eq!((decision.reason.as_str(), decision.evidence["value"].to_bits()), (words, 0.5_f64.to_bits()));
    let status = &progress(&server, &job).await.controllers[0];
    assert_eq!((status.controller.as_str(), status.phase.as_str()), ("0/objective", "reached"));
    assert_eq!(status.notice, words);
    assert_eq!(stream.notices, [format!("0/objective: {words}")], "it is told once");

    // It has been reached: after a restart, and in an attempt that begins later, but not in one that begins before.
    server.kill();
    server.start_again().await;
    assert_eq!(progress(&server, &job).await.controllers[0].notice, words);
    for (token, resume_step, value, reached) in [("later", 22, 0.4, 1), ("earlier", 10, 0.3, 2)] {
        let attempt = server.start_attempt(&job, token, resume_step).await;
        let mut stream = server.stream(&job, attempt, 0).await;
        stream.send(report(resume_step, &[1.0; 3], &[(resume_step + 1, value)])).await;
        stream.until_durable(resume_step + 2).await;
        assert_eq!(decisions(&server, &job).await.len(), reached, "{token}");
    }
    succeeds(&client_of(&server).args(["replay", "test/noticed"]).output().unwrap());
    let shown = succeeds(&client_of(&server).args(["job", "get", "test/noticed"]).output().unwrap());
    assert!(shown.contains("0/objective reached; val_loss is 0.3 at step 11, at or below 0.5"), "{shown}");
    let listed = succeeds(&client_of(&server).args(["job", "decisions", "test/noticed"]).output().unwrap());
    assert!(listed.contains("threshold reached") && listed.contains("0/objective"), "{listed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_can_stop_and_what_other_controllers_do_takes_nothing_back() {
    let server = Server::sqlite().await;
    let spec = r#"{"groups": [{"base_lr": 1}], "total_steps": 1000,
        "controllers": [{"reduce_lr_on_plateau": {"patience": 0, "factor": 0.5, "unit": "UNIT_STEP"}},
                        {"threshold": {"metric": "loss", "above": 5, "patience": 2, "action": "THRESHOLD_ACTION_CUT", "factor": 0.25}}],
        "objective": {"metric": "val_loss", "target": 0.5, "on_target": "THRESHOLD_ACTION_STOP"}}"#;
    let job = server.register("stopped", spec_json(spec)).await.name;
    let attempt = server.start_attempt(&job, "t", 0).await;
    let mut stream = server.stream(&job, attempt, 0).await;
    stream.send(report(0, &[4.0, 3.0, 6.0, 2.0, 1.0], &[(1, 0.5)])).await;
    // The plateau controller cuts after step 2, and the advice stands.
    let last = stream.directive(5).await;
    let advice = told(&server, &job, attempt, 2).await.stop_advice;
    assert_eq!(advice, "val_loss is 0.5 at step 1, at or below 0.5: training can stop");
    assert_eq!((last.rates[0].learning_rate, last.stop_advice), (0.5, advice));
    stream.send(report(5, &[6.0, 7.0], &[])).await;
    // Two cuts by the plateau controller, and the one of the threshold on top.
    assert_eq!(stream.directive(7).await.rates[0].learning_rate.to_bits(), (0.125 * 0.25_f64).to_bits());
    succeeds(&client_of(&server).args(["replay", "test/stopped"]).output().unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cooldown_goes_on_through_cuts_and_a_restart_and_ends_with_advice_to_stop() {
    let mut server = Server::sqlite().await;
    let body = json!({"spec": {"groups": [{"base_lr": 1}], "total_steps": 400, "schedule": {"linear": {}},
        "controllers": [{"reduce_lr_on_plateau": {"patience": 0, "factor": 0.5, "unit": "UNIT_STEP", "start_step": 12}}],
        "objective": {"metric": "val_loss", "target": 0.5, "on_target": "cooldown", "cooldown_steps": "5%"}}});
    let (status, answer) =
        server.http_request("POST", "/v1/namespaces/test/jobs?job_id=cooled", &body.to_string()).await;
    assert_eq!(status, 200, "{answer}");
    let answer: Value = serde_json::from_str(&answer).unwrap();
    let objective = &answer["spec"]["objective"];
    assert_eq!(objective["on_target"], "THRESHOLD_ACTION_COOLDOWN");
    assert_eq!(objective["cooldown_steps"], "20");
    let job = "namespaces/test/jobs/cooled";
    let attempt = server.start_attempt(job, "t", 0).await;
    let mut stream = server.stream(job, attempt, 0).await;
    // Reached at step 9; at step 13 the plateau controller cuts.
    stream.send(report(0, &[1.0; 14], &[(9, 0.5)])).await;
    let left = |step: i32| f64::from(400 - step) / 400.0;
    for (step, cut, share) in [(10, 1.0, 1.0), (12, 1.0, 0.1), (14, 0.5, 0.2)] {
        let expected = cut * left(step) * (1.0 - libm::sqrt(share - if step == 10 { 1.0 } else { 0.0 }));
        let rate = server.final_rate(job, attempt, step.into()).await;
        assert!((rate - expected).abs() < 1e-12, "step {step}: {rate}, not {expected}");
    }
    // What is not durable, a trainer sends again.
    stream.until_durable(13).await;
    server.kill();
    server.start_again().await;
    let stream = server.stream(job, attempt, 0).await;
    stream.send(report(14, &[0.1; 17], &[])).await;
    let (before, end) = (told(&server, job, attempt, 29).await, told(&server, job, attempt, 30).await);
    assert!(before.rates[0].learning_rate > 0.0 && before.stop_advice.is_empty(), "{before:?}");
    assert_eq!(end.rates[0].learning_rate.to_bits(), 0.0_f64.to_bits());
    assert_eq!(end.stop_advice, "the cooldown on val_loss is over, and the rates are 0 from step 30 on");
    succeeds(&client_of(&server).args(["replay", "test/cooled"]).output().unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_threshold_is_named_on_every_way_in() {
    let server = Server::sqlite().await;
    let job = |controllers: Value, objective: Value| json!({"groups": [{"base_lr": 1}], "total_steps": 100, "controllers": controllers, "objective": objective});
    let threshold = |params: Value| job(json!([{"threshold": params}]), json!(null));
    let target = |more: Value| {
        let mut objective = json!({"metric": "val_loss", "target": 1.0});
        objective.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        job(json!([]), objective)
    };
    let cooldown = json!({"metric": "loss", "below": 1, "action": "THRESHOLD_ACTION_COOLDOWN", "cooldown_steps": 101});
    for (spec, field, problem) in [
        (threshold(json!({"metric": "loss"})), "controllers[0].threshold", "needs a condition"),
        (threshold(json!({"below": 1})), "controllers[0].threshold.metric", "is required"),
        (threshold(json!({"metric": "loss", "below": 1, "above": 2})), "controllers[0].threshold", "more than one"),
        (threshold(cooldown), "controllers[0].threshold.cooldown_steps", "at most total_steps, 100"),
        (target(json!({"on_target": "THRESHOLD_ACTION_CUT", "factor": 1})), "objective.factor", "less than 1"),
        (target(json!({"on_target": "THRESHOLD_ACTION_CUT"})), "objective.factor", "is required"),
        (target(json!({"factor": 0.5})), "objective.factor", "unset unless `on_target` is THRESHOLD_ACTION_CUT"),
        (
            job(json!([]), json!({"metric": "val_loss", "on_target": "THRESHOLD_ACTION_STOP"})),
            "objective.on_target",
            "needs a `target`",
        ),
        (
            job(
                json!([{"auto": {}}]),
                json!({"metric": "val_loss", "target": 1, "on_target": "THRESHOLD_ACTION_CUT", "factor": 0.5}),
            ),
            "objective.on_target",
            "move the same rates",
        ),
    ] {
        let by_grpc = server.try_register("wrong", spec_json(&spec.to_string())).await.unwrap_err();
        let said = by_grpc.message();
        assert!(said.contains(field) && said.contains(problem), "{spec}: {said}");
        let body = json!({"spec": spec}).to_string();
        let (status, by_http) = server.http_request("POST", "/v1/namespaces/test/jobs?job_id=wrong", &body).await;
        assert!(status == 400 && by_http.contains(problem.trim_matches('`')), "{status} {by_http}");
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("job.yaml");
        std::fs::write(&file, json!({"name": "test/wrong", "spec": spec}).to_string()).unwrap();
        let refused = client_of(&server).args(["job", "register", "-f"]).arg(&file).output().unwrap();
        let (_, err) = texts(&refused);
        assert!(!refused.status.success() && err.contains(field) && err.contains(problem), "{err}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_controller_says_which_metric_never_comes_or_has_ceased_to_come() {
    let mut server = Server::sqlite().await;
    let torch = r#"{"library": "torch", "scheduler": "ReduceLROnPlateau", "metric": "val_lost"}"#;
    let spec = r#"{"groups": [{"base_lr": 1}], "total_steps": 1000, "controllers": [
        {"reduce_lr_on_plateau": {"metric": "val_lost"}}, {"greedy": {"metric": "val_lost", "min_lr": [0]}}, TORCH,
        {"threshold": {"metric": "val_loss", "below": 0}}], "objective": {"metric": "val_lost", "target": 0.5}}"#;
    let job = server.register("missing", spec_json(&spec.replace("TORCH", torch))).await.name;
    let attempt = server.start_attempt(&job, "t", 0).await;
    let mut stream = server.stream(&job, attempt, 0).await;
    let evaluations: Vec<_> = (0..6).map(|i| (10 * i, 1.0)).collect();
    stream.send(report(0, &[1.0; 60], &evaluations)).await;
    stream.until_durable(59).await;
    let missing = |progress: Progress| -> Vec<String> {
        progress.controllers.iter().map(|status| status.missing.join("; ")).collect()
    };
    assert_eq!(missing(progress(&server, &job).await), [""; 5], "it is too early");

    stream.send(report(60, &[1.0; 10], &[])).await;
    stream.until_durable(69).await;

    let never = "val_lost has not been reported yet, but val_loss has (is that meant?)";
    let expected = [
        &format!("{never}: the controller cannot act"),
        &format!("{never}: the controller cannot act"),
        &format!("{never}: the controller cannot act"),
        "",
        &format!("{never}: the threshold cannot be reached"),
    ];
    assert_eq!(missing(progress(&server, &job).await), expected);
    let told = |notices: &[String]| notices.iter().filter(|notice| notice.contains(never)).count();
    assert_eq!(told(&stream.notices), 4, "{:?}", stream.notices);

    stream.send(report(70, &[1.0; 130], &[])).await;
    stream.until_durable(199).await;
    server.kill();
    server.start_again().await;
    let found = missing(progress(&server, &job).await);
    assert_eq!(found[3], "val_loss has not been reported after step 50: the threshold cannot be reached");
    let shown = succeeds(&client_of(&server).args(["job", "get", "test/missing"]).output().unwrap());
    assert!(shown.contains(never) && shown.contains("after step 50"), "{shown}");
    let (_, fleet) = server.http_get("/v1/fleet").await;
    assert!(fleet.contains("\"BLIND\""), "{fleet}");
    // When it comes, nothing is missed any more.
    let mut stream = server.stream(&job, attempt, 0).await;
    stream.send(report(200, &[1.0; 2], &[(201, 1.0)])).await;
    stream.until_durable(201).await;
    assert_eq!(missing(progress(&server, &job).await)[3], "");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_counts_after_the_last_step_says_so_on_every_way_in() {
    let server = Server::sqlite().await;
    let spec = r#"{"groups": [{"base_lr": 1}], "total_steps": 10, "commit_ahead": 64}"#;
    let job = server.register("late", spec_json(spec)).await.name;
    let attempt = server.start_attempt(&job, "t", 0).await;
    let halved = OverrideLearningRateRequest {
        name: job.clone(),
        order: Some(Order::Set(RateOverride { setting: Some(Setting::Factor(0.5)), end_step: None })),
        ..Default::default()
    };
    let in_time = server.jobs().await.override_learning_rate(halved.clone()).await.unwrap().into_inner();
    assert_eq!(in_time.warnings, [""; 0]);
    server.final_rate(&job, attempt, 9).await;

    let late = server.jobs().await.override_learning_rate(halved).await.unwrap().into_inner();
    let words = "the order takes effect at step 10, after the last step of the job (9)";
    assert!(late.warnings[0].starts_with(words), "{late:?}");
    let paused = PauseJobRequest { name: job.clone(), ..Default::default() };
    let paused = server.jobs().await.pause_job(paused).await.unwrap().into_inner().progress.unwrap();
    assert!(paused.order_warning.starts_with(words), "{paused:?}");
    let path = format!("/v1/{job}:override");
    let (status, by_http) = server.http_request("POST", &path, r#"{"set": {"factor": 0.1}}"#).await;
    assert!(status == 200 && by_http.contains(words), "{status} {by_http}");
    for line in [&["job", "override", "test/late", "--factor", "0.3"][..], &["job", "resume", "test/late"]] {
        let said = succeeds(&client_of(&server).args(line).output().unwrap());
        assert!(said.contains(&format!("Warning: {words}")), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_probably_wrong_is_said_where_a_job_is_registered_changed_or_applied() {
    let server = Server::sqlite().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("job.yaml");
    let spec = json!({"groups": [{"base_lr": 0.1}], "total_steps": 100, "schedule": {"warmup": {"warmup_steps": 500}}});
    std::fs::write(&file, json!({"name": "test/odd", "spec": spec}).to_string()).unwrap();
    let words = "schedule: the rate only rises, up to the last of 100 steps";
    for line in [&["job", "apply", "--dry-run", "-f"][..], &["job", "register", "-f"], &["job", "apply", "-f"]] {
        let said = succeeds(&client_of(&server).args(line).arg(&file).output().unwrap());
        assert!(said.contains(words), "{line:?}: {said}");
    }
    let update = ["job", "update", "test/odd", "--set", "spec.total_steps=600"];
    let said = succeeds(&client_of(&server).args(update).output().unwrap());
    assert!(!said.contains(words), "{said}");
    let body = json!({"spec": spec}).to_string();
    let (_, by_http) = server.http_request("POST", "/v1/namespaces/test/jobs?job_id=odder", &body).await;
    assert!(by_http.contains(words), "{by_http}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_variable_that_nobody_reads_and_an_open_interface_are_warned_of_at_the_start() {
    let output = program().env("LRS_SEVER", "http://x").env("LRS_PORT_8080_TCP", "x").arg("version").output().unwrap();
    let (_, err) = texts(&output);
    assert_eq!(
        err,
        "warning: the environment variable LRS_SEVER is not known and changes nothing: did you mean LRS_SERVER?\n"
    );
    let folder = tempfile::tempdir().unwrap();
    let database = format!("sqlite://{}", folder.path().join("lrs.db").display());
    let server = |grpc: &str| {
        let line = ["serve", "--database-url", &database, "--grpc-listen", grpc, "--http-listen", "127.0.0.1:0"];
        let mut child = program()
            .args(line)
            .env("LRS_STORE_TIMEOT", "3s")
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = std::io::BufReader::new(child.stderr.take().unwrap());
        let mut said = String::new();
        while !said.contains("LRS_STORE_TIMEOT") || (grpc.starts_with('0') && !said.contains("authentication")) {
            assert_ne!(std::io::BufRead::read_line(&mut log, &mut said).unwrap(), 0, "{said}");
        }
        child.kill().unwrap();
        child.wait().unwrap();
        said
    };
    let said = server("0.0.0.0:0");
    assert!(
        said.contains("LRS_STORE_TIMEOT is not known and changes nothing: did you mean LRS_STORE_TIMEOUT?"),
        "{said}"
    );
    assert!(said.contains("gRPC is served on 0.0.0.0:0 without authentication"), "{said}");
    assert!(!said.contains("HTTP is served"), "{said}");
    assert!(!server("127.0.0.1:0").contains("authentication"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_training_that_goes_on_past_the_last_step_is_warned_of() {
    let server = Server::sqlite().await;
    let spec = r#"{"groups": [{"base_lr": 1}], "total_steps": 10, "schedule": {"linear": {}}}"#;
    let job = server.register("long", spec_json(spec)).await.name;
    let attempt = server.start_attempt(&job, "t", 0).await;
    let mut stream = server.stream(&job, attempt, 0).await;
    let shown = || succeeds(&client_of(&server).args(["job", "get", "test/long"]).output().unwrap());
    stream.losses(0, &[1.0; 10]).await;
    stream.until_durable(9).await;
    assert!(!shown().contains("after the last step"), "{}", shown());
    stream.losses(10, &[1.0; 5]).await;
    stream.until_durable(14).await;
    assert!(shown().contains("the training has come to step 14, after the last step of the job (9)"), "{}", shown());
}
