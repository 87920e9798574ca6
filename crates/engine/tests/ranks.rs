//! Training with several reporting ranks whose number changes from attempt to attempt.

use std::{sync::Arc, time::Duration};

use lrs_engine::{Engine, Error, NewJob, Order, Settings};
use lrs_model::{
    name::JobName,
    spec::{Group, Spec},
    telemetry::{Report, Sample},
};
use lrs_runtime::clock::ManualClock;

async fn open(url: &str, clock: &Arc<ManualClock>) -> Engine {
    let store = url.parse::<lrs_store::DatabaseUrl>().unwrap().open().await.unwrap();
    let engine = Engine::start(Settings::default(), store, clock.clone());
    engine.recovered().await.unwrap();
    engine
}

fn spec(reporting_ranks: u32) -> Spec {
    let group =
        Group { name: "default".into(), base_lr: 1.0, base_momentum: None, base_weight_decay: None, schedule: None };
    Spec { groups: vec![group], reporting_ranks, ..Spec::default() }
}

async fn report(engine: &Engine, name: &JobName, rank: u32, steps: std::ops::Range<u64>) {
    let reporter = engine.reporter(name, 0, rank).await.unwrap();
    let through_step = steps.end.checked_sub(1);
    let samples = steps.map(|step| Sample { loss: Some(1.0), ..Sample::new(step) }).collect();
    reporter.report(Report { samples, through_step }).await.unwrap().receipt().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_rank_is_named_and_the_next_attempt_goes_on_without_it() {
    let directory = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", directory.path().join("lrs.db").display());
    let clock = Arc::new(ManualClock::default());
    let name = JobName::new("a", "b").unwrap();
    let engine = open(&url, &clock).await;
    engine.create_job(NewJob { name: name.clone(), spec: spec(3), order: Order::default() }).await.unwrap();
    engine.start_attempt(&name, "three".into(), 0, None).await.unwrap();
    for rank in 0..3 {
        report(&engine, &name, rank, 0..10).await;
    }
    clock.advance(Duration::from_secs(2));
    report(&engine, &name, 1, 10..12).await;
    let missing = async |engine: &Engine| engine.job(&name).await.unwrap().progress.unwrap().missing_ranks;
    assert_eq!(missing(&engine).await, "", "ranks may differ for a while");

    clock.advance(Duration::from_secs(10));

    let words = missing(&engine).await;
    assert!(words.starts_with("ranks 0, 2 of 3 have not reported step 10,"), "{words}");

    let info = engine.start_attempt(&name, "one".into(), 10, Some(1)).await.unwrap();
    assert_eq!((info.row.attempt, info.reporting_ranks), (2, 1));
    assert_eq!(engine.start_attempt(&name, "one".into(), 10, None).await.unwrap(), info);
    let other = engine.start_attempt(&name, "one".into(), 10, Some(2)).await.unwrap_err();
    assert!(matches!(&other, Error::Invalid(violations) if violations.to_string().contains("reporting_ranks: 2")));
    assert!(engine.reporter(&name, 0, 1).await.is_err(), "there is no second rank");
    report(&engine, &name, 0, 10..20).await;
    let end = async |engine: &Engine| engine.job(&name).await.unwrap().progress.unwrap().complete_end;
    assert_eq!((end(&engine).await, missing(&engine).await.as_str()), (20, ""));
    engine.shutdown().await;

    // It is on record: the next process goes on with as many ranks, and the next attempt with as many as it says.
    let engine = open(&url, &clock).await;
    assert_eq!(engine.attempts(&name).await.unwrap()[1].reporting_ranks, Some(1));
    report(&engine, &name, 0, 20..25).await;
    assert_eq!(end(&engine).await, 25);
    let info = engine.start_attempt(&name, "many".into(), 25, Some(5)).await.unwrap();
    assert_eq!(info.reporting_ranks, 5);
    for rank in 0..5 {
        report(&engine, &name, rank, 25..30).await;
    }
    assert_eq!(end(&engine).await, 30);
}
