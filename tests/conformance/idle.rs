//! Jobs that are not in memory: what their rows say, and what is read when somebody asks for them.

use lrs_model::{
    job::{Idle, IdleBefore, JobRow, State, Timestamp},
    name::JobName,
};
use lrs_store::{Error, JobCount, JobRecord, StateRow, Store, Write};

use super::{
    builders::{append, attempt, chunk, controller, create, done, job, person, record, started_job},
    database::TestDatabase,
    listing::query,
};

async fn record_of(store: &dyn Store, job: &JobRow) -> JobRecord {
    let mut records = store.job_records(std::slice::from_ref(&job.name)).await.unwrap();
    assert_eq!(records.len(), 1);
    records.remove(0)
}

fn state(next_seq: u64) -> StateRow {
    StateRow { attempt: 1, next_seq, state: "{}".to_owned() }
}

pub async fn a_record_has_what_serving_the_job_needs(database: &TestDatabase) {
    let store = database.open().await;
    let (waiting, steered) = (job("waiting"), job("steered"));
    let started = started_job(&*store, "started").await;
    let writes = [
        create(&waiting),
        create(&steered),
        Write::StartAttempt(started.id, attempt(3)),
        Write::StartAttempt(started.id, attempt(2)),
        record(&started, &controller(7)),
        Write::SaveState(started.id, state(4)),
        record(&steered, &person(1, 5)),
    ];
    done(&*store, &writes).await;

    let names: Vec<JobName> =
        ["nobody", "steered", "started", "waiting"].map(|name| job(name).name).into_iter().collect();
    let mut records = store.job_records(&names).await.unwrap();
    records.sort_by(|a, b| a.name.cmp(&b.name));

    let [a, b, c] = &records[..] else { panic!("{records:?}") };
    for (record, job) in [(a, &started), (b, &steered), (c, &waiting)] {
        assert_eq!((record.id, record.row.as_ref().unwrap()), (job.id, job));
        assert_eq!((record.name.as_str(), record.active_time), (job.name.as_str(), job.update_time));
        assert_eq!(*record.attempts.as_ref().unwrap(), store.attempts(job.id).await.unwrap());
        assert_eq!(*record.state.as_ref().unwrap(), store.state(job.id).await.unwrap());
    }
    assert_eq!([a, b, c].map(|record| record.has_person_decisions), [false, true, false]);
}

pub async fn a_record_says_whether_its_snapshot_is_behind(database: &TestDatabase) {
    let store = database.open().await;
    let job = started_job(&*store, "x").await;
    done(&*store, &[append(&job, &chunk(0, 0, 0..4)), append(&job, &chunk(1, 0, 4..8))]).await;
    for (next_seq, is_behind) in [(0, true), (1, true), (2, false)] {
        done(&*store, &[Write::SaveState(job.id, state(next_seq))]).await;
        assert_eq!(record_of(&*store, &job).await.is_state_behind, is_behind, "below {next_seq}");
    }
    // What other attempts reported is in no snapshot of this one.
    let other = lrs_store::Chunk { attempt: 2, ..chunk(9, 0, 0..4) };
    done(&*store, &[append(&job, &other)]).await;
    assert!(!record_of(&*store, &job).await.is_state_behind);
}

pub async fn what_is_damaged_of_a_record_is_named(database: &TestDatabase) {
    let store = database.open().await;
    let (job, other) = (started_job(&*store, "x").await, started_job(&*store, "y").await);
    done(&*store, &[Write::SaveState(job.id, state(1))]).await;
    let is_of = |error: &Error, wanted: &str| matches!(error, Error::Inconsistent { table, .. } if *table == wanted);

    database.tamper("update attempts set resume_step = -1 where token = 'token 1'").await;
    assert!(is_of(record_of(&*store, &job).await.attempts.as_ref().unwrap_err(), "attempts"));
    database.tamper("update job_state set next_seq = -1").await;
    assert!(is_of(record_of(&*store, &job).await.state.as_ref().unwrap_err(), "job_state"));
    database.tamper("update jobs set version = -1 where name like '%/x'").await;

    let records = store.job_records(&[job.name.clone(), other.name.clone()]).await.unwrap();
    let [damaged, sound] = [&job, &other].map(|job| records.iter().find(|record| record.id == job.id).unwrap());
    assert!(is_of(damaged.row.as_ref().unwrap_err(), "jobs"));
    assert_eq!(sound.row.as_ref().unwrap(), &other);
}

