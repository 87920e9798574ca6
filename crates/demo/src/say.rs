//! Lines for people, beside the demo's output.

use std::io::Write as _;

/// Writes a line to standard error. Nobody may be listening.
pub fn say(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}
