//! The trainer's client against a service that breaks streams, forgets, stays silent, refuses, or goes away.

mod fake_service;

use std::time::Duration;

use fake_service::{Behaviour, FakeService, PLANNED_RATE, final_rate};
use lrs_client::{Backoff, Error, Options, Sample, Standing, Trainer};
use lrs_proto::QueryTelemetryRequest;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, SqliteConnection};
use tonic::Code;

use crate::server::{Server, spec, wait_for};

const JOB: &str = "namespaces/test/jobs/fake";

fn options() -> Options {
    Options {
        deadline: Duration::from_secs(20),
        backoff: Backoff { first: Duration::from_millis(1), longest: Duration::from_millis(10) },
        ..Options::default()
    }
}

async fn connect(service: &FakeService, options: Options) -> Trainer {
    Trainer::connect(&service.url(), JOB, "token", 0, options).await.unwrap()
}

fn sample(step: u64, learning_rate: f64) -> Sample {
    let metrics = vec![("val_loss".to_owned(), 0.5)];
    Sample { step, loss: 2.0, grad_norm: Some(1.0), learning_rate, metrics }
}

/// Trains steps in lockstep with the service and returns the rates used, which must all be final.
async fn train(trainer: &mut Trainer, steps: std::ops::Range<u64>) -> Vec<f64> {
    let mut rates = Vec::new();
    for step in steps {
        let directive = trainer.directive(step).await;
        assert_eq!((directive.step, directive.standing), (step, Standing::Final));
        trainer.report(sample(step, directive.learning_rate())).unwrap();
        rates.push(directive.learning_rate());
    }
    rates
}

#[tokio::test]
async fn every_step_gets_its_final_rate_and_becomes_durable() {
    let service = FakeService::start([]).await;
    let mut trainer = connect(&service, options()).await;
    let rates = train(&mut trainer, 0..200).await;
    let summary = trainer.finish().await.unwrap();
    assert_eq!(rates, (0..200).map(final_rate).collect::<Vec<_>>());
    assert_eq!(service.record(), rates.iter().copied().zip(0..).map(|(rate, step)| (step, rate)).collect());
    assert_eq!((summary.reported, summary.repeated, summary.fallback.count()), (200, 0, 0));
}

#[tokio::test]
async fn telemetry_that_a_broken_stream_lost_is_sent_again() {
    let script = [Behaviour::Lose(1), Behaviour::BreakAfter(5), Behaviour::Lose(1), Behaviour::BreakAfter(1)];
    let service = FakeService::start(script).await;
    let mut trainer = connect(&service, options()).await;
    let rates = train(&mut trainer, 0..50).await;
    trainer.finish().await.unwrap();
    assert_eq!(service.record(), rates.iter().copied().zip(0..).map(|(rate, step)| (step, rate)).collect());
    assert_eq!(service.streams(), 5);
}

#[tokio::test]
async fn telemetry_whose_acknowledgement_was_lost_is_on_record_once() {
    let service = FakeService::start([Behaviour::KeepSilently(1)]).await;
    let mut trainer = connect(&service, Options { deadline: Duration::from_millis(1), ..options() }).await;
    for step in 0..10 {
        let directive = trainer.directive(step).await;
        trainer.report(sample(step, directive.learning_rate())).unwrap();
    }
    let summary = trainer.finish().await.unwrap();
    assert_eq!(service.record().keys().copied().collect::<Vec<_>>(), (0..10).collect::<Vec<_>>());
    assert_eq!((summary.reported, summary.conflicting), (10, 0));
}

#[tokio::test]
async fn without_the_last_word_training_goes_on_with_the_plan_and_says_so() {
    let service = FakeService::start([Behaviour::Mute]).await;
    let brief = Options { deadline: Duration::from_millis(5), finish_timeout: Duration::from_millis(20), ..options() };
    let mut trainer = connect(&service, brief).await;
    let mut standings = Vec::new();
    for step in 0..5 {
        let directive = trainer.directive(step).await;
        standings.push((directive.standing, directive.learning_rate()));
        trainer.report(sample(step, directive.learning_rate())).unwrap();
    }
    assert_eq!(standings[0], (Standing::Final, final_rate(0)));
    assert_eq!(standings[1..], [(Standing::Planned, PLANNED_RATE); 4]);
    assert_eq!(trainer.fallback_steps().stretches(), [1..=4]);
    assert!(matches!(trainer.finish().await, Err(Error::NotDurable { unacknowledged: 5, .. })));
}

