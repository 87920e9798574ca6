//! What others do to sessions of PostgreSQL, and to tables, while a store is open.

use lrs_runtime::error::chain;
use lrs_store::Error;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};

use super::{
    builders::{create, done, job},
    database::TestDatabase,
};

async fn execute(address: &str, sql: &str) {
    let mut connection = PgConnection::connect(address).await.unwrap();
    connection.execute(AssertSqlSafe(sql.to_owned())).await.unwrap();
    connection.close().await.unwrap();
}

/// Ends all sessions on the database but our own, so that new ones take new settings.
const CUT: &str = "select pg_terminate_backend(pid, 10000) from pg_stat_activity
    where datname = current_database() and pid <> pg_backend_pid()";

fn alter(address: &str, what: &str) -> String {
    format!("alter database {} {what}", address.split(['/', '?']).nth(3).unwrap())
}

#[tokio::test]
async fn a_session_that_began_while_the_database_could_only_be_read_is_not_used_again() {
    let database = TestDatabase::of("PostgreSQL").await;
    let store = database.open().await;
    let (x, y) = (job("x"), job("y"));
    done(&*store, &[create(&x)]).await;
    execute(&database.address, &alter(&database.address, "set default_transaction_read_only = on")).await;
    execute(&database.address, CUT).await;

    let read_only = |error: Error| assert!(error.is_transient() && chain(&error).contains("read"), "{error:?}");
    // The first call of each kind may only find that its session is gone.
    let _ = (store.ping().await, store.commit(&[create(&y)]).await);
    read_only(store.ping().await.unwrap_err());
    read_only(store.commit(&[create(&y)]).await.unwrap_err());
    assert_eq!(store.job(&x.name).await.unwrap(), Some(x.clone()), "reads go on");
    // From another database, where a session may write.
    let admin = database.address.replace(database.address.split(['/', '?']).nth(3).unwrap(), "postgres");
    execute(&admin, &alter(&database.address, "reset default_transaction_read_only")).await;

    store.ping().await.unwrap();
    done(&*store, &[create(&y)]).await;
    store.merge_telemetry(x.id, 1, 10, 10).await.unwrap();
}

#[tokio::test]
async fn a_search_path_that_is_changed_meanwhile_changes_nothing() {
    let database = TestDatabase::of("PostgreSQL").await;
    let store = database.open().await;
    let (x, y) = (job("x"), job("y"));
    done(&*store, &[create(&x)]).await;
    execute(&database.address, &alter(&database.address, "set search_path = nowhere")).await;
    execute(&database.address, CUT).await;

    let _ = (store.ping().await, store.commit(&[create(&y)]).await);

    store.ping().await.unwrap();
    done(&*store, &[create(&y)]).await;
    assert_eq!(store.job(&x.name).await.unwrap(), Some(x));
}

#[tokio::test]
async fn a_password_or_a_right_that_is_taken_away_counts_as_an_outage() {
    let database = TestDatabase::of("PostgreSQL").await;
    database.url.migrate().await.unwrap();
    execute(
        &database.address,
        "create role clerk login; grant select, insert, update, delete on all tables in schema public to clerk;
         grant usage on all sequences in schema public to clerk",
    )
    .await;
    let url: lrs_store::DatabaseUrl = database.address.replace("lrs@", "clerk@").parse().unwrap();
    let store = url.open().await.unwrap();
    let (x, y) = (job("x"), job("y"));
    done(&*store, &[create(&x)]).await;

    execute(&database.address, "revoke insert, select on jobs from clerk").await;
    let refused = [store.commit(&[create(&y)]).await.err(), store.job(&x.name).await.err()];
    for error in refused.map(Option::unwrap) {
        assert!(error.is_transient() && chain(&error).contains("permission denied"), "{error:?}");
    }
    execute(&database.address, "alter role clerk nologin").await;
    execute(&database.address, CUT).await;
    let _ = store.commit(&[create(&y)]).await;
    assert!(store.commit(&[create(&y)]).await.unwrap_err().is_transient());

    execute(&database.address, "alter role clerk login; grant insert, select on jobs to clerk").await;
    done(&*store, &[create(&y)]).await;
    store.close().await;
    execute(&database.address, "drop owned by clerk; drop role clerk").await;
}

