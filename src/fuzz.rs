//! Fuzz targets: each decoder of bytes from outside, as a function of bytes that panics on a broken promise.
//!
//! The promises: no input panics or takes long; a refused input names the wrong field; an accepted input survives a
//! round trip and gives finite rates. `scripts/fuzz.sh` runs the targets under libFuzzer, the smoke test with the kept
//! corpus.

mod files;
mod input;
mod requests;
mod rows;
#[cfg(test)]
mod smoke;
mod specs;

/// A fuzz target: a decoder.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// The name of the target and of the directory of its corpus.
    pub name: &'static str,
    /// Decodes an input, and panics if a promise does not hold.
    pub run: fn(&[u8]),
}

/// Every decoder of bytes from outside.
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
