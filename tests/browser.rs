//! The convergence monitor in a real browser: a headless Chromium against a real `lrs serve` that is fed over gRPC.
//!
//! It needs Debian's `chromium` and `chromium-driver` and axe-core from npm: `make browser` installs all three, and without them
//! these tests fail. Screenshots are written to `target/screenshots/`.

#[path = "browser/browser.rs"]
#[expect(dead_code, reason = "shared with a bench, which uses the rest")]
mod browser;
#[path = "browser/scene.rs"]
mod scene;
#[path = "support/server.rs"]
#[expect(dead_code, reason = "shared with other tests, which use the rest")]
mod server;

#[path = "browser/accessibility.rs"]
mod accessibility;
#[path = "browser/compare.rs"]
mod compare;
#[path = "browser/curves.rs"]
mod curves;
#[path = "browser/faults.rs"]
mod faults;
#[path = "browser/fleet.rs"]
mod fleet;
#[path = "browser/live.rs"]
mod live;
#[path = "browser/orders.rs"]
mod orders;
#[path = "browser/pictures.rs"]
mod pictures;
#[path = "browser/report.rs"]
mod report;
