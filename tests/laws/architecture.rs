//! The house of the design: which room may use which, checked on every source file and every manifest.
//!
//! The compiler holds most edges, because the rooms below the server are crates: a crate cannot use what its
//! `Cargo.toml` does not name. These tests hold the rest: what a `Cargo.toml` may name, what a module of the root
//! package may use, that pure code asks neither the clock nor the platform, and that no two files use each other.

mod circles;
mod judge;
mod manifests;
mod references;
mod rooms;

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use circles::circles;
use judge::violations;

const MOST_LINES_OF_MAIN: usize = 100;

/// The repository's root.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every Rust file of `src/` and `crates/*/src/`, as a path from the repository's root, with its text.
fn sources() -> io::Result<Vec<(PathBuf, String)>> {
    let mut folders = vec![root().join("src")];
    for entry in fs::read_dir(root().join("crates"))? {
        folders.push(entry?.path().join("src"));
    }
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path)?;
                found.push((path.strip_prefix(root()).map_err(io::Error::other)?.to_owned(), text));
            }
        }
    }
    found.sort();
    Ok(found)
}

fn check(file: &str, source: &str) -> Vec<String> {
    violations(Path::new(file), source)
}

#[test]
fn no_room_uses_what_it_must_not() {
    let sources = sources().unwrap();
    for file in ["src/rpc/status.rs", "crates/model/src/job.rs"] {
        assert!(sources.iter().any(|(source, _)| source == Path::new(file)), "{file} was not found");
    }

    let found: Vec<String> = sources.iter().flat_map(|(file, text)| violations(file, text)).collect();

    assert!(found.is_empty(), "forbidden edges:\n{}", found.join("\n"));
}

#[test]
fn a_crate_depends_on_nothing_above_it() {
    let found = manifests::violations(root()).unwrap();

    assert!(found.is_empty(), "forbidden dependencies:\n{}", found.join("\n"));
}

#[test]
fn no_two_files_use_each_other() {
    let found = circles(&sources().unwrap());

    assert!(found.is_empty(), "{} circles between files:\n{}", found.len(), found.join("\n"));
}

#[test]
fn main_only_hands_over() {
    let lines = fs::read_to_string(root().join("src/main.rs")).unwrap().lines().count();

    assert!(lines < MOST_LINES_OF_MAIN, "src/main.rs has {lines} lines");
}

#[test]
fn an_import_of_a_forbidden_room_is_named_with_file_line_and_edge() {
    let found = check("src/rpc/job_service.rs", "//! Jobs.\n\nuse lrs_store::Store;\n");

    assert_eq!(found, ["src/rpc/job_service.rs:3: lrs::rpc must not use lrs_store"]);
}

#[test]
fn forbidden_references_are_found_however_they_are_written() {
    let planted = [
        ("src/rpc/convert.rs", "use lrs_schedule::Curve;"),
        ("src/rpc/convert.rs", "use {lrs_model::name::JobName, lrs_store::{Chunk, Store as S}};"),
        ("src/rpc/convert.rs", "use ::lrs_control as control;"),
        ("src/rpc/convert.rs", "pub use crate::*;"),
        ("src/rpc/convert/spec.rs", "use super::super::super::http::fleet;"),
        ("src/rpc/convert/spec.rs", "mod tests { use sqlx::Row; }"),
        ("src/rpc/status.rs", "type Row = Vec<sqlx::postgres::PgRow>;"),
        ("src/http/json.rs", "fn f(pool: &sqlx::PgPool) {}"),
        ("src/http/json.rs", "async fn run() { tokio::select! { _ = lrs_store::wait() => {} } }"),
        ("src/http/json.rs", "#[derive(sqlx::FromRow)] struct Row;"),
        ("src/shutdown.rs", "use lrs::rpc::door;"),
        ("src/cli/migrate.rs", "use lrs_store::{self, postgres::Postgres};"),
        ("src/attic.rs", "fn f() {}"),
        ("crates/schedule/src/ease.rs", "fn now() { let _ = std::time::SystemTime::now(); }"),
        ("crates/schedule/src/ease.rs", "use std::time::*;"),
        ("crates/control/src/plateau.rs", "use std::{fmt, time::{Duration, Instant}};"),
        ("crates/audit/src/lib.rs", "use std::thread::spawn;"),
        ("crates/model/src/job.rs", "fn f() { std::fs::read(\"clock\"); }"),
        ("crates/stats/src/cpu.rs", "use std::env::var;"),
        ("crates/engine/src/job.rs", "use tokio::sync::watch;"),
        ("crates/engine/src/job/observe.rs", "fn f() { tracing::info!(\"seen\") }"),
        ("crates/engine/src/job.rs", "use lrs_store::Chunk;"),
        ("crates/engine/src/job.rs", "use super::shard::Shard;"),
    ];
    for (file, source) in planted {
        assert!(!check(file, source).is_empty(), "not caught in {file}: {source}");
    }
}

