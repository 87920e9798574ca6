//! The data that is left after a database, or the process that writes to it, was cut off.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use lrs_model::job::Timestamp;
use lrs_runtime::error::chain;
use lrs_store as store;
use lrs_store::{Error, Store};
use sqlx::{Connection as _, PgConnection};

use super::{
    builders::{append, chunk, create, done, job, person, record, started_job},
    database::TestDatabase,
};
use crate::postgres_server::TestPostgres;

async fn open(url: &str) -> Result<Arc<dyn Store>, Error> {
    url.parse::<store::DatabaseUrl>().unwrap().open().await
}

/// Commits until the database is away: how many commits were acknowledged.
async fn commit_until_cut(store: &dyn Store, job: &lrs_model::job::JobRow, from: u64) -> u64 {
    for seq in from.. {
        match store.commit(&[append(job, &chunk(seq, 0, [seq])), record(job, &person(seq + 1, seq))]).await {
            Ok(_) => {}
            Err(error) => {
                assert!(error.is_transient(), "{error}");
                return seq;
            }
        }
    }
    unreachable!("the range has no end")
}

/// Tries again until the database is back.
async fn once_back<T>(mut attempt: impl AsyncFnMut() -> Result<T, Error>) -> T {
    let work = async {
        loop {
            match attempt().await {
                Ok(value) => return value,
                Err(error) => assert!(error.is_transient(), "{error}"),
            }
        }
    };
    tokio::time::timeout(Duration::from_mins(1), work).await.expect("the database comes back")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_postgres_cut_during_commits_has_all_that_was_acknowledged() {
    let server = TestPostgres::private(&[]);
    let store = open(&server.create_database().await).await.unwrap();
    let job = started_job(&*store, "x").await;
    let mut next = 0;
    for _ in 0..3 {
        let stored_before = next;
        let cutting = async {
            // Cut once a few commits are in.
            while store.telemetry(job.id, 1, stored_before + 20, 1).await.is_ok_and(|chunks| chunks.is_empty()) {}
            tokio::task::block_in_place(|| server.stop_immediate());
        };
        let (acknowledged, ()) = tokio::join!(commit_until_cut(&*store, &job, next), cutting);
        assert!(store.ping().await.is_err_and(|error| error.is_transient()));
        server.start();

        // The outcome of the last one is unknown, so it is written again.
        let unknown = [
            append(&job, &chunk(acknowledged, 0, [acknowledged])),
            record(&job, &person(acknowledged + 1, acknowledged)),
        ];
        once_back(async || store.commit(&unknown).await).await;
        next = acknowledged + 1;

        let chunks = once_back(async || store.telemetry(job.id, 1, 0, 100_000).await).await;
        let seqs: Vec<_> = chunks.iter().map(|chunk| chunk.seq).collect();
        assert_eq!(seqs, (0..next).collect::<Vec<_>>());
        let query = store::DecisionQuery { limit: 100_000, ..Default::default() };
        let decisions = store.decisions(job.id, &query).await.unwrap();
        assert_eq!(decisions.len() as u64, next);
        store.ping().await.unwrap();
    }
}

#[tokio::test]
async fn a_restarted_postgres_is_used_again() {
    let server = TestPostgres::private(&["fsync = off"]);
    let store = open(&server.create_database().await).await.unwrap();
    let (x, y) = (job("x"), job("y"));
    done(&*store, &[create(&x)]).await;

    server.restart();

    once_back(async || store.commit(&[create(&y)]).await).await;
    assert_eq!(once_back(async || store.job(&x.name).await).await, Some(x));
}

#[tokio::test]
async fn a_server_whose_session_was_cut_goes_on_if_nobody_came_meanwhile() {
    let database = TestDatabase::of("PostgreSQL").await;
    let store = database.open().await;
    let (x, y) = (job("x"), job("y"));
    done(&*store, &[create(&x)]).await;
    let before = store.epoch();

    cut_sessions(&database.address).await;

    once_back(async || store.commit(&[create(&y)]).await).await;
    assert!(store.epoch() > before, "it has taken the database again");
    store.ping().await.unwrap();
    assert_eq!(store.merge_telemetry(x.id, 1, 10, 10).await.unwrap(), 0);
}

#[tokio::test]
async fn a_server_whose_session_was_cut_is_deposed_once_another_has_come() {
    let database = TestDatabase::of("PostgreSQL").await;
    let first = database.open().await;
    let job = started_job(&*first, "x").await;
    done(&*first, &[append(&job, &chunk(0, 0, [0])), append(&job, &chunk(1, 0, [1]))]).await;
    cut_sessions(&database.address).await;

    let second = database.open().await;

    let error = once_known(async || first.commit(&[append(&job, &chunk(2, 0, [2]))]).await).await;
    assert!(matches!(error, Error::Deposed { .. }), "{error}");
    assert!(chain(&error).contains("pid "), "it names the other: {error}");
    for refused in [
        first.commit(&[]).await.map(drop).err(),
        first.ping().await.err(),
        first.merge_telemetry(job.id, 1, 10, 10).await.map(drop).err(),
        first.remove_telemetry(job.id, Timestamp(0), 1).await.map(drop).err(),
    ] {
        assert!(matches!(refused, Some(Error::Deposed { .. })), "{refused:?}");
    }
    assert_eq!(first.telemetry(job.id, 1, 0, 10).await.unwrap().len(), 2, "reads go on");

    // Its memory does not become right again when the other has gone.
    done(&*second, &[append(&job, &chunk(2, 1, [7]))]).await;
    second.close().await;
    assert!(matches!(first.commit(&[append(&job, &chunk(2, 0, [2]))]).await, Err(Error::Deposed { .. })));
    first.close().await;
    let third = database.open().await;
    assert_eq!(third.telemetry(job.id, 1, 2, 10).await.unwrap(), [chunk(2, 1, [7])]);
}

#[tokio::test]
async fn housekeeping_beside_a_new_owner_is_refused() {
    let database = TestDatabase::of("PostgreSQL").await;
    let first = database.open().await;
    let job = started_job(&*first, "x").await;
    let chunks: Vec<_> = (0..4).map(|seq| append(&job, &chunk(seq, 0, [seq]))).collect();
    done(&*first, &chunks).await;
    cut_sessions(&database.address).await;
    let second = database.open().await;

    // No commit and no ping has told the first one.
    let error = once_known(async || first.merge_telemetry(job.id, 1, 10, 10).await).await;

    assert!(matches!(error, Error::Deposed { .. }), "{error}");
    assert_eq!(second.telemetry(job.id, 1, 0, 10).await.unwrap().len(), 4);
}

#[tokio::test]
async fn a_commit_that_was_given_up_half_way_leaves_the_ownership_provable() {
    let database = TestDatabase::of("PostgreSQL").await;
    let store = database.open().await;
    let job = started_job(&*store, "x").await;
    let mut blocker = PgConnection::connect(&database.address).await.unwrap();
    let mut blocking = blocker.begin().await.unwrap();
    sqlx::query("select id from jobs for update").execute(&mut *blocking).await.unwrap();

    let batch = [append(&job, &chunk(0, 0, [0]))];
    let given_up = tokio::time::timeout(Duration::from_millis(50), store.commit(&batch)).await;
    assert!(given_up.is_err(), "it waits for the job: {given_up:?}");
    blocking.rollback().await.unwrap();

    once_back(async || store.commit(&batch).await).await;
    assert_eq!(store.telemetry(job.id, 1, 0, 10).await.unwrap(), [chunk(0, 0, [0])]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_postgres_that_comes_back_older_is_noticed() {
    let server = TestPostgres::private(&[]);
    let url = server.create_database().await;
    let store = open(&url).await.unwrap();
    let job = started_job(&*store, "x").await;
    done(&*store, &[append(&job, &chunk(0, 0, [0]))]).await;
    let backup = tokio::task::block_in_place(|| server.copy());
    once_back(async || store.commit(&[append(&job, &chunk(1, 0, [1]))]).await).await;

    tokio::task::block_in_place(|| server.restore(backup));

    let error = once_known(async || store.ping().await).await;
    assert!(matches!(error, Error::LostTail { .. }), "{error}");
    assert!(matches!(store.commit(&[append(&job, &chunk(2, 0, [2]))]).await, Err(Error::LostTail { .. })));
    store.close().await;
    let again = open(&url).await.unwrap();
    assert_eq!(again.telemetry(job.id, 1, 0, 10).await.unwrap(), [chunk(0, 0, [0])]);
    done(&*again, &[append(&job, &chunk(1, 0, [1]))]).await;
}

/// Tries until the failure is one that does not pass.
async fn once_known<T: std::fmt::Debug>(mut attempt: impl AsyncFnMut() -> Result<T, Error>) -> Error {
    let work = async {
        loop {
            match attempt().await {
                Err(error) if error.is_transient() => {}
                Err(error) => return error,
                Ok(value) => panic!("it goes on: {value:?}"),
            }
        }
    };
    tokio::time::timeout(Duration::from_mins(1), work).await.expect("the database answers")
}

/// Ends all sessions on the database but our own, as a failover or a firewall would.
async fn cut_sessions(url: &str) {
    let mut connection = PgConnection::connect(url).await.unwrap();
    sqlx::query(
        "select pg_terminate_backend(pid, 10000) from pg_stat_activity
         where datname = current_database() and pid <> pg_backend_pid()",
    )
    .execute(&mut connection)
    .await
    .unwrap();
    connection.close().await.unwrap();
}

#[tokio::test]
async fn a_postgres_that_is_away_is_reported_as_such() {
    let error = open("postgres://lrs@localhost/lrs?host=/nonexistent").await.err().unwrap();
    assert!(error.is_transient(), "{error}");
}

const WRITER: &str = "outages::a_writer_to_be_killed";

#[tokio::test]
#[ignore = "a part of a_killed_process_leaves_all_that_it_acknowledged_in_sqlite, which starts it"]
async fn a_writer_to_be_killed() {
    let mut url = String::new();
    std::io::stdin().read_line(&mut url).unwrap();
    let store = open(url.trim()).await.unwrap();
    let job = started_job(&*store, "x").await;
    for seq in 0..1_000_000 {
        done(&*store, &[append(&job, &chunk(seq, 0, [seq])), record(&job, &person(seq + 1, seq))]).await;
        println!("acknowledged {seq}");
    }
}

#[tokio::test]
async fn a_killed_process_leaves_all_that_it_acknowledged_in_sqlite() {
    let database = TestDatabase::of("SQLite").await;
    let mut writer = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", WRITER, "--ignored", "--nocapture"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    writeln!(writer.stdin.take().unwrap(), "{}", database.url).unwrap();
    let mut lines = BufReader::new(writer.stdout.take().unwrap()).lines().map(Result::unwrap);
    let acknowledged = |line: String| line.split_once("acknowledged ")?.1.parse::<u64>().ok();
    let mut last = lines.by_ref().filter_map(acknowledged).nth(50).unwrap();
    assert!(matches!(database.try_open().await, Err(Error::Taken { .. })), "the other process has it");
    writer.kill().unwrap();
    writer.wait().unwrap();
    last = lines.filter_map(acknowledged).last().unwrap_or(last);

    let store = database.open().await;

    let name = "namespaces/tests/jobs/x".parse().unwrap();
    let job = store.job(&name).await.unwrap().unwrap();
    let unknown = [append(&job, &chunk(last + 1, 0, [last + 1])), record(&job, &person(last + 2, last + 1))];
    done(&*store, &unknown).await;
    let seqs: Vec<_> = store.telemetry(job.id, 1, 0, 100_000).await.unwrap().iter().map(|chunk| chunk.seq).collect();
    assert_eq!(seqs, (0..=last + 1).collect::<Vec<_>>());
    let query = store::DecisionQuery { limit: 100_000, ..Default::default() };
    assert_eq!(store.decisions(job.id, &query).await.unwrap().len(), seqs.len());
}
