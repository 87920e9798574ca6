//! The metrics of this process, for `/metrics`: names, help and buckets, declared once.
//!
//! Labels come from closed sets, never from what a caller sends.

use std::sync::{Mutex, PoisonError};

use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

/// Seconds from a call's arrival to the beginning of its answer, by `method` and `code`.
pub const RPC_DURATION: &str = "lrs_rpc_duration_seconds";
/// gRPC calls whose answer has not begun.
pub const RPC_IN_FLIGHT: &str = "lrs_rpc_in_flight";
/// Seconds from an HTTP request's arrival to the beginning of its answer, by `route` and `status`.
pub const HTTP_DURATION: &str = "lrs_http_duration_seconds";
/// Open telemetry streams.
pub const STREAMS_OPEN: &str = "lrs_telemetry_streams_open";
/// Telemetry streams that ended, by `code`.
pub const STREAMS_ENDED: &str = "lrs_telemetry_streams_ended_total";

/// Seconds that a transaction of the commit pipeline took, whether it succeeded or not.
pub const COMMIT_DURATION: &str = "lrs_commit_duration_seconds";
/// Reports and other changes that wait for the next transaction of the commit pipeline.
pub const QUEUE_DEPTH: &str = "lrs_queue_depth";
/// Jobs in memory.
pub const LOADED_JOBS: &str = "lrs_loaded_jobs";

/// Chunks of telemetry removed because they were past their namespace's retention.
pub const REMOVED_CHUNKS: &str = "lrs_telemetry_removed_chunks_total";
/// Jobs whose telemetry was removed completely.
pub const REMOVED_JOBS: &str = "lrs_telemetry_removed_jobs_total";
/// Removals of telemetry that failed; each is tried again.
pub const REMOVALS_FAILED: &str = "lrs_telemetry_removals_failed_total";

/// Windows whose statistics were computed in a batch, by `device`: `cpu` or `cuda`.
pub const STATISTICS_WINDOWS: &str = "lrs_statistics_windows_total";
/// Batches of windows, by `device`.
pub const STATISTICS_BATCHES: &str = "lrs_statistics_batches_total";
/// Lost devices; the CPU does their work from then on.
pub const STATISTICS_DEVICES_LOST: &str = "lrs_statistics_devices_lost_total";

/// Bounds of the buckets: from 50 µs, the time to read a rate from memory, to 10 s, for calls that wait until a rate is
/// final.
const SECONDS: [f64; 17] =
    [5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2, 2.5e-2, 5e-2, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

static INSTALLED: Mutex<Option<PrometheusHandle>> = Mutex::new(None);

/// Starts to count. Further calls in the same process return the same handle.
///
/// # Errors
/// If the process already counts with another recorder.
pub fn install() -> Result<PrometheusHandle, BuildError> {
    let mut installed = INSTALLED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(handle) = &*installed {
        return Ok(handle.clone());
    }
    let recorder = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)?
        .build_recorder();
    let handle = recorder.handle();
    metrics::set_global_recorder(recorder)?;
    describe();
    *installed = Some(handle.clone());
    Ok(handle)
}

fn describe() {
    use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};
    describe_histogram!(RPC_DURATION, Unit::Seconds, "Time to the beginning of a gRPC answer, by method and code");
    describe_gauge!(RPC_IN_FLIGHT, "gRPC calls whose answer has not begun");
    describe_histogram!(HTTP_DURATION, Unit::Seconds, "Time to the beginning of an HTTP answer, by route and status");
    describe_gauge!(STREAMS_OPEN, "Telemetry streams that are open");
    describe_counter!(STREAMS_ENDED, "Telemetry streams that ended, by code");
    describe_histogram!(COMMIT_DURATION, Unit::Seconds, "Time of a transaction of the commit pipeline");
    describe_gauge!(QUEUE_DEPTH, "Reports and other changes that wait for the next transaction of the commit pipeline");
    describe_gauge!(LOADED_JOBS, "Jobs in memory; all others are in the database alone");
    describe_counter!(STATISTICS_WINDOWS, "Windows whose statistics were computed in a batch, by device");
    describe_counter!(STATISTICS_BATCHES, "Batches of windows whose statistics were computed, by device");
    describe_counter!(STATISTICS_DEVICES_LOST, "Devices that were lost; their work is done on the CPU since");
    describe_counter!(REMOVED_CHUNKS, "Chunks of telemetry removed because they were past their retention");
    describe_counter!(REMOVED_JOBS, "Jobs whose telemetry was removed because it was past its retention");
    describe_counter!(REMOVALS_FAILED, "Removals of telemetry past its retention that failed, to be tried again");
}

/// A telemetry stream that is open while this value lives.
#[derive(Debug)]
pub struct OpenStream(());

impl OpenStream {
    /// Counts a stream as open until the value is dropped.
    #[must_use]
    pub fn new() -> Self {
        metrics::gauge!(STREAMS_OPEN).increment(1.0);
        Self(())
    }
}

impl Default for OpenStream {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        metrics::gauge!(STREAMS_OPEN).decrement(1.0);
    }
}

/// Counts a telemetry stream that the server ended with the gRPC code of this name.
pub fn stream_ended(code: &'static str) {
    metrics::counter!(STREAMS_ENDED, "code" => code).increment(1);
}

/// Counts a batch of windows that was computed on `device`.
pub fn statistics_computed(device: &'static str, windows: usize) {
    metrics::counter!(STATISTICS_BATCHES, "device" => device).increment(1);
    metrics::counter!(STATISTICS_WINDOWS, "device" => device).increment(windows as u64);
}

/// Counts the loss of the device.
pub fn statistics_device_lost() {
    metrics::counter!(STATISTICS_DEVICES_LOST).increment(1);
}

/// Makes the counters of these devices show 0 before the first batch.
pub fn statistics_ready(devices: &[&'static str]) {
    for device in devices {
        metrics::counter!(STATISTICS_BATCHES, "device" => *device).increment(0);
        metrics::counter!(STATISTICS_WINDOWS, "device" => *device).increment(0);
    }
    metrics::counter!(STATISTICS_DEVICES_LOST).increment(0);
}

/// Counts chunks of telemetry that were removed.
pub fn chunks_removed(chunks: u64) {
    metrics::counter!(REMOVED_CHUNKS).increment(chunks);
}

/// Counts a job whose telemetry was all removed.
pub fn job_removed() {
    metrics::counter!(REMOVED_JOBS).increment(1);
}

/// Counts a removal of telemetry that failed.
pub fn removal_failed() {
    metrics::counter!(REMOVALS_FAILED).increment(1);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_is_rendered_with_buckets() {
        let handle = install().unwrap();
        metrics::histogram!(RPC_DURATION, "method" => "GetJob", "code" => "OK").record(0.003);
        let text = handle.render();
        assert!(text.contains("lrs_rpc_duration_seconds_bucket{method=\"GetJob\",code=\"OK\",le=\"0.005\"}"), "{text}");
        assert!(install().is_ok());
    }

    #[test]
    fn a_stream_counts_as_open_while_it_is_held() {
        let handle = install().unwrap();
        let stream = OpenStream::new();
        assert!(handle.render().contains("lrs_telemetry_streams_open 1"));
        drop(stream);
        assert!(handle.render().contains("lrs_telemetry_streams_open 0"));
    }
}
