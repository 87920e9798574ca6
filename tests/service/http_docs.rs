//! `docs/http.md` has every route that is served, and no other; and every reason of an error.

use std::collections::{BTreeMap, BTreeSet};

use crate::server::{PATIENCE, Server};
use lrs_proto::reflect::http_routes;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

const PAGE: &str = include_str!("../../docs/http.md");
const ROUTER: &str = include_str!("../../src/http.rs");
const STATUSES: &str = include_str!("../../src/rpc/status.rs");

/// The routes that the page has a heading for: the path with its verb, and its methods.
fn documented() -> BTreeMap<&'static str, BTreeSet<&'static str>> {
    let mut routes: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for heading in PAGE.lines().filter_map(|line| line.strip_prefix("### `")?.strip_suffix('`')) {
        let (method, path) = heading.split_once(' ').unwrap_or_else(|| panic!("{heading} is not a method and a path"));
        assert!(routes.entry(path).or_default().insert(method), "{heading} is there twice");
    }
    routes
}

/// The routes of the protos, and, with any method, the router's other routes.
fn served() -> BTreeMap<String, BTreeSet<&'static str>> {
    let mut served: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    for route in http_routes() {
        served.entry(documented_path(&route.template)).or_default().insert(route.verb);
    }
    let quoted = ROUTER.split(".route(").skip(1).filter_map(|rest| rest.split('"').nth(1));
    for path in quoted.filter(|path| path.starts_with("/v1/")) {
        served.entry(path.to_owned()).or_default().insert("GET");
    }
    served
}

/// `/v1/{name=namespaces/*/jobs/*}:pause` as the page writes it: `/v1/namespaces/{namespace}/jobs/{job}:pause`.
fn documented_path(template: &str) -> String {
    let mut path = String::new();
    let mut collection = "";
    for segment in template.split('/').skip(1) {
        let segment = segment.split_once('=').map_or(segment, |(_, segment)| segment).replace('}', "");
        match segment.strip_prefix('*') {
            Some(verb) => path.extend(["/{", collection.strip_suffix('s').unwrap(), "}", verb]),
            None => path.extend(["/", &segment]),
        }
        collection = ["namespaces", "jobs", "experiments"].into_iter().find(|name| *name == segment).unwrap_or("");
    }
    path
}

/// Sends a request; returns the whole answer.
async fn ask(server: &Server, method: &str, path: &str) -> String {
    let mut socket = TcpStream::connect(&server.http).await.unwrap();
    let head = format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
    socket.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    tokio::time::timeout(PATIENCE, socket.read_to_end(&mut answer)).await.unwrap().unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

fn filled(path: &str) -> String {
    path.replace("{namespace}", "test").replace("{job}", "none").replace("{experiment}", "none")
}

#[test]
fn every_route_is_in_the_page_and_the_other_way_round() {
    let documented: BTreeMap<String, _> = documented().into_iter().map(|(path, on)| (path.to_owned(), on)).collect();
    assert_eq!(documented, served());
}

#[tokio::test(flavor = "multi_thread")]
async fn every_path_has_the_methods_that_the_page_says() {
    let server = Server::sqlite().await;
    for (path, methods) in documented() {
        // No route has the method PUT.
        let refused = ask(&server, "PUT", &filled(path)).await;
        assert!(refused.starts_with("HTTP/1.1 405 "), "{path}: {refused}");
        let allowed = refused.lines().find_map(|line| line.strip_prefix("allow: "));
        let allowed = allowed.unwrap_or_else(|| panic!("{path}: {refused}"));
        let allowed: BTreeSet<&str> = allowed.split(',').filter(|method| *method != "HEAD").collect();
        assert_eq!(allowed, methods, "{path}");
    }
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
