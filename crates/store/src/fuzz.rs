//! The decoders of rows, for fuzzing: each function panics if a decoder breaks a promise.

use uuid::Uuid;

use super::{
    Chunk, DecisionRow, Error,
    columns::Columns,
    rows::{decision::StoredDecision, job::StoredJob},
    stores::sqlite,
};
use lrs_model::{job::JobRow, name::JobId, telemetry::Sample};

fn check_error(error: &Error, table: &str) {
    match error {
        Error::Inconsistent { table: named, id, problem } => {
            assert!(*named == table && !id.is_empty() && !problem.to_string().is_empty(), "{error}");
        }
        other => panic!("a damaged row is reported as {other}"),
    }
}

/// Samples come back from the columns they are stored in.
pub fn round_trip(samples: &[Sample]) {
    let columns =
        Columns::of(samples).unwrap_or_else(|problem| panic!("samples that were taken are refused: {problem}"));
    let again =
        columns.into_samples().unwrap_or_else(|problem| panic!("columns that were written are refused: {problem}"));
    assert_eq!(again, samples);
}

/// A job with these columns.
pub fn job(text: &str) {
    let mut lines = text.lines();
    let mut next = || lines.next().unwrap_or_default().to_owned();
    let stored = StoredJob {
        id: Uuid::nil(),
        name: "namespaces/a/jobs/b".to_owned(),
        initial_spec: next(),
        spec: next(),
        state: next(),
        state_reason: String::new(),
        state_author: String::new(),
        version: 1,
        request_id: None,
        forked_from: Some(next()).filter(|point| !point.is_empty()),
        create_time: 0,
        update_time: i64::MIN,
        end_time: None,
        telemetry_removed_time: Some(i64::MAX),
    };
    match JobRow::try_from(stored) {
        Err(error) => check_error(&error, "jobs"),
        Ok(row) => {
            let stored =
                StoredJob::try_from(&row).unwrap_or_else(|error| panic!("the row cannot be stored again: {error}"));
            let again =
                JobRow::try_from(stored).unwrap_or_else(|error| panic!("the row cannot be read again: {error}"));
            assert_eq!(again, row);
        }
    }
}

/// A decision with these columns.
pub fn decision(text: &str) {
    let mut lines = text.lines();
    let mut next = || lines.next().unwrap_or_default().to_owned();
    let stored = StoredDecision {
        position: 1,
        id: next(),
        attempt: 1,
        step: 2,
        effective_step: 3,
        author_kind: next(),
        author: "x".to_owned(),
        reason: String::new(),
        evidence: next(),
        effect: next(),
        request_id: None,
        create_time: 4,
    };
    match DecisionRow::try_from((JobId(Uuid::nil()), stored)) {
        Err(error) => check_error(&error, "decisions"),
        Ok(row) => {
            let stored = StoredDecision::try_from((&row.decision, None))
                .unwrap_or_else(|error| panic!("the row cannot be stored again: {error}"));
            let again = DecisionRow::try_from((JobId(Uuid::nil()), stored))
                .unwrap_or_else(|error| panic!("the row cannot be read again: {error}"));
            // As text, so that a NaN in the evidence equals itself.
            assert_eq!(format!("{:?}", again.decision), format!("{:?}", row.decision));
        }
    }
}

/// A chunk as SQLite stores it.
pub fn chunk(data: &[u8]) {
    let mut rest = data;
    let mut next = || {
        let (&length, after) = rest.split_first()?;
        let (column, after) = after.split_at_checked(usize::from(length)).unwrap_or((after, &[]));
        rest = after;
        Some(column.to_vec())
    };
    let columns: [Option<Vec<u8>>; 8] = std::array::from_fn(|_| next());
    match sqlite::fuzz_chunk(JobId(Uuid::nil()), columns) {
        Err(error) => check_error(&error, "telemetry"),
        Ok(Chunk { samples, .. }) => {
            assert!(samples.is_sorted_by(|a, b| a.step < b.step));
            if samples.iter().all(|sample| sample.step <= lrs_model::MAX_STEP) {
                round_trip(&samples);
            }
        }
    }
}
