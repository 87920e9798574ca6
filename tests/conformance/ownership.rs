//! Ownership: every write proves that its process is the owner, and that all that it wrote before is there.

use lrs_model::{decision::Effect, job::Timestamp};
use lrs_runtime::error::chain;
use lrs_store::{Error, Write};

use super::{
    builders::{append, attempt, chunk, controller, create, done, job, person, record, started_job},
    database::TestDatabase,
};

/// What another server does to the database when it takes it over, whatever holds it back.
const TAKE_OVER: &str = "update ownership set epoch = epoch + 1, host = 'elsewhere', pid = 7,
    process = (select id from jobs limit 1), acquire_sequence = sequence";

pub async fn every_opening_raises_the_epoch(database: &TestDatabase) {
    let mut before = 0;
    for _ in 0..3 {
        let store = database.open().await;
        assert!(store.epoch() > before);
        before = store.epoch();
        store.ping().await.unwrap();
        assert_eq!(store.epoch(), before, "nothing else does");
        store.close().await;
    }
}

pub async fn an_owner_that_was_replaced_writes_nothing_more(database: &TestDatabase) {
    let store = database.open().await;
    let known = started_job(&*store, "known").await;
    database.tamper(TAKE_OVER).await;

    let error = store.commit(&[create(&job("new")), append(&known, &chunk(0, 0, [0]))]).await.unwrap_err();

    assert!(matches!(error, Error::Deposed { mine: 1, found: 2, .. }) && error.ends_ownership(), "{error:?}");
    assert!(chain(&error).contains("elsewhere pid 7 since "), "{error}");
    assert!(store.job(&job("new").name).await.unwrap().is_none());
    assert!(store.telemetry(known.id, 1, 0, 10).await.unwrap().is_empty());
    // It stays so, whatever becomes of the other owner.
    database.tamper("update ownership set epoch = 1").await;
    assert!(matches!(store.commit(&[create(&job("new"))]).await, Err(Error::Deposed { .. })));
    assert!(matches!(store.ping().await, Err(Error::Deposed { .. })));
}

pub async fn an_owner_that_was_replaced_keeps_no_house(database: &TestDatabase) {
    let store = database.open().await;
    let mut known = started_job(&*store, "known").await;
    let chunks: Vec<_> = (0..4).map(|seq| append(&known, &chunk(seq, 0, [seq]))).collect();
    done(&*store, &chunks).await;
    known.state = lrs_model::job::State::Completed;
    known.end_time = Some(Timestamp(5));
    done(&*store, &[Write::UpdateJob(Box::new(known.clone()))]).await;
    database.tamper(TAKE_OVER).await;

    let merged = store.merge_telemetry(known.id, 1, 10, 100).await;
    let removed = store.remove_telemetry(known.id, Timestamp(7), 10).await;

    assert!(matches!(merged, Err(Error::Deposed { .. })), "{merged:?}");
    assert!(matches!(removed, Err(Error::Deposed { .. })), "{removed:?}");
    assert_eq!(store.telemetry(known.id, 1, 0, 10).await.unwrap().len(), 4);
    assert!(store.job(&known.name).await.unwrap().unwrap().telemetry_removed_time.is_none());
}

pub async fn a_database_that_went_back_is_noticed(database: &TestDatabase) {
    let store = database.open().await;
    let known = started_job(&*store, "known").await;
    done(&*store, &[append(&known, &chunk(0, 0, [0]))]).await;
    done(&*store, &[append(&known, &chunk(1, 0, [1]))]).await;
    // As a backup from before the last commit would.
    database.tamper("delete from telemetry where seq = 1; update ownership set sequence = sequence - 1").await;

    let error = store.commit(&[append(&known, &chunk(2, 0, [2]))]).await.unwrap_err();

    assert!(matches!(error, Error::LostTail { believed: 3, found: 2, .. }) && error.ends_ownership(), "{error:?}");
    assert!(matches!(store.ping().await, Err(Error::LostTail { .. })));
    assert!(matches!(store.remove_telemetry(known.id, Timestamp(0), 1).await, Err(Error::LostTail { .. })));
    assert_eq!(store.telemetry(known.id, 1, 0, 10).await.unwrap(), [chunk(0, 0, [0])]);
    store.close().await;
    let again = database.open().await;
    done(&*again, &[append(&known, &chunk(1, 0, [1]))]).await;
}

pub async fn a_database_that_went_back_before_the_owner_came_is_noticed(database: &TestDatabase) {
    database.open().await.close().await;
    let store = database.open().await;
    done(&*store, &[create(&job("x"))]).await;
    database.tamper("delete from jobs; update ownership set epoch = 1, sequence = 0").await;

    // Nobody writes, and it is noticed all the same.
    let error = store.ping().await.unwrap_err();

    assert!(matches!(error, Error::LostTail { epoch: 2, found_epoch: 1, .. }), "{error:?}");
}

