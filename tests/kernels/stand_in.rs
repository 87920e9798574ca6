//! The tests of `device` on a stand-in for the driver's library, `driver/driver.cpp`: `stats/cuda.rs` and the PTX as
//! they are, down to the driver's calls, without a GPU.

use std::{
    ffi::OsStr,
    fmt::Debug,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use crate::cpp;

/// The folder in which the stand-in is `libcuda.so`.
fn folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let library =
            cpp::build("driver/driver.cpp", "driver/libcuda.so", &["-shared", "-fPIC", "-fvisibility=hidden"]);
        library.parent().expect("it lies in a folder").to_owned()
    })
}

/// Runs these tests in a process with the stand-in as its driver, and returns their output.
#[track_caller]
fn run(tests: &str, settings: &[(&str, impl AsRef<OsStr> + Debug)]) -> String {
    let mut command = Command::new(std::env::current_exe().expect("a test has a program"));
    command.args([tests, "--nocapture", "--test-threads=1"]).env("LD_LIBRARY_PATH", folder());
    let output = command
        .envs(settings.iter().map(|(name, value)| (name, value)))
        .output()
        .expect("the program of this test can be run");
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{settings:?}: {}\n{text}", output.status);
    text
}

#[test]
fn the_ptx_has_the_bits_of_the_cpu_whenever_the_driver_does_its_work() {
    let fresh = rand::random_range(2..u64::MAX).to_string();
    for settings in [
        [("STAND_IN_SEED", "0"), ("STAND_IN_POOLS", "1")],
        [("STAND_IN_SEED", "1"), ("STAND_IN_POOLS", "0")],
        [("STAND_IN_SEED", &fresh), ("STAND_IN_POOLS", "1")],
        [("STAND_IN_SEED", &fresh), ("STAND_IN_POOLS", "0")],
    ] {
        let text = run("device::", &settings);
        assert!(text.contains("on cuda:0 (stand-in)") && !text.contains("SKIPPED"), "{settings:?}: {text}");
        assert!(!text.contains("was lost"), "{settings:?}: {text}");
    }
}

#[test]
fn a_device_that_is_lost_at_any_call_changes_nothing_but_where_it_is_computed() {
    let (mut unusable, mut lost) = (0, 0);
    for call in 1.. {
        assert!(
            call < 10_000,
            "every call fails: the settings reach the stand-in no more, or it is opened again and again"
        );
        let settings = [("STAND_IN_FAILS_AT", call.to_string()), ("STAND_IN_BYTES", (1 << 22).to_string())];
        let text = run("device::a_device_that_may_be_lost", &settings);
        if text.contains("was lost") {
            lost += 1;
        } else if text.contains("cannot be used") {
            unusable += 1;
        } else {
            break;
        }
    }
    assert!(unusable > 10 && lost > 100, "{unusable} calls of opening, {lost} calls after it");
}

#[test]
fn a_device_with_too_little_memory_is_left_alone() {
    let text = run("device::a_device_that_may_be_lost", &[("STAND_IN_BYTES", "20000")]);
    assert!(text.contains("was lost") && text.contains("out of memory"), "{text}");
}