pub async fn activity_only_rises(database: &TestDatabase) {
    let store = database.open().await;
    let mut job = job("x");
    let born = job.update_time;
    done(&*store, &[create(&job)]).await;
    let later = |microseconds| Timestamp(born.0 + microseconds);
    let told = async |write: Write| {
        done(&*store, &[write]).await;
        record_of(&*store, &job).await.active_time
    };
    assert_eq!(told(Write::MarkActive(job.id, later(-5))).await, born);
    assert_eq!(told(Write::MarkActive(job.id, later(50))).await, later(50));
    assert_eq!(told(Write::MarkActive(job.id, later(20))).await, later(50));
    let mut changed = job.clone();
    (changed.version, changed.update_time) = (2, later(30));
    assert_eq!(told(Write::UpdateJob(Box::new(changed.clone()))).await, later(50));
    changed.update_time = later(70);
    assert_eq!(told(Write::UpdateJob(Box::new(changed.clone()))).await, later(70));
    job = changed;
    assert_eq!(record_of(&*store, &job).await.row.unwrap(), job);
}

pub async fn jobs_are_counted_by_state_and_by_how_long_they_have_been_idle(database: &TestDatabase) {
    let store = database.open().await;
    let mut writes = Vec::new();
    for (number, (state, active)) in [
        (State::Pending, 10),
        (State::Pending, 10),
        (State::Pending, 5),
        (State::Running, 4),
        (State::Running, 3),
        (State::Running, 2),
        (State::Paused, -1),
        (State::Completed, 10),
    ]
    .into_iter()
    .enumerate()
    {
        let mut job = job(&format!("job-{number}"));
        (job.state, job.create_time, job.update_time) = (state, Timestamp(-2), Timestamp(-2));
        writes.extend([create(&job), Write::MarkActive(job.id, Timestamp(active))]);
    }
    done(&*store, &writes).await;

    let before = IdleBefore { stale: Timestamp(5), abandoned: Timestamp(3) };
    let counts = store.count_jobs(before).await.unwrap();

    let count = |state, idle, count| JobCount { state, idle, count };
    let expected = [
        count(State::Paused, Idle::Abandoned, 1),
        count(State::Pending, Idle::Active, 3),
        count(State::Running, Idle::Stale, 2),
        count(State::Running, Idle::Abandoned, 1),
    ];
    assert_eq!(counts, expected);
    assert_eq!(
        [5, 4, 3, 2].map(|time| before.idle(Timestamp(time))),
        [Idle::Active, Idle::Stale, Idle::Stale, Idle::Abandoned]
    );
}

pub async fn a_listing_has_the_newest_attempt_and_the_last_activity(database: &TestDatabase) {
    let store = database.open().await;
    let waiting = job("a");
    let started = started_job(&*store, "b").await;
    let later = Timestamp(started.update_time.0 + 1);
    let writes = [create(&waiting), Write::StartAttempt(started.id, attempt(2)), Write::MarkActive(started.id, later)];
    done(&*store, &writes).await;

    let listed = store.list_jobs(&query(Vec::new())).await.unwrap();

    let said: Vec<_> = listed.into_iter().map(|job| (job.row, job.attempt, job.active_time)).collect();
    assert_eq!(said, [(waiting.clone(), 0, waiting.update_time), (started, 2, later)]);
}
