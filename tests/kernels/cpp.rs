//! Builds the C++ programs and libraries that tests need.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// Compiles `tests/kernels/SOURCE` to `TARGET` in the tests' folder. `-ffp-contract=off` is the host's `-fmad=false`.
pub fn build(source: &str, target: &str, more: &[&str]) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kernels").join(source);
    let built = Path::new(env!("CARGO_TARGET_TMPDIR")).join(target);
    std::fs::create_dir_all(built.parent().expect("it lies in a folder")).expect("the tests' folder can be written");
    // Built under another name first: other test processes may run the program that is there.
    let fresh = built.with_extension(std::process::id().to_string());
    let options = ["-std=c++14", "-O2", "-ffp-contract=off", "-Wall", "-Wextra", "-Werror"];
    let status = Command::new("c++").args(options).args(more).arg("-o").arg(&fresh).arg(&source).status();
    let status = status.expect("there is a C++ compiler: build-essential has it");
    assert!(status.success(), "{} does not compile", source.display());
    std::fs::rename(&fresh, &built).expect("it can be renamed");
    built
}
