//! Opening: schema, ownership, damage.

use lrs_runtime::error::chain;
use lrs_store::{DecisionQuery, Error, StateRow, Write};
use tokio::task::JoinSet;

use super::{
    builders::{append, chunk, create, done, job, person, record, started_job},
    database::TestDatabase,
};

pub async fn a_second_server_is_refused(database: &TestDatabase) {
    let first = database.open().await;

    let Err(error) = database.try_open().await else { panic!("a second server got in") };

    assert!(matches!(error, Error::Taken { .. }), "{error}");
    let pid = format!("pid {} since ", std::process::id());
    assert!(chain(&error).contains(&pid) && chain(&error).contains(", epoch 1"), "{error:?}");
    done(&*first, &[create(&job("x"))]).await;
}

pub async fn a_closed_store_can_be_opened_again(database: &TestDatabase) {
    let first = database.open().await;
    let x = job("x");
    done(&*first, &[create(&x)]).await;
    first.close().await;

    let second = database.open().await;

    assert_eq!(second.job(&x.name).await.unwrap(), Some(x.clone()));
    assert!(first.commit(&[create(&job("y"))]).await.unwrap_err().is_transient());
    assert!(first.job(&x.name).await.unwrap_err().is_transient());
    assert!(first.ping().await.unwrap_err().is_transient());
}

pub async fn a_newer_schema_is_refused_and_left_alone(database: &TestDatabase) {
    database.open().await.close().await;
    let applied = database.url.schema().await.unwrap().applied;
    let known = applied.last().unwrap().version;
    database
        .tamper(
            "insert into _sqlx_migrations (version, description, success, checksum, execution_time)
             select 9999, 'from the future', success, checksum, 0 from _sqlx_migrations where version = 1",
        )
        .await;

    for error in
        [database.try_open().await.err(), database.url.schema().await.err(), database.url.migrate().await.err()]
    {
        assert!(
            matches!(error, Some(Error::NewerSchema { found: 9999, known: k }) if k == known),
            "{error:?}, known {known}"
        );
    }
    let count = i64::try_from(applied.len()).unwrap() + 1;
    assert_eq!(database.number("select count(*) from _sqlx_migrations").await, count);
}

pub async fn the_schema_tells_what_is_pending(database: &TestDatabase) {
    let before = database.url.schema().await.unwrap();
    assert!(before.applied.is_empty());
    assert_eq!((before.pending[0].version, before.pending[0].description.as_str()), (1, "create tables"));
    assert_eq!(database.url.schema().await.unwrap(), before, "asking changes nothing");

    let told = database.url.migrate().await.unwrap();

    assert_eq!(told, before);
    let after = database.url.schema().await.unwrap();
    assert_eq!((after.applied, after.pending), (before.pending, Vec::new()));
    database.open().await.ping().await.unwrap();
}

pub async fn migrating_twice_changes_nothing(database: &TestDatabase) {
    database.url.migrate().await.unwrap();
    let second = database.url.migrate().await.unwrap();
    assert!(second.pending.is_empty());
}

pub async fn many_that_open_at_once_leave_one_owner(database: &TestDatabase) {
    let mut opening = JoinSet::new();
    for _ in 0..5 {
        let url = database.url.clone();
        opening.spawn(async move { url.open().await });
    }
    let (owners, refused): (Vec<_>, Vec<_>) = opening.join_all().await.into_iter().partition(Result::is_ok);

    assert_eq!(owners.len(), 1);
    assert!(refused.iter().all(|result| matches!(result, Err(Error::Taken { .. }))));
}

pub async fn a_store_that_is_open_answers_a_ping(database: &TestDatabase) {
    let store = database.open().await;
    store.ping().await.unwrap();
    done(&*store, &[create(&job("x"))]).await;
    store.ping().await.unwrap();
}

pub async fn a_damaged_job_is_named_and_hides_no_other(database: &TestDatabase) {
    let store = database.open().await;
    let jobs = ["a", "b", "c"].map(job);
    let names = jobs.each_ref().map(|job| job.name.clone());
    done(&*store, &jobs.iter().map(create).collect::<Vec<_>>()).await;
    for damage in
        ["spec = '{\"groups\": 3}'", "state = 'SLEEPING', spec = initial_spec", "version = -1, state = 'RUNNING'"]
    {
        database.tamper(&format!("update jobs set {damage} where name = '{}'", jobs[1].name)).await;

        let mut records = store.job_records(&names).await.unwrap();
        records.sort_by(|left, right| left.name.cmp(&right.name));

        let [a, b, c] = &records[..] else { panic!("{records:?}") };
        assert_eq!((a.row.as_ref().unwrap(), c.row.as_ref().unwrap()), (&jobs[0], &jobs[2]));
        assert_eq!((b.id, b.name.as_str()), (jobs[1].id, jobs[1].name.as_str()));
        let expected = jobs[1].id.to_string();
        let is_named =
            |error: &Error| matches!(error, Error::Inconsistent { table: "jobs", id, .. } if *id == expected);
        assert!(is_named(b.row.as_ref().unwrap_err()), "{damage}: {b:?}");
        assert!(is_named(&store.job(&jobs[1].name).await.unwrap_err()), "{damage}");
    }
}

pub async fn damaged_rows_of_every_table_are_named(database: &TestDatabase) {
    let store = database.open().await;
    let job = started_job(&*store, "x").await;
    let state = StateRow { attempt: 1, next_seq: 1, state: "{}".into() };
    done(&*store, &[append(&job, &chunk(7, 0, 0..3)), record(&job, &person(1, 4)), Write::SaveState(job.id, state)])
        .await;
    let no_steps = database.url.kind().damage.no_steps;
    for damage in [
        "update attempts set resume_step = -1".to_owned(),
        "update decisions set effect = '\"Dance\"'".to_owned(),
        "update job_state set attempt = -1".to_owned(),
        format!("update telemetry set steps = {no_steps}"),
    ] {
        database.tamper(&damage).await;
    }

    let all = DecisionQuery { limit: 10, ..DecisionQuery::default() };
    let errors = [
        (store.attempts(job.id).await.err(), "attempts", format!("{}/1", job.id)),
        (store.decisions(job.id, &all).await.err(), "decisions", format!("{}/p1", job.id)),
        (store.state(job.id).await.err(), "job_state", job.id.to_string()),
        (store.telemetry(job.id, 1, 0, 10).await.err(), "telemetry", format!("{}/1/7", job.id)),
    ];
    for (error, expected_table, expected_id) in errors {
        let Some(Error::Inconsistent { table, id, .. }) = &error else { panic!("{expected_table}: {error:?}") };
        assert_eq!((*table, id), (expected_table, &expected_id));
    }
}
