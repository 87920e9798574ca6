//! Tells `lrs version` what the program was built with and from.
//!
//! The commit is that of `LRS_GIT_COMMIT`, or in a release build that of the working tree. A build outside git has no
//! commit, and a development build does without, so that it is not built anew for every commit.

use std::{env, path::Path, process::Command};

#[expect(clippy::disallowed_methods, reason = "this is how cargo talks to a build script")]
fn main() {
    let rustc = env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    println!("cargo:rustc-env=LRS_RUSTC_VERSION={}", output_of(&rustc, &["--version"]).unwrap_or_default());
    println!("cargo:rerun-if-env-changed=LRS_GIT_COMMIT");
    let is_release = env::var("PROFILE").is_ok_and(|profile| profile == "release");
    if is_release && env::var("LRS_GIT_COMMIT").is_err() {
        if let Some(log) =
            output_of("git", &["rev-parse", "--git-path", "logs/HEAD"]).filter(|log| Path::new(log).exists())
        {
            println!("cargo:rerun-if-changed={log}");
        }
        if let Some(commit) = output_of("git", &["rev-parse", "HEAD"]) {
            println!("cargo:rustc-env=LRS_GIT_COMMIT={commit}");
        }
    }
}

/// The first line that a program prints, if it can be run and succeeds.
fn output_of(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.lines().next()?.to_owned())
}