#[test]
fn functions_whose_bits_depend_on_the_platform_are_found() {
    for source in [
        "fn f(x: f64) -> f64 { (x * 2.0).cos() }",
        "fn f(x: f64) -> f64 { f64::powf(x, 0.5) }",
        "fn f(x: f64) { assert!(x.exp() > 1.0); }",
        "fn f(x: Option<f64>) -> Option<f64> { x.map(f64::ln) }",
    ] {
        for file in ["schedule/src/shape.rs", "control/src/plateau.rs", "stats/src/cpu.rs", "engine/src/job.rs"] {
            assert_eq!(check(&format!("crates/{file}"), source).len(), 1, "in {file}: {source}");
        }
    }
}

#[test]
fn what_a_room_may_use_is_let_through() {
    let allowed = [
        ("crates/model/src/job.rs", "use std::time::Duration; use super::name::JobName; use uuid::Uuid;"),
        (
            "crates/model/src/job.rs",
            "//! See [`lrs_engine`] and `tokio`.\n/// As `sqlx::Row`.\npub const NAME: &str = \"std::time::Instant\";",
        ),
        ("crates/schedule/src/shape.rs", "fn f(x: f64) -> f64 { libm::cos(x).sqrt().clamp(0.0, x) }"),
        ("crates/schedule/src/shape.rs", "fn f(rates: &[f64], tokio: usize) -> &[f64] { &rates[..tokio] }"),
        ("crates/schedule/src/shape.rs", "fn f<'a>(x: &'a str) -> impl Iterator<Item = char> + use<'a> { x.chars() }"),
        ("crates/engine/src/shard.rs", "use tokio::sync::mpsc; use lrs_store::Store;"),
        ("crates/engine/src/job.rs", "use super::api::Directive; use lrs_control::plateau;"),
        ("src/rpc/status.rs", "use lrs_engine::Error; use lrs_proto as proto; use http::StatusCode;"),
        ("src/http/json.rs", "use crate::rpc::job_service::JobService;"),
        ("src/cli/migrate.rs", "use crate::app; use lrs_store::schema;"),
        ("src/main.rs", "fn main() { lrs::cli::run() }"),
    ];
    for (file, source) in allowed {
        assert_eq!(check(file, source), Vec::<String>::new(), "in {file}: {source}");
    }
}

#[test]
fn a_circle_between_files_is_found_and_one_with_a_parent_is_not() {
    let source = |file: &str, text: &str| (PathBuf::from(file), text.to_owned());
    let sources = [
        source("crates/engine/src/lib.rs", "pub use commit::Commit; fn f() { commit::run() }"),
        source("crates/engine/src/commit.rs", "use super::entry::Entry; use crate::Error; use queue::Queue;"),
        source("crates/engine/src/commit/queue.rs", "use super::Commit; use crate::entry::Entry;"),
        source("crates/engine/src/entry.rs", "fn f() { crate::commit::run() }"),
        source("crates/engine/src/trail.rs", "use super::entry; #[cfg(test)] mod tests { use super::*; }"),
        source("crates/engine/src/cell.rs", "use super::trail; "),
        source("crates/engine/src/start.rs", "use super::cell; "),
        source("crates/engine/src/shard.rs", "use super::start; "),
        source("crates/engine/src/steering.rs", "use super::shard; "),
        source("crates/engine/src/summary.rs", "mod tests { use crate::steering; }"),
    ];

    assert_eq!(
        circles(&sources),
        ["crates/engine/src/commit.rs:1 uses lrs_engine::entry; crates/engine/src/entry.rs:1 uses lrs_engine::commit"]
    );
}
