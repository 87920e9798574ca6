//! Texts that operators write: configuration, addresses of databases, lengths of time, files of telemetry.

use super::input::{check_violations, text};
use crate::{
    cli::telemetry,
    config::{self, Config, Options, RetentionTerms, duration},
};
use lrs_runtime::error::chain;
use lrs_store::DatabaseUrl;

pub(super) fn config_file(data: &[u8]) {
    let Some(text) = text(data) else { return };
    match config::options_of_file(text) {
        Err(problems) => assert!(!problems.is_empty()),
        // The default database depends on the user.
        Ok(options) => match Config::checked(Options {
            database_url: options.database_url.clone().or(Some("sqlite://lrs.db".into())),
            ..options
        }) {
            Ok(config) => assert!(config.engine.shards > 0 && config.engine.batch_items > 0),
            Err(config::Error::Invalid(violations)) => {
                assert!(!violations.is_empty());
                check_violations(&violations);
            }
            Err(other) => panic!("a configuration fails otherwise than by being wrong: {other}"),
        },
    }
}

/// The first line is the password, the second what it stands in.
pub(super) fn database_url(data: &[u8]) {
    let Some(text) = text(data) else { return };
    let (password, url) = text.split_once('\n').unwrap_or(("", text));
    let shown = match url.parse::<DatabaseUrl>() {
        Ok(parsed) => parsed.to_string(),
        Err(problem) => chain(&problem),
    };
    // A password with the characters that set the parts apart has to be escaped; then it is one of these.
    let is_plain = password.len() >= 6 && password.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let place = format!("postgres://user:{password}@host/database");
    if is_plain && !shown.is_empty() && url == place {
        assert!(!shown.contains(password), "{shown}");
    }
}

pub(super) fn lengths(data: &[u8]) {
    let Some(text) = text(data) else { return };
    match text.parse::<duration::Length>() {
        Ok(length) => {
            let shown = duration::show(&length.0);
            assert_eq!(shown.parse(), Ok(length), "{text:?} is shown as {shown:?}");
        }
        Err(problem) => assert!(problem.contains("must be")),
    }
    if let Err(problem) = text.parse::<RetentionTerms>() {
        assert!(!problem.is_empty());
    }
}

pub(super) fn telemetry_file(data: &[u8]) {
    let Some(text) = text(data) else { return };
    let samples = match telemetry::parse("fuzz.csv", text) {
        Ok(samples) => samples,
        Err(failure) => return assert!(!failure.message.is_empty()),
    };
    let written = telemetry::to_jsonl(&samples).unwrap_or_else(|failure| panic!("{failure}"));
    if !samples.is_empty() {
        let again = telemetry::parse("fuzz.jsonl", &written).unwrap_or_else(|failure| panic!("{failure}"));
        assert_eq!(again, samples, "over JSON lines");
    }
}
