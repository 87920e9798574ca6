//! Sessions with the server.

use std::time::Duration;

use futures::TryFutureExt as _;
use sqlx::{ConnectOptions as _, PgConnection, postgres::PgConnectOptions};

use crate::failure::{Failure, bounded};

/// How long to wait for a connection: callers learn within it that the database is away.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Settings of a session that keep a lost peer, on either side, from holding anything for long.
pub(super) fn with_bounds(options: PgConnectOptions) -> PgConnectOptions {
    options.options([
        ("statement_timeout", "30s"),
        ("lock_timeout", "10s"),
        ("idle_in_transaction_session_timeout", "30s"),
        ("tcp_keepalives_idle", "10"),
        ("tcp_keepalives_interval", "5"),
        ("tcp_keepalives_count", "3"),
    ])
}

pub(super) async fn connect(options: &PgConnectOptions) -> Result<PgConnection, Failure> {
    bounded(CONNECT_TIMEOUT, options.connect().map_err(Failure::from)).await
}
