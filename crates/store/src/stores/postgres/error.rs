//! Which of PostgreSQL's errors pass by themselves.

use sqlx::error::DatabaseError;

use crate::failure::Failure;

/// Whether the same statement may succeed later: the server is away, full, busy, or not a primary now.
pub(super) fn is_transient(error: &dyn DatabaseError) -> bool {
    let Some(code) = error.code() else { return false };
    // By class: connections, resources, the operator's doing (shutdown, timeouts), the system around the server.
    let classes = ["08", "53", "57", "58"];
    // Idle in a transaction for too long; on a standby; deadlocks and the like; a lock that was not free in time.
    let codes = ["25P03", "25006", "40001", "40P01", "55P03"];
    classes.iter().any(|class| code.starts_with(class)) || codes.contains(&&*code)
}

/// Whether a transaction ran into another one, and can just be run again.
pub(super) fn is_conflict(failure: &Failure) -> bool {
    has_code(failure, &["40001", "40P01"])
}

/// Whether a lock was not free in time.
pub(super) fn is_lock_timeout(failure: &Failure) -> bool {
    has_code(failure, &["55P03"])
}

fn has_code(failure: &Failure, codes: &[&str]) -> bool {
    let Failure::Sql(sqlx::Error::Database(error)) = failure else { return false };
    error.code().is_some_and(|code| codes.contains(&&*code))
}
