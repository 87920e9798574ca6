//! Compiles `proto/` without protoc: messages, services, their canonical JSON and the descriptors for reflection.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use prost::Message as _;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    println!("cargo:rerun-if-changed=migrations");
    let files = [
        "lrs/v1/job_service.proto",
        "lrs/v1/learning_rate_service.proto",
        "lrs/v1/report_service.proto",
        "lrs/v1/schedule_service.proto",
    ];
    let descriptors = protox::compile(files, ["proto"])?;
    let encoded = descriptors.encode_to_vec();
    #[expect(clippy::disallowed_methods, reason = "this is how cargo tells a build script where to write")]
    let out_dir = PathBuf::from(env::var("OUT_DIR")?);
    std::fs::write(out_dir.join("lrs.v1.descriptors.bin"), &encoded)?;

    tonic_prost_build::configure()
        .compile_well_known_types(true)
        .extern_path(".google.protobuf", "::pbjson_types")
        .btree_map(".")
        .compile_fds(descriptors)?;
    pbjson_build::Builder::new()
        .register_descriptors(&encoded)?
        .preserve_proto_field_names()
        .btree_map(["."])
        .build(&[".lrs.v1"])?;
    tell_origin();
    Ok(())
}

/// Tells `lrs version` what the program was built with and from. The commit is that of `LRS_GIT_COMMIT`, or in a release build
/// that of the working tree; a build outside git has none, and a development build does without, not to be built anew for
/// every commit.
#[expect(clippy::disallowed_methods, reason = "this is how cargo talks to a build script")]
fn tell_origin() {
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
