//! The convergence monitor in a real browser: a headless Chromium against a real `lrs serve` that is fed over gRPC.
//!
//! It needs Debian's `chromium` and `chromium-driver` and axe-core from npm: `make browser` installs all three, and
//! without them these tests fail. Screenshots are written to `target/screenshots/`.

#[expect(dead_code, reason = "shared with a bench, which uses the rest")]
mod browser;
mod scene;
#[path = "../support/server.rs"]
#[expect(dead_code, reason = "shared with other tests, which use the rest")]
mod server;

mod accessibility;
mod compare;
mod curves;
mod faults;
mod fleet;
mod live;
mod orders;
mod pictures;
mod report;