pub async fn a_database_that_went_back_is_noticed_though_another_owner_was_there_first(database: &TestDatabase) {
    let store = database.open().await;
    let known = started_job(&*store, "known").await;
    done(&*store, &[append(&known, &chunk(0, 0, [0]))]).await;
    database.tamper("delete from telemetry; update ownership set sequence = sequence - 1").await;
    database.tamper(TAKE_OVER).await;
    database.tamper("update ownership set sequence = sequence + 10").await;

    let error = store.commit(&[append(&known, &chunk(1, 0, [1]))]).await.unwrap_err();

    assert!(matches!(error, Error::LostTail { believed: 2, found: 1, .. }), "{error:?}");
}

pub async fn a_row_that_is_there_with_other_contents_is_refused(database: &TestDatabase) {
    let store = database.open().await;
    let known = started_job(&*store, "known").await;
    let by_controller = controller(7);
    let by_person = Write::RecordDecision(known.id, Box::new(person(1, 5)), Some("r".into()));
    done(&*store, &[append(&known, &chunk(0, 0, 0..3)), by_person.clone(), record(&known, &by_controller)]).await;

    let mut token = attempt(1);
    token.token = "another".into();
    let mut samples = chunk(0, 0, 0..3);
    samples.samples[1].loss = Some(f64::NAN);
    let mut renamed = job("another");
    renamed.id = known.id;
    let mut order = person(1, 5);
    order.author = lrs_model::decision::Author::Person("Eve".into());
    let mut effect = by_controller.clone();
    effect.effect = Effect::ClearOverride;
    let mut later = by_controller.clone();
    later.effective_step += 1;
    let differing = [
        (Write::StartAttempt(known.id, token), "attempts", "another"),
        (append(&known, &samples), "telemetry", "3 samples"),
        (append(&known, &chunk(0, 1, 0..3)), "telemetry", "rank 1"),
        (append(&known, &chunk(0, 0, 0..2)), "telemetry", "2 samples"),
        (create(&renamed), "jobs", "jobs/known"),
        (record(&known, &order), "decisions", "Eve"),
        (record(&known, &person(1, 5)), "decisions", "request \"r\""),
        (record(&known, &effect), "decisions", "clear_override"),
        (record(&known, &later), "decisions", "step 9"),
    ];
    for (write, table, shown) in differing {
        let beside = append(&known, &chunk(1, 0, 3..5));
        let error = store.commit(&[beside, write.clone()]).await.unwrap_err();
        assert!(matches!(error, Error::Differs { table: named, .. } if named == table), "{write:?}: {error:?}");
        assert!(!error.is_transient() && chain(&error).contains(shown), "{shown:?}: {}", chain(&error));
    }
    let no_attempt = Write::Reserve { job: known.id, attempt: 2, reserved_end: 9 };
    assert!(matches!(store.commit(&[no_attempt]).await, Err(Error::Inconsistent { table: "attempts", .. })));
    assert_eq!(store.telemetry(known.id, 1, 0, 10).await.unwrap(), [chunk(0, 0, 0..3)], "nothing beside it is written");

    // A decision that a controller makes again comes at another time, in words of another release.
    let mut again = by_controller.clone();
    again.create_time = Timestamp(99);
    again.reason = "in other words".into();
    done(&*store, &[append(&known, &chunk(0, 0, 0..3)), by_person, record(&known, &again)]).await;
}

pub async fn rows_say_which_owner_stored_them(database: &TestDatabase) {
    let store = database.open().await;
    let x = started_job(&*store, "x").await;
    done(&*store, &[append(&x, &chunk(0, 0, [0]))]).await;
    store.close().await;
    let store = database.open().await;
    done(&*store, &[append(&x, &chunk(1, 0, [1])), record(&x, &person(1, 1))]).await;

    assert_eq!(database.number("select epoch from attempts").await, 1);
    assert_eq!(database.number("select epoch from telemetry where seq = 0").await, 1);
    assert_eq!(database.number("select epoch from telemetry where seq = 1").await, 2);
    assert_eq!(database.number("select epoch from decisions").await, 2);
    assert_eq!(store.merge_telemetry(x.id, 1, 10, 100).await.unwrap(), 1);
    assert_eq!(database.number("select epoch from telemetry").await, 2);
    done(&*store, &[Write::ForkJob { row: Box::new(job("fork")), source: x.id, source_attempt: 1 }]).await;
    assert_eq!(database.number("select cast(sum(epoch) as bigint) from telemetry").await, 4);
}
