//! Closed loops over a real socket: the decisions of the engine reach the trainer, and survive the server's death bit
//! for bit.

use std::process::Command;

use crate::server::{Server, spec_json};
use crate::toy::{self, Habits, Run};
use lrs_model::{decision::Action, spec::Tier, telemetry::Sample};
use lrs_proto::{Directive, ListDecisionsRequest, MetricSeries, StreamTelemetryRequest, action::Kind};

const STEPS: u64 = 400;

/// A sample on the wire, which closes its step.
fn request(sample: &Sample) -> StreamTelemetryRequest {
    let step = i64::try_from(sample.step).unwrap();
    let metrics = sample.metrics.iter().map(|(name, value)| MetricSeries {
        name: name.to_string(),
        step: vec![step],
        value: vec![*value],
    });
    StreamTelemetryRequest {
        step: vec![step],
        loss: sample.loss.into_iter().collect(),
        grad_norm: sample.grad_norm.into_iter().collect(),
        learning_rate: sample.learning_rate.into_iter().collect(),
        metrics: metrics.collect(),
        through_step: Some(step),
        ..Default::default()
    }
}

/// The contents of a directive on the wire, with the bits of its numbers.
fn said(directive: &Directive) -> (u64, Option<u64>, Vec<Action>) {
    let actions =
        directive.actions.iter().map(|action| match action.kind.clone().expect("an action is one of three") {
            Kind::Snapshot(id) => Action::Keep(id),
            Kind::Restore(id) => Action::Restore(id),
            Kind::Forget(id) => Action::Forget(id),
        });
    (directive.rates[0].learning_rate.to_bits(), directive.clip_norm.map(f64::to_bits), actions.collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_recommended_loop_reaches_the_trainer_and_survives_two_killed_servers_bit_for_bit() {
    // The run of an undisturbed trainer, computed in this process.
    let mut undisturbed = Run::new(&toy::spec(0.06, Tier::Restore, STEPS), Habits::default(), 11);
    undisturbed.train_until(STEPS);

    let mut server = Server::sqlite().await;
    let spec = r#"{"groups": [{"base_lr": 0.06}], "total_steps": 400, "tier": 2, "controller": "auto",
        "objective": {"metric": "val_loss"}}"#;
    let job = server.register("auto", spec_json(spec)).await.name;
    let attempt = server.start_attempt(&job, "t", 0).await;
    let mut stream = server.stream(&job, attempt, 0).await;
    for (step, (expected, record)) in (0..).zip(undisturbed.directives.iter().zip(&undisturbed.records)) {
        if step == 60 || step == 250 {
            stream.until_durable(step - 5).await;
            server.kill();
            server.start_again().await;
            stream = server.stream(&job, attempt, 0).await;
            // Reports again from the last step known to be durable; steps that had been stored after all are repeats.
            for again in &undisturbed.records[usize::try_from(step - 4).unwrap()..usize::try_from(step).unwrap()] {
                stream.send(request(again)).await;
            }
        }
        let found = stream.directive(step).await;
        let told = &expected.told;
        let rate = expected.rates[0].learning_rate.to_bits();
        let expected = (rate, told.bound.clip_norm.map(f64::to_bits), told.actions.clone());
        assert_eq!(said(&found), expected, "step {step}");
        stream.send(request(record)).await;
    }
    stream.until_durable(i64::try_from(STEPS).unwrap() - 1).await;

    let listing = ListDecisionsRequest { job: job.clone(), ..Default::default() };
    let decisions = server.jobs().await.list_decisions(listing).await.unwrap().into_inner().decisions;
    assert_eq!(decisions.len(), undisturbed.decisions.len());
    assert!(decisions.iter().all(|decision| !decision.evidence.is_empty()), "every decision says why");
    let replay = Command::new(env!("CARGO_BIN_EXE_lrs"))
        .args(["replay", &job, "--server", &format!("http://{}", server.grpc)])
        .output()
        .unwrap();
    assert!(replay.status.success(), "{}", String::from_utf8_lossy(&replay.stdout));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_takes_its_base_rate_from_a_finished_range_test() {
    let server = Server::sqlite().await;
    let test = r#"{"groups": [{"base_lr": 0.5}], "tier": 2,
        "controllers": [{"range_test": {"start_lr": 1e-5, "end_lr": 10, "rates": 40}}]}"#;
    let source = server.register("test", spec_json(test)).await.name;

    let from = |job: &str, suggestion: &str| {
        spec_json(&format!(
            r#"{{"groups": [{{"base_lr": 1}}], "base_lr_from": {{"range_test": "{job}", "suggestion": "{suggestion}"}}}}"#
        ))
    };
    let early = server.try_register("early", from(&source, "SUGGESTION_VALLEY")).await.unwrap_err();
    assert!(early.message().contains("no finished range test"), "{}", early.message());
    let missing = server.try_register("lost", from("namespaces/a/jobs/b", "SUGGESTION_VALLEY")).await.unwrap_err();
    assert!(missing.message().contains("there is no job namespaces/a/jobs/b"), "{}", missing.message());

    let attempt = server.start_attempt(&source, "t", 0).await;
    let mut stream = server.stream(&source, attempt, 0).await;
    let mut rates = Vec::new();
    for step in 0..42 {
        let rate = stream.directive(step).await.rates[0].learning_rate;
        rates.push(rate);
        let distance = libm::log10(rate) + 1.0;
        stream.losses(step, &[1.0 + distance * distance]).await;
    }
    stream.until_durable(41).await;
    assert!((rates[0] - 1e-5).abs() < 1e-15 && (rates[39] - 10.0).abs() < 1e-12, "{rates:?}");
    assert_eq!(rates[40].to_bits(), 0.5_f64.to_bits(), "back to the base rate");

    let listing = ListDecisionsRequest { job: source.clone(), ..Default::default() };
    let decisions = server.jobs().await.list_decisions(listing).await.unwrap().into_inner().decisions;
    let minimum = decisions.last().unwrap().evidence["minimum"];
    let job = server.register("taught", from(&source, "SUGGESTION_MINIMUM")).await;
    assert_eq!(job.spec.unwrap().groups[0].base_lr.to_bits(), minimum.to_bits());

    let trial = r#"{"groups": [{"base_lr": 0}], "base_lr_from": {"study_trial": "JOB"}}"#.replace("JOB", &job.name);
    let second = server.register("second", spec_json(&trial)).await;
    assert_eq!(second.spec.unwrap().groups[0].base_lr.to_bits(), minimum.to_bits());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_says_what_its_loop_is_at_and_what_it_misses() {
    let server = Server::sqlite().await;
    let spec = r#"{"groups": [{"base_lr": 0.1}], "total_steps": 1000, "tier": 2, "controller": "auto"}"#;
    let job = server.register("blind", spec_json(spec)).await.name;
    let attempt = server.start_attempt(&job, "t", 0).await;
    let mut stream = server.stream(&job, attempt, 0).await;
    stream.losses(0, &[1.0; 100]).await;
    stream.until_durable(99).await;

    let request = lrs_proto::GetJobRequest { name: job };
    let found = server.jobs().await.get_job(request).await.unwrap().into_inner();
    let status = &found.progress.unwrap().controllers[0];
    assert_eq!((status.controller.as_str(), status.phase.as_str()), ("0/auto", "searching"));
    assert!(status.missing.iter().any(|sentence| sentence.contains("grad_norm")), "{:?}", status.missing);
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_loops_are_refused_in_words() {
    let server = Server::sqlite().await;
    for (spec, expected) in [
        (r#"{"groups": [{"base_lr": 0}], "controller": "auto"}"#, "nothing to start from"),
        (r#"{"groups": [{"base_lr": 1}], "controller": "magic"}"#, "auto"),
        (r#"{"groups": [{"base_lr": 1}], "tier": 5}"#, "tier"),
        (
            r#"{"groups": [{"base_lr": 1}], "controllers": [{"auto": {}}, {"reduce_lr_on_plateau": {}}]}"#,
            "move the same rates",
        ),
        (r#"{"groups": [{"base_lr": 1}], "controllers": [{"auto": {"cooldown": true}}]}"#, "total_steps"),
        (r#"{"groups": [{"base_lr": 1}], "controllers": [{"range_test": {"rates": 2}}]}"#, "from 8 to 512"),
    ] {
        let refused = server.try_register("wrong", spec_json(spec)).await.unwrap_err();
        assert!(refused.message().contains(expected), "{spec}: {}", refused.message());
    }
}
