//! Sessions with the server.
//!
//! A session keeps the settings that its role and its database had when it began. So what matters here is set for each
//! session, and a session that can only read is not used again: the next one may be able to write.

use std::time::Duration;

use futures::TryFutureExt as _;
use sqlx::{
    ConnectOptions as _, PgConnection, PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};

use crate::failure::{Failure, bounded};

/// How long to wait for a connection: callers learn within it that the database is away.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Connections for reads.
const READERS: u32 = 8;

/// Settings of a session that keep a lost peer, on either side, from holding anything for long.
pub(super) fn with_bounds(options: PgConnectOptions) -> PgConnectOptions {
    options.options([
        ("statement_timeout", "30s"),
        // Short, because whoever asks tries again for as long as its caller waits, and knows then what is in the way.
        ("lock_timeout", "500ms"),
        ("idle_in_transaction_session_timeout", "30s"),
        ("tcp_keepalives_idle", "10"),
        ("tcp_keepalives_interval", "5"),
        ("tcp_keepalives_count", "3"),
    ])
}

/// Sessions that all look for tables where a session looks now, even if its role or database is told otherwise later.
pub(super) async fn with_search_path(options: PgConnectOptions) -> Result<PgConnectOptions, Failure> {
    const SEARCH_PATH: &str = "
        -- search_path
        select current_setting('search_path')";
    let mut connection = connect(&options).await?;
    let path: String =
        bounded(CONNECT_TIMEOUT, async { Ok(sqlx::query_scalar(SEARCH_PATH).fetch_one(&mut connection).await?) })
            .await?;
    Ok(options.options([("search_path", path)]))
}

/// A session that lives as long as it is wanted.
pub(super) async fn connect(options: &PgConnectOptions) -> Result<PgConnection, Failure> {
    let work = async {
        let mut connection = options.connect().map_err(Failure::from).await?;
        keep_alive(&mut connection).await?;
        Ok(connection)
    };
    bounded(CONNECT_TIMEOUT, work).await
}

/// The sessions for reads and housekeeping, which are opened when they are needed.
pub(super) fn readers(options: PgConnectOptions) -> PgPool {
    let pool = PgPoolOptions::new()
        .max_connections(READERS)
        .acquire_timeout(CONNECT_TIMEOUT)
        .after_connect(|connection, _| Box::pin(keep_alive(connection)))
        // In place of the usual test, which only sees whether the session answers.
        .test_before_acquire(false)
        .before_acquire(|connection, _| Box::pin(async { Ok(is_read_only(connection).await.is_ok_and(|only| !only)) }));
    pool.connect_lazy_with(options)
}

/// Whether a session can only read: the server is a standby, or the session's role or database had
/// `default_transaction_read_only` when it began.
pub(super) async fn is_read_only(connection: &mut PgConnection) -> sqlx::Result<bool> {
    const IS_READ_ONLY: &str = "
        -- is_read_only
        select pg_is_in_recovery() or current_setting('transaction_read_only') = 'on'";
    sqlx::query_scalar(IS_READ_ONLY).fetch_one(connection).await
}

/// Takes back what the server may have been told to do to sessions that do nothing, or to long transactions: ours are
/// bounded by the statement. Older servers do not know some of these settings.
async fn keep_alive(connection: &mut PgConnection) -> sqlx::Result<()> {
    const KEEP_ALIVE: &str = "
        -- keep_alive
        select set_config(name, '0', false) from pg_settings
        where name in ('idle_session_timeout', 'transaction_timeout') and setting <> '0'";
    sqlx::query(KEEP_ALIVE).execute(connection).await.map(drop)
}
