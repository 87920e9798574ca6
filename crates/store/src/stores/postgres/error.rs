//! What PostgreSQL's errors mean, by their SQLSTATE.

use sqlx::error::DatabaseError;

use crate::{dialect::Nature, failure::Failure};

/// What an error means for whoever asked.
pub(super) fn nature(error: &dyn DatabaseError) -> Nature {
    error.code().map_or(Nature::Refusal, |code| nature_of(&code))
}

fn nature_of(code: &str) -> Nature {
    let class = code.get(..2).unwrap_or_default();
    match (class, code) {
        // A lock that was not free in time; transactions that ran into one another; a statement, or a whole
        // transaction, that took too long or was cancelled; an object in use.
        (_, "55P03" | "40001" | "40P01" | "57014" | "25P04" | "55006") => Nature::Busy,
        // No password, or a wrong one; no such database, schema, or role; a right that is missing.
        ("28", _) | (_, "3D000" | "3F000" | "42501") => Nature::Denial,
        // Connections; resources; the operator's doing, such as a restart; the system around the server; a session
        // that was idle in a transaction for too long; a server, or a session, that can only be read.
        ("08" | "53" | "57" | "58", _) | (_, "25P03" | "25006") => Nature::Away,
        // Tables, columns, types or functions that are not there; statements prepared for others, or by another session
        // behind a pooler.
        ("42" | "26", _) | (_, "0A000") => Nature::Disorder,
        _ => Nature::Refusal,
    }
}

/// Whether a commit that failed with this error has left nothing, for certain: the server says so, and is not about to
/// end.
pub(super) fn is_undone(error: &dyn DatabaseError) -> bool {
    error.code().is_some_and(|code| !code.starts_with("08") && !code.starts_with("57P"))
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

/// What to tell people of an error that passes, where PostgreSQL's own words do not say enough.
pub(super) fn in_words(error: &dyn DatabaseError) -> Option<&'static str> {
    Some(match &*error.code()? {
        "55P03" => "another session holds a lock on a table or row that is needed",
        "40001" => "another transaction changed the same rows at the same time",
        "40P01" => "a deadlock with another transaction",
        "57014" => "a statement took too long, or somebody cancelled it",
        "25006" => "the session can only read: the server is a standby, or default_transaction_read_only is on",
        "53300" => "the server has no connection free",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_database_is_not_away_and_a_wrong_password_is_neither() {
        for (code, nature) in [
            ("08006", Nature::Away),
            ("25006", Nature::Away),
            ("53100", Nature::Away),
            ("53300", Nature::Away),
            ("57P01", Nature::Away),
            ("57P03", Nature::Away),
            ("58030", Nature::Away),
            ("40001", Nature::Busy),
            ("55P03", Nature::Busy),
            ("57014", Nature::Busy),
            ("28P01", Nature::Denial),
            ("3D000", Nature::Denial),
            ("42501", Nature::Denial),
            ("23505", Nature::Refusal),
            ("22003", Nature::Refusal),
            ("42P01", Nature::Disorder),
            ("26000", Nature::Disorder),
            ("XX001", Nature::Refusal),
            ("", Nature::Refusal),
        ] {
            assert_eq!(nature_of(code), nature, "{code}");
        }
    }
}
