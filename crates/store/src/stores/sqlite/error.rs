//! Which of SQLite's errors pass by themselves.

use sqlx::error::DatabaseError;

/// Whether the same statement may succeed later: the file is busy, or the disk is full, failing or away.
///
/// The low byte of <https://www.sqlite.org/rescode.html>: BUSY, LOCKED, NOMEM, READONLY, INTERRUPT, IOERR, FULL,
/// CANTOPEN, PROTOCOL.
pub(super) fn is_transient(error: &dyn DatabaseError) -> bool {
    let code = error.code().and_then(|code| code.parse::<i32>().ok());
    code.is_some_and(|code| matches!(code & 0xff, 5 | 6 | 7 | 8 | 9 | 10 | 13 | 14 | 15))
}

#[cfg(test)]
mod tests {
    use sqlx::{Connection as _, Executor as _, SqliteConnection};

    use super::*;

    #[tokio::test]
    async fn a_full_disk_passes_and_a_violated_constraint_does_not() {
        let mut connection = SqliteConnection::connect("sqlite::memory:").await.unwrap();
        connection.execute("create table blobs (bytes blob not null); pragma max_page_count = 10").await.unwrap();

        let full = connection.execute("insert into blobs (bytes) values (zeroblob(1000000))").await.unwrap_err();
        let violated = connection.execute("insert into blobs (bytes) values (null)").await.unwrap_err();

        assert!(full.to_string().contains("full") && is_transient(full.as_database_error().unwrap()), "{full}");
        assert!(!is_transient(violated.as_database_error().unwrap()), "{violated}");
    }
}
