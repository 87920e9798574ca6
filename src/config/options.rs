//! Everything that can be set, by the same name in the file, the environment (`LRS_…`) and the flags.

use serde::Deserialize;

use super::{duration::Length, retention::RetentionTerms};
use crate::observability::LogFormat;
use lrs_stats::choice::DeviceChoice;

/// Declares the options once, with their help, and how two sources of them go together.
macro_rules! options {
    ($($(#[$attribute:meta])* $name:ident: $type:ty = $env:literal,)*) => {
        /// What a file, the environment or the flags set; what is not set is `None`.
        #[derive(Clone, Debug, Default, clap::Args, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct Options {
            $($(#[$attribute])* #[arg(long, env = $env)] pub $name: Option<$type>,)*
        }

        impl Options {
            /// These, and where they say nothing, `weaker`.
            #[must_use]
            pub fn or(self, weaker: Self) -> Self {
                Self { $($name: self.$name.or(weaker.$name),)* }
            }
        }
    };
}

options! {
    /// The database: `sqlite:///path/to/file.db` or `postgres://user:password@host/database` [default: one SQLite file
    /// in the user's data directory]
    #[arg(value_name = "URL", hide_env_values = true)]
    database_url: String = "LRS_DATABASE_URL",
    /// Where to serve gRPC; port 0 is any free one [default: 127.0.0.1:50051]
    #[arg(value_name = "ADDRESS")]
    grpc_listen: String = "LRS_GRPC_LISTEN",
    /// Where to serve HTTP; port 0 is any free one [default: 127.0.0.1:8080]
    #[arg(value_name = "ADDRESS")]
    http_listen: String = "LRS_HTTP_LISTEN",
    /// Where batches of statistics are computed: `cpu`, `cuda:0` and so on, or `auto`, which is the first GPU if one can be
    /// used [default: auto]
    #[arg(value_name = "DEVICE")]
    device: DeviceChoice = "LRS_DEVICE",
    /// How long the process may take to end after the first signal [default: 20s]
    #[arg(value_name = "TIME")]
    grace_period: Length = "LRS_GRACE_PERIOD",
    /// Whom the log is for [default: text]
    log_format: LogFormat = "LRS_LOG_FORMAT",
    /// What to log, such as `info,lrs=debug` [default: info]
    #[arg(value_name = "FILTER")]
    log_filter: String = "LRS_LOG",
    /// For how long the telemetry of ended jobs is kept, for all namespaces and for some: `90d,vision=30d,archive=forever`
    /// [default: forever]
    #[arg(value_name = "TIMES")]
    retention: RetentionTerms = "LRS_RETENTION",
    /// Bytes of a request, after decompression [default: 8388608]
    #[arg(value_name = "N", help_heading = "Limits")]
    message_bytes: usize = "LRS_MESSAGE_BYTES",
    /// Calls that may be under way at once, on each of the two listeners [default: 8192]
    #[arg(value_name = "N", help_heading = "Limits")]
    max_calls: usize = "LRS_MAX_CALLS",
    /// Connections that may be open at once, on each of the two listeners; further ones wait [default: 16384]
    #[arg(value_name = "N", help_heading = "Limits")]
    max_connections: usize = "LRS_MAX_CONNECTIONS",
    /// How long an HTTP connection may take to send the head of a request, or be silent between two [default: 30s]
    #[arg(value_name = "TIME", help_heading = "Limits")]
    http_header_timeout: Length = "LRS_HTTP_HEADER_TIMEOUT",
    /// Calls and streams that one gRPC connection may have open [default: 1024]
    #[arg(value_name = "N", help_heading = "Limits")]
    max_calls_per_connection: u32 = "LRS_MAX_CALLS_PER_CONNECTION",
    /// Messages of a telemetry stream that may await their acknowledgement [default: 64]
    #[arg(value_name = "N", help_heading = "Limits")]
    max_stream_messages: usize = "LRS_MAX_STREAM_MESSAGES",
    /// Streams of events over HTTP that may be open at once: each page of the monitor that someone looks at has one
    /// [default: 512]
    #[arg(value_name = "N", help_heading = "Limits")]
    max_watchers: usize = "LRS_MAX_WATCHERS",
    /// Jobs that have not ended [default: 1000000]
    #[arg(value_name = "N", help_heading = "Limits")]
    max_jobs: usize = "LRS_MAX_JOBS",
    /// Steps of one rank that may be reported but not yet closed by `through_step` [default: 10000]
    #[arg(value_name = "N", help_heading = "Limits")]
    max_open_steps: usize = "LRS_MAX_OPEN_STEPS",
    /// Decisions by people a job [default: 10000]
    #[arg(value_name = "N", help_heading = "Limits")]
    max_person_decisions: usize = "LRS_MAX_PERSON_DECISIONS",
    /// Jobs of an experiment that an audit report may have [default: 200]
    #[arg(value_name = "N", help_heading = "Limits")]
    max_report_jobs: u32 = "LRS_MAX_REPORT_JOBS",
    /// Audit reports that may be made at once [default: 2]
    #[arg(value_name = "N", help_heading = "Limits")]
    max_reports: usize = "LRS_MAX_REPORTS",
    /// Tasks among which the jobs are spread [default: 4]
    #[arg(value_name = "N", help_heading = "Engine")]
    shards: usize = "LRS_SHARDS",
    /// Steps in a durably reserved block [default: 1024]
    #[arg(value_name = "N", help_heading = "Engine")]
    reserve_steps: u64 = "LRS_RESERVE_STEPS",
    /// Reports and changes that may wait for the database [default: 4096]
    #[arg(value_name = "N", help_heading = "Engine")]
    queue_items: usize = "LRS_QUEUE_ITEMS",
    /// Values of telemetry that may wait for the database, some 20 bytes each [default: 4000000]
    #[arg(value_name = "N", help_heading = "Engine")]
    queue_values: usize = "LRS_QUEUE_VALUES",
    /// Reports and changes in one transaction [default: 512]
    #[arg(value_name = "N", help_heading = "Engine")]
    batch_items: usize = "LRS_BATCH_ITEMS",
    /// After which silence of its trainer a running job counts as stale [default: 5m]
    #[arg(value_name = "TIME", help_heading = "Engine")]
    stale_after: Length = "LRS_STALE_AFTER",
    /// Pieces of telemetry of an attempt after which small ones are merged [default: 512]
    #[arg(value_name = "N", help_heading = "Engine")]
    merge_after_chunks: u64 = "LRS_MERGE_AFTER_CHUNKS",
    /// Records after which a job's state is stored for a fast start [default: 4096]
    #[arg(value_name = "N", help_heading = "Engine")]
    snapshot_after_records: u64 = "LRS_SNAPSHOT_AFTER_RECORDS",
    /// Events that someone who watches a job may lag behind [default: 256]
    #[arg(value_name = "N", help_heading = "Engine")]
    watch_events: usize = "LRS_WATCH_EVENTS",
}
