//! `docs/http.md` has every route that is served, and no other; and every reason of an error.

use std::collections::{BTreeMap, BTreeSet};

use crate::server::{PATIENCE, Server};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

const PAGE: &str = include_str!("../../docs/http.md");
const ROUTER: &str = include_str!("../../src/http.rs");
const STATUSES: &str = include_str!("../../src/rpc/status.rs");

/// The routes that the page has a heading for: path with its verb, and methods.
fn documented() -> BTreeMap<&'static str, BTreeSet<&'static str>> {
    let mut routes: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for heading in PAGE.lines().filter_map(|line| line.strip_prefix("### `")?.strip_suffix('`')) {
        let (method, path) = heading.split_once(' ').unwrap_or_else(|| panic!("{heading} is not a method and a path"));
        assert!(routes.entry(path).or_default().insert(method), "{heading} is there twice");
    }
    routes
}

/// The paths that the router is made with.
fn served() -> BTreeSet<&'static str> {
    let quoted = ROUTER.split(".route(").skip(1).map(|rest| rest.split('"').nth(1).unwrap());
    quoted.filter(|path| path.starts_with("/v1/")).collect()
}

/// A path without the verb of a custom method: for the router that is a part of the name.
fn without_verb(path: &str) -> &str {
    match path.rsplit_once(':') {
        Some((path, _)) if path.ends_with('}') => path,
        _ => path,
    }
}

/// A request; its head and what follows.
async fn ask(server: &Server, method: &str, path: &str) -> String {
    let mut socket = TcpStream::connect(&server.http).await.unwrap();
    let head = format!("{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
    socket.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    tokio::time::timeout(PATIENCE, socket.read_to_end(&mut answer)).await.unwrap().unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

fn filled(path: &str) -> String {
    path.replace("{namespace}", "test").replace("{job}", "none").replace("{experiment}", "none")
}

#[test]
fn every_path_of_the_router_is_in_the_page_and_the_other_way_round() {
    let documented: BTreeSet<&str> = documented().into_keys().map(without_verb).collect();
    assert_eq!(documented, served());
}

#[tokio::test(flavor = "multi_thread")]
async fn every_path_has_the_methods_that_the_page_says() {
    let server = Server::sqlite().await;
    for (path, methods) in documented() {
        // PUT is a method of nothing here.
        let refused = ask(&server, "PUT", &filled(path)).await;
        assert!(refused.starts_with("HTTP/1.1 405 "), "{path}: {refused}");
        // What a verb is for, only its own handlers know.
        let is_verb = path != without_verb(path) && path.contains("{job}");
        let refused = if is_verb {
            let other = if methods.contains("GET") { "POST" } else { "GET" };
            ask(&server, other, &filled(path)).await
        } else {
            refused
        };
        let allowed = refused
            .lines()
            .find_map(|line| line.strip_prefix("allow: "))
            .unwrap_or_else(|| panic!("{path}: {refused}"));
        let mut allowed: BTreeSet<&str> = allowed.split(',').filter(|method| *method != "HEAD").collect();
        if path.ends_with("/jobs/{job}") {
            // Of a job itself POST is nothing, only of its verbs.
            assert!(allowed.remove("POST"));
        }
        assert_eq!(allowed, methods, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_verb_of_a_job_is_in_the_page() {
    let server = Server::sqlite().await;
    let refused = ask(&server, "POST", "/v1/namespaces/test/jobs/none:fly").await;
    let (_, there_is) = refused.split_once("there is ").unwrap();
    let words = there_is.split('"').next().unwrap().split([',', ' ']).filter(|word| !word.is_empty());
    let verbs: BTreeSet<&str> = words.filter(|word| !matches!(*word, "and" | "for" | "POST")).collect();
    let documented = documented();
    let of_jobs = documented.keys().filter_map(|path| path.strip_prefix("/v1/namespaces/{namespace}/jobs/{job}:"));
    assert_eq!(of_jobs.collect::<BTreeSet<_>>(), verbs);
}

#[test]
fn every_reason_of_an_error_is_in_the_page() {
    let is_reason = |text: &&str| text.len() > 3 && text.chars().all(|c| c.is_ascii_uppercase() || c == '_');
    let code = STATUSES.split("#[cfg(test)]").next().unwrap();
    let reasons: BTreeSet<&str> = code.split('"').filter(is_reason).collect();
    let table = PAGE.split("| reason | status |").nth(1).unwrap().split("\n\n").next().unwrap();
    let documented: BTreeSet<&str> = table.split('`').filter(is_reason).collect();
    assert_eq!(documented, reasons);
}
