//! The parts of calls that are not specs.

use prost::Message as _;

use super::input::{check_violations, text};
use crate::rpc::{convert, filter as grammar, page_token as tokens};
use lrs_model::{MAX_STEP, violation::Violations};
use lrs_proto as proto;
use lrs_store as store;

pub(super) fn telemetry(data: &[u8]) {
    let Ok(message) = proto::StreamTelemetryRequest::decode(data) else { return };
    let mut violations = Violations::new();
    let report = convert::telemetry::from_proto(message, &mut violations);
    check_violations(&violations);
    if !violations.is_empty() {
        return;
    }
    assert!(report.samples.is_sorted_by(|a, b| a.step < b.step), "steps rise");
    assert!(report.samples.iter().all(|sample| sample.step <= MAX_STEP));
    store::fuzz::round_trip(&report.samples);
}

pub(super) fn page_token(data: &[u8]) {
    let Some(token) = text(data) else { return };
    let mut violations = Violations::new();
    let cursor: Option<(String, u64)> = tokens::read(&mut violations, token, &"query");
    check_violations(&violations);
    assert!(violations.is_empty() || cursor.is_none(), "what is refused leads nowhere");
    // Whatever is in a cursor comes back.
    let cursor = (token.to_owned(), u64::try_from(data.len()).unwrap_or(0));
    let written = tokens::write(&"query", &cursor);
    let mut violations = Violations::new();
    if written.len() <= 2048 {
        assert_eq!(tokens::read::<(String, u64)>(&mut violations, &written, &"query"), Some(cursor));
    }
}

pub(super) fn filter(data: &[u8]) {
    let Some(text) = text(data) else { return };
    for problem in [grammar::parse(text).err(), grammar::parse_order(text).err()].into_iter().flatten() {
        assert!(!problem.is_empty(), "{text:?} is refused without a reason");
    }
}
