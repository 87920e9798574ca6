//! What fuzzers feed: every decoder of outside bytes, as a function of bytes that panics on a broken promise.
//!
//! The promises: no input panics or takes long; what is wrong is named by field; what is accepted survives a round trip, and
//! computes finite rates. `scripts/fuzz.sh` feeds them under libFuzzer, the smoke test below with the kept corpus.

mod files;
mod requests;
mod rows;
#[cfg(test)]
mod smoke;
mod specs;

use lrs_model::violation::Violations;

/// A decoder.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name, and that of its corpus's directory.
    pub name: &'static str,
    /// Takes an input; panics if a promise does not hold.
    pub run: fn(&[u8]),
}

/// Every decoder of outside bytes.
pub const TARGETS: &[Target] = &[
    Target { name: "job_spec", run: specs::job_spec },
    Target { name: "job_spec_json", run: specs::job_spec_json },
    Target { name: "job_file", run: specs::job_file },
    Target { name: "schedule", run: specs::schedule },
    Target { name: "controller", run: specs::controller },
    Target { name: "library_call", run: specs::library_call },
    Target { name: "telemetry", run: requests::telemetry },
    Target { name: "page_token", run: requests::page_token },
    Target { name: "filter", run: requests::filter },
    Target { name: "config_file", run: files::config_file },
    Target { name: "database_url", run: files::database_url },
    Target { name: "lengths", run: files::lengths },
    Target { name: "telemetry_file", run: files::telemetry_file },
    Target { name: "stored_job", run: rows::stored_job },
    Target { name: "stored_decision", run: rows::stored_decision },
    Target { name: "stored_chunk", run: rows::stored_chunk },
    Target { name: "stored_snapshot", run: rows::stored_snapshot },
];

/// Whoever reads what is wrong finds a field and a reason.
fn check_violations(violations: &Violations) {
    for violation in violations.iter() {
        assert!(!violation.field.is_empty(), "no field is named: {violation:?}");
        assert!(!violation.description.is_empty(), "{} is refused without a reason", violation.field);
    }
}

/// The input as text, if it is one.
fn text(data: &[u8]) -> Option<&str> {
    std::str::from_utf8(data).ok()
}