#[tokio::test]
async fn a_service_that_went_away_is_found_again_and_gets_everything() {
    let service = FakeService::start([]).await;
    let mut trainer = connect(&service, Options { deadline: Duration::from_millis(5), ..options() }).await;
    let address = service.stop().await;
    for step in 0..20 {
        let directive = trainer.directive(step).await;
        trainer.report(sample(step, directive.learning_rate())).unwrap();
    }
    assert_eq!(trainer.unacknowledged(), 20);
    let service = FakeService::start_at(address, []).await;
    trainer.finish().await.unwrap();
    assert_eq!(service.record().keys().copied().collect::<Vec<_>>(), (0..20).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_backlog_past_its_bound_is_an_error() {
    let service = FakeService::start([Behaviour::Mute]).await;
    let mut trainer = connect(&service, Options { max_unacknowledged: 3, ..options() }).await;
    for step in 0..3 {
        trainer.report(sample(step, 0.1)).unwrap();
    }
    assert!(matches!(trainer.report(sample(3, 0.1)), Err(Error::BacklogFull { limit: 3 })));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_that_a_restored_database_lacks_is_begun_again() {
    let mut server = Server::sqlite().await;
    let job = server.register("a", spec(0.1)).await.name;
    let (database, copy) = (server.database_file(), server.database_file().with_extension("copy"));
    let mut connection = SqliteConnection::connect(server.database_url()).await.unwrap();
    connection.execute(AssertSqlSafe(format!("vacuum into '{}'", copy.display()))).await.unwrap();
    connection.close().await.unwrap();

    let mut trainer = Trainer::connect(&format!("http://{}", server.grpc), &job, "token", 0, options()).await.unwrap();
    let mut rates = Vec::new();
    let mut train = async |trainer: &mut Trainer, steps: std::ops::Range<u64>| {
        for step in steps {
            let rate = trainer.directive(step).await.learning_rate();
            trainer.report(sample(step, rate)).unwrap();
            rates.push(rate.to_bits());
        }
    };
    train(&mut trainer, 0..300).await;
    wait_for("the telemetry to be stored", async || (trainer.unacknowledged() == 0).then_some(())).await;
    server.kill();
    for rest in ["-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{}{rest}", database.display()));
    }
    std::fs::copy(&copy, &database).unwrap();
    server.start_again().await;
    train(&mut trainer, 300..350).await;
    trainer.finish().await.unwrap();

    let query = QueryTelemetryRequest { job, page_size: 100_000, ..Default::default() };
    let series = server.jobs().await.query_telemetry(query).await.unwrap().into_inner().series;
    let recorded = series.into_iter().find(|series| series.name == "learning_rate").unwrap();
    assert_eq!(recorded.step, (0..350).collect::<Vec<_>>());
    assert_eq!(recorded.value.into_iter().map(f64::to_bits).collect::<Vec<_>>(), rates);
}

#[tokio::test]
async fn a_refused_stream_ends_the_attempt_without_stopping_the_training() {
    let service = FakeService::start([Behaviour::Refuse]).await;
    let mut trainer = connect(&service, options()).await;
    // The answer comes far sooner than the deadline of 20 s, because there is nothing to wait for.
    let directive = tokio::time::timeout(Duration::from_secs(10), trainer.directive(1)).await.unwrap();
    assert_eq!(directive.standing, Standing::Planned);
    let refused = trainer.report(sample(1, directive.learning_rate()));
    assert!(matches!(refused, Err(Error::Refused(status)) if status.code() == Code::FailedPrecondition));
}

#[tokio::test]
async fn an_unknown_job_is_refused_at_once() {
    let service = FakeService::start([]).await;
    let refused = Trainer::connect(&service.url(), "namespaces/test/jobs/unknown", "token", 0, options()).await;
    assert!(matches!(refused, Err(Error::Refused(status)) if status.code() == Code::NotFound));
}

#[tokio::test]
async fn a_service_that_is_not_there_is_given_up_in_time() {
    let service = FakeService::start([]).await;
    let url = service.url();
    service.stop().await;
    let brief = Options { start_timeout: Duration::from_millis(50), ..options() };
    assert!(matches!(Trainer::connect(&url, JOB, "token", 0, brief).await, Err(Error::Unreachable { .. })));
}
