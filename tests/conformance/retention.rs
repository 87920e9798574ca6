//! Removing telemetry that is past its time.

use lrs_model::job::{ForkPoint, JobRow, State, Timestamp};
use lrs_store::{DecisionQuery, Error, ExpiryQuery, Namespaces, Removal, StateRow, Store, Write};

use super::{
    builders::{append, attempt, chunk, controller, create, done, job, record, started_job},
    database::TestDatabase,
};

const NOW: Timestamp = Timestamp(1_800_000_000_000_000);

fn ended(name: &str, end_time: i64) -> JobRow {
    JobRow { state: State::Completed, end_time: Some(Timestamp(end_time)), ..job(name) }
}

/// A job that has ended, with an attempt, a decision, a snapshot and `chunks` chunks of four steps.
async fn ended_job(store: &dyn Store, name: &str, chunks: u64) -> JobRow {
    let job = ended(name, 5);
    let state = StateRow { attempt: 1, next_seq: 1, state: "{}".into() };
    done(store, &[create(&job), Write::StartAttempt(job.id, attempt(1)), record(&job, &controller(3))]).await;
    done(store, &[Write::SaveState(job.id, state)]).await;
    for seq in 0..chunks {
        done(store, &[append(&job, &chunk(seq, 0, 4 * seq..4 * seq + 4))]).await;
    }
    job
}

async fn expired(store: &dyn Store, namespaces: Namespaces, ended_before: i64, limit: u32) -> Vec<String> {
    let query = ExpiryQuery { namespaces, ended_before: Timestamp(ended_before), limit };
    let jobs = store.expired_jobs(&query).await.unwrap();
    jobs.into_iter().map(|job| job.name.rsplit('/').next().unwrap().to_owned()).collect()
}

fn everywhere() -> Namespaces {
    Namespaces::AllBut(Vec::new())
}

pub async fn jobs_expire_by_when_they_ended_and_where(database: &TestDatabase) {
    let store = database.open().await;
    let elsewhere = |name: &str, end_time| {
        let name = format!("namespaces/{}/jobs/{name}", if end_time % 2 == 0 { "even" } else { "odd" });
        JobRow { name: name.parse().unwrap(), ..ended("x", end_time) }
    };
    let mut jobs: Vec<JobRow> = (1..=5).map(|time| elsewhere(&format!("j{time}"), time)).collect();
    jobs.push(job("pending"));
    jobs.push(JobRow { state: State::Running, ..job("running") });
    done(&*store, &jobs.iter().rev().map(create).collect::<Vec<_>>()).await;

    assert_eq!(expired(&*store, everywhere(), i64::MAX, 100).await, ["j1", "j2", "j3", "j4", "j5"]);
    assert_eq!(expired(&*store, everywhere(), 4, 100).await, ["j1", "j2", "j3"]);
    assert_eq!(expired(&*store, everywhere(), i64::MAX, 2).await, ["j1", "j2"]);
    assert_eq!(expired(&*store, Namespaces::Only("even".into()), i64::MAX, 100).await, ["j2", "j4"]);
    let but = |names: &[&str]| Namespaces::AllBut(names.iter().map(|&name| name.to_owned()).collect());
    assert_eq!(expired(&*store, but(&["even", "x"]), 5, 100).await, ["j1", "j3"]);
    assert_eq!(expired(&*store, but(&["even", "odd"]), i64::MAX, 100).await, [""; 0]);
}

pub async fn telemetry_goes_a_bounded_piece_at_a_time(database: &TestDatabase) {
    let store = database.open().await;
    let job = ended_job(&*store, "x", 10).await;
    let other = ended_job(&*store, "y", 10).await;
    let left = async || store.telemetry(job.id, 1, 0, 100).await.unwrap().len();
    let marked = async || store.job(&job.name).await.unwrap().unwrap().telemetry_removed_time;
    assert_eq!(marked().await, None);

    for (chunks, is_complete, rest) in [(4, false, 6), (4, false, 2), (2, true, 0)] {
        assert_eq!(expired(&*store, everywhere(), 6, 100).await, ["x", "y"]);
        let now = Timestamp(NOW.0 + i64::try_from(chunks).unwrap());
        let removal = store.remove_telemetry(job.id, now, 4).await.unwrap();
        assert_eq!(removal, Removal { chunks, is_complete });
        assert_eq!(left().await, rest);
        assert_eq!(marked().await, Some(Timestamp(NOW.0 + 4)), "the time it began");
        assert_eq!(store.state(job.id).await.unwrap().is_some(), !is_complete);
    }

    assert_eq!(expired(&*store, everywhere(), 6, 100).await, ["y"]);
    assert_eq!(store.attempts(job.id).await.unwrap().len(), 1);
    let all = DecisionQuery { limit: 10, ..DecisionQuery::default() };
    assert_eq!(store.decisions(job.id, &all).await.unwrap().len(), 1);
    assert_eq!(store.telemetry(other.id, 1, 0, 100).await.unwrap().len(), 10);
    assert!(store.state(other.id).await.unwrap().is_some());
    let again = store.remove_telemetry(job.id, NOW, 4).await.unwrap();
    assert_eq!(again, Removal { chunks: 0, is_complete: true });
}

