//! What the system knows of this process: `process_*`, by the names that every exporter of Prometheus uses. The system
//! tells them to Linux programs only; elsewhere the families are left out, but for the start and the processor time.

use std::{fmt::Write as _, fs, time::UNIX_EPOCH};

use rustix::{
    param::page_size,
    process::{Resource, getrlimit},
    time::{ClockId, clock_gettime},
};

use super::families::{
    PROCESS_CPU, PROCESS_MAX_FDS, PROCESS_OPEN_FDS, PROCESS_RESIDENT, PROCESS_START_TIME, PROCESS_THREADS,
    PROCESS_VIRTUAL,
};
use crate::metrics::family::Family;

/// Reads the gauges anew.
pub(super) fn measure() {
    let set = |family: &Family, value: Option<f64>| {
        if let Some(value) = value {
            family.gauge([]).set(value);
        }
    };
    let pages = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let bytes = |place| Some(number(pages.split(' ').nth(place)?)? * float(page_size() as u64));
    set(&PROCESS_VIRTUAL, bytes(0));
    set(&PROCESS_RESIDENT, bytes(1));
    // The directory that is read is open meanwhile.
    let descriptors = fs::read_dir("/proc/self/fd").map(|entries| entries.count().saturating_sub(1));
    set(&PROCESS_OPEN_FDS, descriptors.ok().map(|count| float(count as u64)));
    set(&PROCESS_MAX_FDS, getrlimit(Resource::Nofile).current.map(float));
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let threads = status.lines().find_map(|line| line.strip_prefix("Threads:"));
    set(&PROCESS_THREADS, threads.and_then(number));
}

/// Notes that the process starts now.
#[expect(clippy::disallowed_methods, reason = "the start of the process is no time of the service")]
pub(super) fn started() {
    let now = std::time::SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    PROCESS_START_TIME.gauge([]).set(now.as_secs_f64());
}

/// Writes the processor time: a counter of fractions of a second, while the counters of the exporter are whole.
pub(super) fn write_cpu(text: &mut String) {
    let spent = clock_gettime(ClockId::ProcessCPUTime);
    let Family { name, help, kind, .. } = PROCESS_CPU;
    let (seconds, millis) = (spent.tv_sec, spent.tv_nsec / 1_000_000);
    let kind = kind.as_str();
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {seconds}.{millis:03}\n");
}

fn number(text: &str) -> Option<f64> {
    text.trim().parse().ok()
}

#[expect(clippy::cast_precision_loss, reason = "sizes and counts of one process")]
fn float(count: u64) -> f64 {
    count as f64
}
