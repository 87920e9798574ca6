//! Every family of metrics that a server shows: the one place where they are declared. `docs/operations.md` has them as
//! a table, which a test compares with a scrape.

use super::family::{
    Family,
    Kind::{Counter, Gauge, Histogram},
    Unit::{Bytes, Count, Seconds, Truth},
};

/// Declares the families, each as a constant, and the list of them.
macro_rules! families {
    ($($constant:ident = $name:literal, $kind:ident, $unit:ident, [$($label:literal),*], $help:literal;)*) => {
        $(
            #[doc = $help]
            pub const $constant: Family =
                Family { name: $name, kind: $kind, unit: $unit, labels: &[$($label),*], help: $help };
        )*

        /// Every family, in the order of the documentation.
        pub const ALL: &[Family] = &[$($constant),*];
    };
}

families! {
    BUILD_INFO = "lrs_build_info", Gauge, Count, ["version"], "Always 1; the label has the version of the program";
    READY = "lrs_ready", Gauge, Truth, [], "Whether the server answers calls, as /readyz says";
    OWNER_EPOCH = "lrs_owner_epoch", Gauge, Count, [],
        "Number of this server's ownership of the database, which rises with each owner; 0 while it owns none";

    RPC_CALLS = "lrs_rpc_calls_total", Counter, Count, ["method", "code"],
        "gRPC calls whose answer has begun, by method and gRPC code";
    RPC_DURATION = "lrs_rpc_duration_seconds", Histogram, Seconds, ["method"],
        "Time from a gRPC call's arrival to the beginning of its answer";
    RPC_IN_FLIGHT = "lrs_rpc_in_flight", Gauge, Count, [], "gRPC calls that are under way";
    HTTP_REQUESTS = "lrs_http_requests_total", Counter, Count, ["method", "route", "status"],
        "HTTP requests whose answer has begun, by method, route and HTTP status";
    HTTP_DURATION = "lrs_http_duration_seconds", Histogram, Seconds, ["method", "route"],
        "Time from an HTTP request's arrival to the beginning of its answer";
    STREAMS_OPEN = "lrs_telemetry_streams_open", Gauge, Count, [], "Telemetry streams that are open";
    STREAMS_ENDED = "lrs_telemetry_streams_ended_total", Counter, Count, ["code"],
        "Telemetry streams that ended, by gRPC code";

    TELEMETRY_SAMPLES = "lrs_telemetry_samples_total", Counter, Count, [],
        "Samples taken: what one rank reported about one step";
    TELEMETRY_REFUSED = "lrs_telemetry_samples_refused_total", Counter, Count, ["reason"],
        "Samples not taken: repeats of what is known, conflicts with it, or late ones of a closed step";
    TELEMETRY_LAG = "lrs_telemetry_lag_seconds", Histogram, Seconds, [],
        "Time from a report's acceptance until it is durable and can be acknowledged";
    TELEMETRY_LAG_STEPS = "lrs_telemetry_lag_steps", Gauge, Count, [],
        "Most steps that a running job's complete telemetry is behind the steps given out as final";
    DIRECTIVES = "lrs_directives_total", Counter, Count, ["finality"],
        "Steps whose rate a trainer was told, as final or as provisional, its fallback; plans are not counted";

    JOBS = "lrs_jobs", Gauge, Count, ["state"], "Jobs by state, ended jobs included";
    JOBS_BY_HEALTH = "lrs_jobs_by_health", Gauge, Count, ["health"],
        "Jobs by how they fare, as the monitor shows it; the health of a job that trains is as of up to some minutes ago";
    JOBS_STALE = "lrs_jobs_stale", Gauge, Count, [], "Running jobs whose trainer has not been heard of for `stale_after`";
    JOBS_DIVERGED = "lrs_divergences_total", Counter, Count, [], "Jobs that were seen to begin to diverge";
    DECISIONS = "lrs_decisions_total", Counter, Count, ["author", "controller"],
        "Decisions about jobs, by a person or by a controller of this kind";
    ADVICE = "lrs_advice_total", Counter, Count, ["author", "topic"], "Advice given, by a person or a controller";

    LOADED_JOBS = "lrs_loaded_jobs", Gauge, Count, [], "Jobs in memory; all others are in the database alone";

    DATABASE_UP = "lrs_database_up", Gauge, Truth, [], "Whether the database answered last";
    COMMIT_DURATION = "lrs_commit_duration_seconds", Histogram, Seconds, [],
        "Time of a transaction of the commit pipeline, whether it succeeded or not";
    COMMIT_FAILURES = "lrs_commit_failures_total", Counter, Count, ["kind"],
        "Transactions of the commit pipeline that failed, by the kind of failure; those with an unknown outcome are repeated";
    QUEUE_DEPTH = "lrs_queue_depth", Gauge, Count, [],
        "Reports and other changes that wait for the next transaction of the commit pipeline";

    STATISTICS_WINDOWS = "lrs_statistics_windows_total", Counter, Count, ["device"],
        "Windows whose statistics were computed in a batch, by device";
    STATISTICS_BATCHES = "lrs_statistics_batches_total", Counter, Count, ["device"],
        "Batches of windows whose statistics were computed, by device";
    STATISTICS_DEVICES_LOST = "lrs_statistics_devices_lost_total", Counter, Count, [],
        "Devices that were lost; their work is done on the CPU since";

    REMOVED_CHUNKS = "lrs_telemetry_removed_chunks_total", Counter, Count, [],
        "Chunks of telemetry removed because they were past their retention";
    REMOVED_JOBS = "lrs_telemetry_removed_jobs_total", Counter, Count, [],
        "Jobs whose telemetry was removed because it was past its retention";
    REMOVALS_FAILED = "lrs_telemetry_removals_failed_total", Counter, Count, [],
        "Removals of telemetry past its retention that failed, to be tried again";
    LOG_LINES_LEFT_OUT = "lrs_log_lines_left_out_total", Counter, Count, [],
        "Failing calls that left no line in the log, because there were too many";

    PROCESS_CPU = "process_cpu_seconds_total", Counter, Seconds, [], "Processor time that the process has used";
    PROCESS_RESIDENT = "process_resident_memory_bytes", Gauge, Bytes, [], "Memory of the process that is in RAM";
    PROCESS_VIRTUAL = "process_virtual_memory_bytes", Gauge, Bytes, [], "Memory that the process has mapped";
    PROCESS_OPEN_FDS = "process_open_fds", Gauge, Count, [], "Files, sockets and other descriptors that are open";
    PROCESS_MAX_FDS = "process_max_fds", Gauge, Count, [], "Descriptors that may be open";
    PROCESS_THREADS = "process_threads", Gauge, Count, [], "Threads of the process";
    PROCESS_START_TIME = "process_start_time_seconds", Gauge, Seconds, [],
        "When the process started, in seconds since the Unix epoch";
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_say_what_prometheus_asks_for() {
        for Family { name, kind, unit, help, labels } in ALL {
            assert!(name.starts_with("lrs_") || name.starts_with("process_"), "{name}");
            assert_eq!(name.ends_with("_total"), *kind == Counter, "{name}");
            let base = name.strip_suffix("_total").unwrap_or(name);
            assert_eq!(base.ends_with("_seconds"), *unit == Seconds, "{name}");
            assert_eq!(base.ends_with("_bytes"), *unit == Bytes, "{name}");
            assert!(!help.is_empty() && !help.contains('|') && !help.ends_with('.'), "{name}");
            assert!(labels.iter().all(|label| !["job", "namespace", "le"].contains(label)), "{name}");
        }
        assert_eq!(ALL.iter().map(|family| family.name).collect::<BTreeSet<_>>().len(), ALL.len());
    }
}