#[tokio::test]
async fn a_lock_that_another_session_holds_makes_the_database_busy_and_not_away() {
    let database = TestDatabase::of("PostgreSQL").await;
    let store = database.open().await;
    let (x, y) = (job("x"), job("y"));
    done(&*store, &[create(&x)]).await;
    let mut other = PgConnection::connect(&database.address).await.unwrap();
    other.execute("begin; lock table jobs in access exclusive mode").await.unwrap();

    let batch = [create(&y)];
    let (read, written) = tokio::join!(store.job(&x.name), store.commit(&batch));

    for error in [read.err(), written.err()].map(Option::unwrap) {
        assert!(matches!(error, Error::Busy(_)), "{error:?}");
        assert!(chain(&error).contains("another session holds a lock"), "{error:?}");
    }
    store.ping().await.unwrap();
    other.execute("rollback").await.unwrap();
    done(&*store, &[create(&y)]).await;
}

#[tokio::test]
async fn a_statement_that_is_cancelled_makes_the_database_busy() {
    let database = TestDatabase::of("PostgreSQL").await;
    let store = database.open().await;
    let x = job("x");
    let mut other = PgConnection::connect(&database.address).await.unwrap();
    other.execute("begin; lock table jobs in access exclusive mode").await.unwrap();
    let mut third = PgConnection::connect(&database.address).await.unwrap();
    let cancel = "select count(pg_cancel_backend(pid)) from pg_locks join pg_database on database = pg_database.oid
        where datname = current_database() and not granted";
    let cancelling = async {
        let cancelled = async || sqlx::query_scalar::<_, i64>(cancel).fetch_one(&mut third).await.unwrap() > 0;
        tokio::time::timeout(std::time::Duration::from_secs(30), until(cancelled)).await.unwrap();
    };

    let (read, ()) = tokio::join!(store.job(&x.name), cancelling);

    assert!(matches!(read, Err(Error::Busy(_))), "{read:?}");
    store.ping().await.unwrap();
}

async fn until(mut is_done: impl AsyncFnMut() -> bool) {
    while !is_done().await {}
}

pub async fn what_is_withdrawn_at_the_last_moment_is_not_written(database: &TestDatabase) {
    let store = database.open().await;
    let (x, y) = (job("x"), job("y"));

    let asked = std::sync::atomic::AtomicU32::new(0);
    let refuse = || {
        asked.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        false
    };
    let withdrawn = store.commit_if(&[create(&x)], &refuse).await;

    assert!(matches!(withdrawn, Err(Error::Withdrawn)), "{withdrawn:?}");
    assert_eq!(asked.into_inner(), 1);
    assert_eq!(store.job(&x.name).await.unwrap(), None);
    done(&*store, &[create(&y)]).await;
    assert_eq!(store.job(&y.name).await.unwrap(), Some(y));
}

/// Has every commit that inserts a job take long.
const SLOW_COMMITS: &str = "
    create function be_slow() returns trigger language plpgsql as $$ begin perform pg_sleep(60); return null; end $$;
    create constraint trigger slow after insert on jobs deferrable initially deferred
        for each row execute function be_slow()";

#[tokio::test]
async fn a_commit_that_is_cut_has_an_unknown_outcome_until_the_next_one_finds_out() {
    let database = TestDatabase::of("PostgreSQL").await;
    let store = database.open().await;
    let (x, y) = (job("x"), job("y"));
    done(&*store, &[create(&x)]).await;
    execute(&database.address, SLOW_COMMITS).await;
    let mut other = PgConnection::connect(&database.address).await.unwrap();
    let cut = "select count(pg_terminate_backend(pid)) from pg_stat_activity
        where datname = current_database() and pid <> pg_backend_pid() and query ilike 'commit%' and state = 'active'";
    let cutting = async {
        let is_cut = async || sqlx::query_scalar::<_, i64>(cut).fetch_one(&mut other).await.unwrap() > 0;
        tokio::time::timeout(std::time::Duration::from_secs(30), until(is_cut)).await.unwrap();
    };

    let batch = [create(&y)];
    let (written, ()) = tokio::join!(store.commit(&batch), cutting);
    assert!(matches!(written, Err(Error::OutcomeUnknown(_))), "{written:?}");
    execute(&database.address, "drop trigger slow on jobs").await;

    let found = store.commit(&batch).await;
    assert!(matches!(found, Err(Error::Undone)), "{found:?}");
    assert_eq!(store.job(&y.name).await.unwrap(), None);
    done(&*store, &batch).await;
    assert_eq!(store.job(&y.name).await.unwrap(), Some(y));
}
