//! The metrics of this process, for `/metrics`. [`families`] declares them; nothing is counted that is not declared.
//!
//! Labels come from closed sets, never from what a caller sends, and each value shows from the start, with 0.

pub mod families;
pub mod family;
mod process;

use std::sync::{Mutex, PoisonError};

pub use metrics::{Counter, Gauge, Histogram};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

use families::{
    ALL, DIRECTIVES, LOG_LINES_LEFT_OUT, PROCESS_CPU, REMOVALS_FAILED, REMOVED_CHUNKS, REMOVED_JOBS,
    STATISTICS_BATCHES, STATISTICS_DEVICES_LOST, STATISTICS_WINDOWS, STREAMS_ENDED, STREAMS_OPEN,
};
use family::Kind;

/// Bounds of the buckets: from 50 µs, the time to read a rate from memory, to 10 s, for calls that wait until a rate is
/// final.
const SECONDS: [f64; 17] =
    [5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2, 2.5e-2, 5e-2, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

static INSTALLED: Mutex<Option<Exposition>> = Mutex::new(None);

/// What was counted, for scrapers. Cheap to clone.
#[derive(Clone)]
pub struct Exposition(PrometheusHandle);

impl Exposition {
    /// Everything, in Prometheus' text format.
    #[must_use]
    pub fn render(&self) -> String {
        process::measure();
        let mut text = self.0.render();
        process::write_cpu(&mut text);
        text
    }

    /// Sums up what was recorded since the last call; until then each value of a histogram is in memory.
    pub fn sum_up(&self) {
        self.0.run_upkeep();
    }
}

/// Starts to count. Further calls in the same process return the same exposition.
///
/// # Errors
/// If the process already counts with another recorder.
pub fn install() -> Result<Exposition, BuildError> {
    let mut installed = INSTALLED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(exposition) = &*installed {
        return Ok(exposition.clone());
    }
    let recorder = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)?
        .build_recorder();
    let exposition = Exposition(recorder.handle());
    metrics::set_global_recorder(recorder)?;
    describe();
    process::started();
    *installed = Some(exposition.clone());
    Ok(exposition)
}

/// Says what the families mean, and shows those without labels. Whoever counts by labels shows their values.
fn describe() {
    for family in ALL.iter().filter(|family| family.name != PROCESS_CPU.name) {
        match family.kind {
            Kind::Counter => metrics::describe_counter!(family.name, family.help),
            Kind::Gauge => metrics::describe_gauge!(family.name, family.help),
            Kind::Histogram => metrics::describe_histogram!(family.name, family.help),
        }
        let is_of_system = family.name.starts_with("process_");
        if family.labels.is_empty() && !is_of_system {
            family.show([]);
        }
    }
}

/// A telemetry stream that is open while this value lives.
#[derive(Debug)]
pub struct OpenStream {
    is_ended: bool,
}

impl OpenStream {
    /// Counts a stream as open until the value is dropped.
    #[must_use]
    pub fn new() -> Self {
        STREAMS_OPEN.gauge([]).increment(1.0);
        Self { is_ended: false }
    }

    /// The server ends the stream, with the gRPC code of this name.
    pub fn end(&mut self, code: &'static str) {
        self.is_ended = true;
        stream_ended(code);
    }
}

impl Default for OpenStream {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        STREAMS_OPEN.gauge([]).decrement(1.0);
        if !self.is_ended {
            // The client has gone.
            stream_ended("CANCELLED");
        }
    }
}

/// Counts a telemetry stream that ended with the gRPC code of this name.
pub fn stream_ended(code: &'static str) {
    STREAMS_ENDED.counter([code]).increment(1);
}

/// Counts steps whose rate a trainer was told: as final, or as provisional.
pub fn told(is_final: bool, steps: u64) {
    DIRECTIVES.counter([if is_final { "final" } else { "provisional" }]).increment(steps);
}

/// Counts a batch of windows that was computed on `device`.
pub fn statistics_computed(device: &'static str, windows: usize) {
    STATISTICS_BATCHES.counter([device]).increment(1);
    STATISTICS_WINDOWS.counter([device]).increment(windows as u64);
}

/// Counts the loss of the device.
pub fn statistics_device_lost() {
    STATISTICS_DEVICES_LOST.counter([]).increment(1);
}

/// Makes the counters of these devices show 0 before the first batch.
pub fn statistics_ready(devices: &[&'static str]) {
    for device in devices {
        STATISTICS_BATCHES.show([device]);
        STATISTICS_WINDOWS.show([device]);
    }
}

/// Counts chunks of telemetry that were removed.
pub fn chunks_removed(chunks: u64) {
    REMOVED_CHUNKS.counter([]).increment(chunks);
}

/// Counts a job whose telemetry was all removed.
pub fn job_removed() {
    REMOVED_JOBS.counter([]).increment(1);
}

/// Counts a removal of telemetry that failed.
pub fn removal_failed() {
    REMOVALS_FAILED.counter([]).increment(1);
}

/// Counts a line that the log lacks.
pub fn log_line_left_out() {
    LOG_LINES_LEFT_OUT.counter([]).increment(1);
}

#[cfg(test)]
mod tests {
    use super::{families::RPC_DURATION, *};

    #[test]
    fn what_is_counted_is_rendered_with_buckets() {
        let metrics = install().unwrap();
        RPC_DURATION.histogram(["GetJob"]).record(0.003);
        let text = metrics.render();
        assert!(text.contains("lrs_rpc_duration_seconds_bucket{method=\"GetJob\",le=\"0.005\"}"), "{text}");
        assert!(install().is_ok());
    }

    #[test]
    fn a_stream_counts_as_open_while_it_is_held() {
        let metrics = install().unwrap();
        let stream = OpenStream::new();
        assert!(metrics.render().contains("lrs_telemetry_streams_open 1"));
        drop(stream);
        assert!(metrics.render().contains("lrs_telemetry_streams_open 0"));
    }

    #[test]
    fn what_has_no_labels_shows_before_anything_is_counted() {
        let text = install().unwrap().render();
        for family in ALL.iter().filter(|family| family.labels.is_empty()) {
            let (name, kind) = (family.name, family.kind.as_str());
            let sample = if family.kind == Kind::Histogram { format!("{name}_count ") } else { format!("{name} ") };
            assert!(text.contains(&format!("# TYPE {name} {kind}\n")), "{name}: {text}");
            assert!(text.lines().any(|line| line.starts_with(&sample)), "{name}: {text}");
        }
    }
}
