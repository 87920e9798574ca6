//! What SQLite's errors mean.

use sqlx::error::DatabaseError;

use crate::dialect::Nature;

/// What an error means for whoever asked, by the low byte of its code: <https://www.sqlite.org/rescode.html>.
pub(super) fn nature(error: &dyn DatabaseError) -> Nature {
    let code = error.code().and_then(|code| code.parse::<i32>().ok());
    match code.map(|code| code & 0xff) {
        // BUSY, LOCKED, INTERRUPT: another program has the file locked.
        Some(5 | 6 | 9) => Nature::Busy,
        // NOMEM, READONLY, IOERR, FULL, CANTOPEN, PROTOCOL: the disk is full, failing or away.
        Some(7 | 8 | 10 | 13 | 14 | 15) => Nature::Away,
        // PERM, AUTH.
        Some(3 | 23) => Nature::Denial,
        _ => Nature::Refusal,
    }
}

/// Whether a commit that failed with this error has left nothing, for certain. The write-ahead log has the end of a
/// transaction last, so a disk that is full cannot have it; one that fails (IOERR) may.
pub(super) fn is_undone(error: &dyn DatabaseError) -> bool {
    let code = error.code().and_then(|code| code.parse::<i32>().ok());
    code.is_some_and(|code| code & 0xff != 10)
}

/// What to tell people of an error that passes, where SQLite's own words do not say enough.
pub(super) fn in_words(error: &dyn DatabaseError) -> Option<&'static str> {
    (nature(error) == Nature::Busy).then_some("another program has the file locked")
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

        let of = |error: &sqlx::Error| nature(error.as_database_error().unwrap());
        assert!(full.to_string().contains("full") && of(&full) == Nature::Away, "{full}");
        assert_eq!(of(&violated), Nature::Refusal, "{violated}");
    }

    #[tokio::test]
    async fn a_file_that_somebody_has_locked_is_busy() {
        let directory = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}?mode=rwc", directory.path().join("x.db").display());
        let (mut first, mut second) =
            (SqliteConnection::connect(&url).await.unwrap(), SqliteConnection::connect(&url).await.unwrap());
        first.execute("begin exclusive").await.unwrap();

        let busy = second.execute("pragma busy_timeout = 1; begin immediate").await.unwrap_err();

        assert_eq!(nature(busy.as_database_error().unwrap()), Nature::Busy, "{busy}");
    }
}
