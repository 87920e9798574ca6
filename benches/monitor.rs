//! How fresh the convergence monitor is, how much a page grows in a day, and what its viewers cost the server.
//!
//! `make bench-monitor`; docs/performance.md has the figures. Needs Debian's `chromium` and `chromium-driver`.
//! Arguments that name measures run only those.
#![allow(missing_docs, reason = "a program")]

#[path = "../tests/browser/browser.rs"]
#[expect(dead_code, reason = "shared with tests, which use the rest")]
mod browser;
#[path = "monitor/fleet.rs"]
mod fleet;
#[path = "monitor/meter.rs"]
mod meter;
#[path = "../tests/support/monitor.rs"]
mod monitor;
#[path = "monitor/page.rs"]
mod page;
#[path = "../tests/browser/scene.rs"]
#[expect(dead_code, reason = "shared with tests, which use the rest")]
mod scene;
#[path = "../tests/support/server.rs"]
#[expect(dead_code, reason = "shared with tests, which use the rest")]
mod server;

const MEASURES: [&str; 6] = ["fleet", "outlook", "page", "day", "tabs", "windows"];

#[tokio::main]
async fn main() {
    // Cargo adds its own options.
    let wanted: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    if let Some(unknown) = wanted.iter().find(|name| !MEASURES.contains(&name.as_str())) {
        eprintln!("there is no measure {unknown:?}; there are: {}", MEASURES.join(", "));
        std::process::exit(2);
    }
    for measure in MEASURES.into_iter().filter(|name| wanted.is_empty() || wanted.iter().any(|other| other == name)) {
        println!("== {measure}");
        match measure {
            "fleet" => fleet::freshness().await,
            "outlook" => fleet::outlook().await,
            "page" => page::freshness().await,
            "day" => page::day().await,
            "tabs" => page::viewers(true).await,
            _ => page::viewers(false).await,
        }
    }
}
