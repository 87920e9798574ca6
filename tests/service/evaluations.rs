//! A metric that is measured several times between two steps: every value reaches the controllers and the record.

use lrs_proto::{
    MetricSeries, QueryTelemetryRequest, StreamTelemetryRequest, WatchJobRequest, decision::Effect,
    watch_job_response::Event,
};
use tonic::Code;

use crate::postgres::TestPostgres;
use crate::program::{client_of, succeeds};
use crate::server::{Server, spec_json};

fn report(steps: &[i64], evaluated_at: &[i64], evaluations: &[f64]) -> StreamTelemetryRequest {
    StreamTelemetryRequest {
        step: steps.to_vec(),
        loss: steps.iter().map(|_| 1.0).collect(),
        metrics: vec![MetricSeries {
            name: "val_loss".to_owned(),
            step: evaluated_at.to_vec(),
            value: evaluations.to_vec(),
        }],
        through_step: steps.last().copied(),
        ..Default::default()
    }
}

/// A plateau that cuts at the first evaluation that is no better.
const SPEC: &str = r#"{"groups": [{"base_lr": 1}], "controllers": [
    {"reduce_lr_on_plateau": {"metric": "val_loss", "patience": 0, "factor": 0.5}}]}"#;

async fn both_count(mut server: Server) {
    let job = server.register("a", spec_json(SPEC)).await.name;
    let attempt = server.start_attempt(&job, "t", 0).await;
    let watch = WatchJobRequest { name: job.clone() };
    let mut events = server.jobs().await.watch_job(watch).await.unwrap().into_inner();
    let mut stream = server.stream(&job, attempt, 0).await;
    stream.send(report(&[0, 1], &[0, 1, 1], &[1.0, 3.0, 2.0])).await;
    stream.send(report(&[0, 1], &[0, 1, 1], &[1.0, 3.0, 2.0])).await;
    stream.until_messages(3).await;
    assert_eq!((stream.latest.repeated_samples, stream.latest.conflicting_samples), (2, 0));

    // Both are worse than the first: two cuts, which are one decision of that step.
    assert_eq!(server.final_rate(&job, attempt, 2).await.to_bits(), 0.25_f64.to_bits());
    let decision = loop {
        let event = events.message().await.unwrap().unwrap().event;
        if let Some(Event::Decision(decision)) = event {
            break decision;
        }
    };
    let Some(Effect::BaseRateChange(moved)) = &decision.effect else { panic!("{decision:?}") };
    let [group] = &moved.groups[..] else { panic!("{moved:?}") };
    assert_eq!((decision.step, group.previous_base_lr, group.base_lr), (1, 1.0, 0.25));

    let query = QueryTelemetryRequest { job: job.clone(), metrics: vec!["val_loss".to_owned()], ..Default::default() };
    for max_points in [0, 100] {
        let query = QueryTelemetryRequest { max_points, ..query.clone() };
        let answer = server.jobs().await.query_telemetry(query).await.unwrap().into_inner();
        assert_eq!((&answer.series[0].step[..], &answer.series[0].value[..]), (&[0, 1, 1][..], &[1.0, 3.0, 2.0][..]));
    }
    succeeds(&client_of(&server).args(["replay", "test/a"]).output().unwrap());

    server.kill();
    server.start_again().await;
    assert_eq!(server.final_rate(&job, attempt, 2).await.to_bits(), 0.25_f64.to_bits());
    succeeds(&client_of(&server).args(["replay", "test/a"]).output().unwrap());
    // What the program writes and reads is the same telemetry.
    for format in ["csv", "jsonl"] {
        let written =
            succeeds(&client_of(&server).args(["job", "telemetry", "test/a", "--format", format]).output().unwrap());
        assert!(written.contains('3') && written.contains('2'), "{written}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_evaluations_between_two_steps_both_count_on_sqlite() {
    both_count(Server::sqlite().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_evaluations_between_two_steps_both_count_on_postgres() {
    let postgres = TestPostgres::shared();
    both_count(Server::with(&postgres.create_database().await, &[]).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_evaluations_at_the_end_of_an_epoch_are_one_epoch() {
    let server = Server::sqlite().await;
    let spec = r#"{"groups": [{"base_lr": 1}], "steps_per_epoch": 2, "total_steps": 100, "controllers": [
        {"threshold": {"metric": "val_loss", "above": 1.9, "unit": "UNIT_EPOCH"}},
        {"keras_plateau": {"metric": "val_loss", "patience": 2, "factor": 0.5, "unit": "UNIT_EPOCH"}}]}"#;
    let job = server.register("a", spec_json(spec)).await.name;
    let attempt = server.start_attempt(&job, "t", 0).await;
    let mut stream = server.stream(&job, attempt, 0).await;
    for epoch in 0..4 {
        let steps = [2 * epoch, 2 * epoch + 1];
        stream.send(report(&steps, &[steps[1], steps[1]], &[1.0, 3.0])).await;
    }
    stream.until_durable(7).await;
    let list = lrs_proto::ListDecisionsRequest { job: job.clone(), ..Default::default() };
    let decisions = server.jobs().await.list_decisions(list).await.unwrap().into_inner().decisions;
    let told: Vec<_> = decisions.iter().map(|decision| (decision.step, decision.reason.as_str())).collect();
    assert_eq!(told[0], (1, "val_loss is 2 at step 1, at or above 1.9: a notice, which changes nothing"));
    // The first epoch is the best, and the second one after it is one too many.
    assert_eq!(told.iter().map(|(step, _)| *step).collect::<Vec<_>>(), [1, 5], "{told:?}");
    succeeds(&client_of(&server).args(["replay", "test/a"]).output().unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn steps_that_fall_and_too_many_values_at_a_step_are_refused() {
    let server = Server::sqlite().await;
    let job = server.register("a", spec_json(SPEC)).await.name;
    let attempt = server.start_attempt(&job, "t", 0).await;
    for (evaluated_at, problem) in [(vec![1, 0], "at least the step before it"), (vec![1; 65], "at most 64 times")] {
        let mut stream = server.stream(&job, attempt, 0).await;
        stream.send(report(&[0, 1], &evaluated_at, &vec![1.0; evaluated_at.len()])).await;
        let refused = stream.end().await;
        assert!(refused.code() == Code::InvalidArgument && refused.message().contains(problem), "{refused}");
    }
}