pub async fn telemetry_of_a_job_that_has_not_ended_stays(database: &TestDatabase) {
    let store = database.open().await;
    let nothing = Removal { chunks: 0, is_complete: true };
    for state in [State::Pending, State::Running, State::Paused] {
        let job = started_job(&*store, state.as_str()).await;
        let job = JobRow { state, ..job };
        let update = Write::UpdateJob(Box::new(job.clone()));
        done(&*store, &[update, append(&job, &chunk(0, 0, 0..4))]).await;

        assert_eq!(store.remove_telemetry(job.id, NOW, 4).await.unwrap(), nothing);

        assert_eq!(store.telemetry(job.id, 1, 0, 100).await.unwrap().len(), 1);
        assert_eq!(store.job(&job.name).await.unwrap().unwrap().telemetry_removed_time, None);
    }
    assert_eq!(store.remove_telemetry(job("gone").id, NOW, 4).await.unwrap(), nothing);
}

pub async fn a_fork_of_what_was_removed_is_refused(database: &TestDatabase) {
    let store = database.open().await;
    let source = ended_job(&*store, "x", 10).await;
    let fork = |name: &str| {
        let point = ForkPoint { job: source.name.to_string(), attempt: 1, step: 8 };
        let row = Box::new(JobRow { forked_from: Some(point), ..job(name) });
        Write::ForkJob { row, source: source.id, source_attempt: 1 }
    };
    done(&*store, &[fork("before")]).await;
    store.remove_telemetry(source.id, NOW, 1).await.unwrap();

    let Err(error) = store.commit(&[create(&job("beside")), fork("after")]).await else { panic!("it was forked") };

    assert!(
        matches!(error, Error::Refused { .. }) && lrs_runtime::error::chain(&error).contains("has been removed"),
        "{error}"
    );
    for (name, is_there) in [("before", true), ("beside", false), ("after", false)] {
        assert_eq!(store.job(&job(name).name).await.unwrap().is_some(), is_there, "{name}");
    }
    let whole = store.job(&job("before").name).await.unwrap().unwrap();
    assert_eq!(whole.telemetry_removed_time, None);
    assert_eq!(store.telemetry(whole.id, 1, 0, 100).await.unwrap().len(), 10);
}

pub async fn removing_beside_merges_leaves_nothing_behind(database: &TestDatabase) {
    let store = database.open().await;
    for round in 0..8 {
        let job = ended_job(&*store, &format!("x{round}"), 24).await;
        let removing = async { while !store.remove_telemetry(job.id, NOW, 3).await.unwrap().is_complete {} };
        let merging = async {
            for target in [8, 12, 16, 40] {
                store.merge_telemetry(job.id, 1, 100, target).await.unwrap();
            }
        };
        tokio::join!(merging, removing);
        assert_eq!(store.telemetry(job.id, 1, 0, 100).await.unwrap(), []);
    }
}

pub async fn removing_beside_appends_loses_nothing(database: &TestDatabase) {
    let store = database.open().await;
    let old = ended_job(&*store, "old", 60).await;
    let live = started_job(&*store, "live").await;
    let appending = async {
        for seq in 0..60 {
            done(&*store, &[append(&live, &chunk(seq, 0, [seq]))]).await;
        }
    };
    let removing = async { while !store.remove_telemetry(old.id, NOW, 2).await.unwrap().is_complete {} };
    tokio::join!(appending, removing);
    assert_eq!(store.telemetry(live.id, 1, 0, 100).await.unwrap().len(), 60);
    assert_eq!(store.telemetry(old.id, 1, 0, 100).await.unwrap(), []);
}
