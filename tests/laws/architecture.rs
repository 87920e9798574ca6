//! The house of the design: which room may use which, checked on every source file.

mod judge;
mod references;
mod rooms;

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use judge::violations;

const MOST_LINES_OF_MAIN: usize = 100;

/// Every Rust file of `src/`, as `src/…`, with its text.
fn sources() -> io::Result<Vec<(PathBuf, String)>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    let mut folders = vec![root.join("src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path)?;
                found.push((path.strip_prefix(root).map_err(io::Error::other)?.to_owned(), text));
            }
        }
    }
    Ok(found)
}

fn check(file: &str, source: &str) -> Vec<String> {
    violations(Path::new(file), source)
}

#[test]
fn no_room_uses_what_it_must_not() {
    let sources = sources().unwrap();
    assert!(sources.iter().any(|(file, _)| file == Path::new("src/model/job.rs")), "the sources were not found");

    let found: Vec<String> = sources.iter().flat_map(|(file, text)| violations(file, text)).collect();

    assert!(found.is_empty(), "forbidden edges:\n{}", found.join("\n"));
}

#[test]
fn main_only_hands_over() {
    let (_, main) = sources().unwrap().into_iter().find(|(file, _)| file == Path::new("src/main.rs")).unwrap();

    let lines = main.lines().count();

    assert!(lines < MOST_LINES_OF_MAIN, "src/main.rs has {lines} lines");
}

#[test]
fn an_import_of_a_forbidden_room_is_named_with_file_line_and_edge() {
    let found = check("src/rpc/job_service.rs", "//! Jobs.\n\nuse crate::store::Store;\n");

    assert_eq!(found, ["src/rpc/job_service.rs:3: rpc must not use crate::store"]);
}

#[test]
fn forbidden_references_are_found_however_they_are_written() {
    let planted = [
        ("src/model/job.rs", "use crate::engine;"),
        ("src/model/job.rs", "use crate::{model::name::JobName, engine::{api::Error, Engine as E}};"),
        ("src/model/job.rs", "use super::super::engine::Engine;"),
        ("src/model/job.rs", "pub use crate::*; use tokio as runtime;"),
        ("src/model/job.rs", "type Row = Vec<sqlx::postgres::PgRow>;"),
        ("src/schedule/ease.rs", "mod tests { use super::super::super::store::Store; }"),
        ("src/schedule/ease.rs", "fn now() { let _ = std::time::SystemTime::now(); }"),
        ("src/schedule/ease.rs", "use std::time::*;"),
        ("src/schedule.rs", "use ::rand::Rng;"),
        ("src/control/plateau.rs", "use std::{fmt, time::{Duration, Instant}};"),
        ("src/stats/cpu.rs", "use crate::control::plateau::Plateau;"),
        ("src/store/sqlite.rs", "use crate::engine::Error; "),
        ("src/store/postgres.rs", "fn code() -> tonic::Code { tonic::Code::Ok }"),
        ("src/store/rows.rs", "use crate::schedule::Curve;"),
        ("src/engine/shard.rs", "async fn run() { tokio::select! { _ = tonic::wait() => {} } }"),
        ("src/engine/commit.rs", "#[derive(sqlx::FromRow)] struct Row;"),
        ("src/engine/job.rs", "use tokio::sync::watch;"),
        ("src/engine/job/observe.rs", "fn f() { tracing::info!(\"seen\") }"),
        ("src/engine/job.rs", "use super::super::store::Chunk;"),
        ("src/rpc/convert.rs", "use crate::schedule;"),
        ("src/http/json.rs", "fn f(pool: &sqlx::PgPool) {}"),
        ("src/client/outbox.rs", "use lrs_engine::Engine;"),
        ("src/cli/migrate.rs", "use crate::store::{self, postgres::Postgres};"),
        ("src/attic.rs", "fn f() {}"),
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
        for file in ["src/schedule/shape.rs", "src/control/plateau.rs", "src/stats/cpu.rs", "src/engine/job.rs"] {
            assert_eq!(check(file, source).len(), 1, "in {file}: {source}");
        }
    }
}

#[test]
fn what_a_room_may_use_is_let_through() {
    let allowed = [
        ("src/model/job.rs", "use std::time::Duration; use super::name::JobName; use uuid::Uuid;"),
        (
            "src/model/job.rs",
            "//! See [`crate::engine`] and `tokio`.\n/// As `sqlx::Row`.\npub const NAME: &str = \"crate::store\";",
        ),
        ("src/schedule/shape.rs", "fn f(x: f64) -> f64 { libm::cos(x).sqrt().clamp(0.0, x) }"),
        ("src/schedule/shape.rs", "fn f(rates: &[f64], tokio: usize) -> &[f64] { &rates[..tokio] }"),
        ("src/schedule/shape.rs", "fn f<'a>(x: &'a str) -> impl Iterator<Item = char> + use<'a> { x.chars() }"),
        ("src/store/sqlite.rs", "use sqlx::SqlitePool; use crate::model::job::JobRow; use super::Store;"),
        ("src/engine/shard.rs", "use tokio::sync::mpsc; use crate::{control, schedule, store::Store};"),
        ("src/engine/job.rs", "use super::api::Directive; use crate::{control::plateau, schedule::Curve};"),
        ("src/rpc/status.rs", "use crate::{engine::Error, proto}; use http::StatusCode;"),
        ("src/http/json.rs", "use crate::rpc::job_service::JobService;"),
        ("src/cli/migrate.rs", "use crate::{app, store::schema};"),
        ("src/main.rs", "fn main() { lrs::cli::run() }"),
    ];
    for (file, source) in allowed {
        assert_eq!(check(file, source), Vec::<String>::new(), "in {file}: {source}");
    }
}
