//! The options, by the same name in the file, the environment (`LRS_…`) and the flags.

use super::{
    duration::Length,
    retention::RetentionTerms,
    secret::SecretUrl,
    setting::{Setting, Size, Text},
};
use crate::{http::HostNames, observability::LogFormat};
use lrs_stats::choice::DeviceChoice;

/// Declares each option once, with its help. A new option is a row here and its check in `config.rs`.
macro_rules! options {
    ($($(#[$attribute:meta])* $name:ident: $type:ty = $env:literal,)*) => {
        /// The options that a file, the environment or the flags set; the others are `None`.
        #[derive(Clone, Debug, Default, clap::Args)]
        pub struct Options {
            $(
                #[arg(long, env = $env, value_parser = Text::<$type>::new())]
                $(#[$attribute])*
                pub $name: Option<$type>,
            )*
        }

        impl Options {
            /// The names of all options, as in the file.
            pub(super) const NAMES: &[&str] = &[$(stringify!($name)),*];

            /// Whether an option is set, by its name.
            pub(super) fn has(&self, name: &str) -> bool {
                match name {
                    $(stringify!($name) => self.$name.is_some(),)*
                    _ => false,
                }
            }

            /// The variable of an option, by the option's name.
            pub(super) fn variable(name: &str) -> &'static str {
                match name {
                    $(stringify!($name) => $env,)*
                    _ => "",
                }
            }

            /// Sets an option by its name, to what a text says.
            ///
            /// # Errors
            /// What was read, and what to write instead.
            pub(super) fn set(&mut self, name: &str, text: &str) -> Result<(), String> {
                match name {
                    $(stringify!($name) => self.$name = Some(Setting::read(text)?),)*
                    _ => {}
                }
                Ok(())
            }

            /// These options, and those of `weaker` that are not set here.
            #[must_use]
            pub fn or(self, weaker: Self) -> Self {
                Self { $($name: self.$name.or(weaker.$name),)* }
            }
        }
    };
}

fn database_help() -> String {
    format!("The database: {} [default: a file in the user's data directory]", lrs_store::database_urls())
}

options! {
    /// Where the jobs are kept.
    #[arg(value_name = "URL", hide_env_values = true, help = database_help())]
    database_url: SecretUrl = "LRS_DATABASE_URL",
    /// How long to wait for the database at the start while it is away; `0s` does not wait [default: without end]
    #[arg(value_name = "TIME")]
    database_wait: Length = "LRS_DATABASE_WAIT",
    /// Where to serve gRPC; port 0 means any free port [default: 127.0.0.1:50051]
    #[arg(value_name = "ADDRESS")]
    grpc_listen: String = "LRS_GRPC_LISTEN",
    /// Where to serve HTTP; port 0 means any free port [default: 127.0.0.1:8080]
    #[arg(value_name = "ADDRESS")]
    http_listen: String = "LRS_HTTP_LISTEN",
    /// The names of hosts by which browsers may reach the HTTP interface beside loopback names and addresses:
    /// `lrs.example.org,*.training.example` [default: none on a loopback address, else names that only a private
    /// network has, such as `lrs` and `lrs.training.svc`]
    #[arg(value_name = "NAMES")]
    allowed_hosts: HostNames = "LRS_ALLOWED_HOSTS",
    /// Where to compute batches of statistics: `cpu`, `cuda:0` and so on, or `auto`, which is the first GPU if it can
    /// be used, else the CPU [default: auto]
    #[arg(value_name = "DEVICE")]
    device: DeviceChoice = "LRS_DEVICE",
    /// How long the process may take to end after the first signal [default: 20s]
    #[arg(value_name = "TIME")]
    grace_period: Length = "LRS_GRACE_PERIOD",
    /// The form of the log [default: text]
    log_format: LogFormat = "LRS_LOG_FORMAT",
    /// What to log, such as `info,lrs=debug` [default: info]
    #[arg(value_name = "FILTER")]
    log_filter: String = "LRS_LOG",
    /// How long to keep the telemetry of ended jobs, in general and in single namespaces:
    /// `90d,vision=30d,archive=forever` [default: forever]
    #[arg(value_name = "TIMES")]
    retention: RetentionTerms = "LRS_RETENTION",
    /// How long a call waits for the database before it fails with `STORE_UNAVAILABLE` [default: 10s]
    #[arg(value_name = "TIME", help_heading = "Limits")]
    store_timeout: Length = "LRS_STORE_TIMEOUT",
    /// The most bytes of a request, after decompression, such as 16MiB [default: 8388608]
    #[arg(value_name = "N", help_heading = "Limits")]
    message_bytes: Size = "LRS_MESSAGE_BYTES",
    /// The most calls under way at once, on each of the two listeners [default: 8192]
    #[arg(value_name = "N", help_heading = "Limits")]
    max_calls: usize = "LRS_MAX_CALLS",
    /// The most open connections, on each of the two listeners; further connections wait [default: 16384]
    #[arg(value_name = "N", help_heading = "Limits")]
    max_connections: usize = "LRS_MAX_CONNECTIONS",
    /// The most bytes of requests in memory, over all connections [default: 67108864]
    #[arg(value_name = "N", help_heading = "Limits")]
    request_bytes: Size = "LRS_REQUEST_BYTES",
    /// The most bytes of answers that wait to be written, over all connections [default: 134217728]
    #[arg(value_name = "N", help_heading = "Limits")]
    response_bytes: Size = "LRS_RESPONSE_BYTES",
    /// How long a caller may take to send a request, or 16 KiB of a long request, or to make its first call on a
    /// connection [default: 30s]
    #[arg(value_name = "TIME", help_heading = "Limits")]
    read_timeout: Length = "LRS_READ_TIMEOUT",
    /// How long a caller may take to read an answer, or 16 KiB of a long answer [default: 30s]
    #[arg(value_name = "TIME", help_heading = "Limits")]
    write_timeout: Length = "LRS_WRITE_TIMEOUT",
    /// The most open calls and streams of one gRPC connection [default: 1024]
    #[arg(value_name = "N", help_heading = "Limits")]
    max_calls_per_connection: u32 = "LRS_MAX_CALLS_PER_CONNECTION",
    /// The most open streams over gRPC [default: 32768]
    #[arg(value_name = "N", help_heading = "Limits")]
    max_streams: usize = "LRS_MAX_STREAMS",
    /// The most messages of a telemetry stream that await their acknowledgement [default: 64]
    #[arg(value_name = "N", help_heading = "Limits")]
    max_stream_messages: usize = "LRS_MAX_STREAM_MESSAGES",
    /// The most open streams of events over HTTP; each open page of the monitor has one
    /// [default: 512]
    #[arg(value_name = "N", help_heading = "Limits")]
    max_watchers: usize = "LRS_MAX_WATCHERS",
    /// The most jobs that have not ended and are not abandoned; they are in the database [default: 1000000]
    #[arg(value_name = "N", help_heading = "Limits")]
    max_jobs: usize = "LRS_MAX_JOBS",
    /// The most jobs in memory, of those that somebody uses [default: as many as fit into half of the memory that the
    /// control group or the machine has, at 32 KiB each]
    #[arg(value_name = "N", help_heading = "Limits")]
    max_loaded_jobs: usize = "LRS_MAX_LOADED_JOBS",
    /// The most steps of one rank that are reported but not yet closed by `through_step` [default: 10000]
    #[arg(value_name = "N", help_heading = "Limits")]
    max_open_steps: usize = "LRS_MAX_OPEN_STEPS",
    /// The most decisions by people for one job [default: 10000]
    #[arg(value_name = "N", help_heading = "Limits")]
    max_person_decisions: usize = "LRS_MAX_PERSON_DECISIONS",
    /// The most jobs of an experiment in an audit report [default: 200]
    #[arg(value_name = "N", help_heading = "Limits")]
    max_report_jobs: u32 = "LRS_MAX_REPORT_JOBS",
    /// The most audit reports computed at once [default: 2]
    #[arg(value_name = "N", help_heading = "Limits")]
    max_reports: usize = "LRS_MAX_REPORTS",
    /// The tasks that share the jobs [default: 4]
    #[arg(value_name = "N", help_heading = "Engine")]
    shards: usize = "LRS_SHARDS",
    /// Steps in a durably reserved block [default: 1024]
    #[arg(value_name = "N", help_heading = "Engine")]
    reserve_steps: u64 = "LRS_RESERVE_STEPS",
    /// The most reports and changes that wait for the database [default: 4096]
    #[arg(value_name = "N", help_heading = "Engine")]
    queue_items: usize = "LRS_QUEUE_ITEMS",
    /// The most values of telemetry that wait for the database, some 20 bytes each [default: 4000000]
    #[arg(value_name = "N", help_heading = "Engine")]
    queue_values: usize = "LRS_QUEUE_VALUES",
    /// The most reports and changes in one transaction [default: 512]
    #[arg(value_name = "N", help_heading = "Engine")]
    batch_items: usize = "LRS_BATCH_ITEMS",
    /// How long a server that cannot reach its PostgreSQL database goes on calling steps final; at least 3s [default:
    /// 10s]
    #[arg(value_name = "TIME", help_heading = "Engine")]
    owner_lease: Length = "LRS_OWNER_LEASE",
    /// How long a trainer is silent before its running job counts as stale [default: 5m]
    #[arg(value_name = "TIME", help_heading = "Engine")]
    stale_after: Length = "LRS_STALE_AFTER",
    /// How long nobody uses a job before it leaves memory; it is read again when somebody asks for it [default: 10m]
    #[arg(value_name = "TIME", help_heading = "Engine")]
    idle_after: Length = "LRS_IDLE_AFTER",
    /// How long a job that has not ended is idle before it counts as abandoned: no longer towards `max_jobs`, until its
    /// trainer returns or somebody changes it [default: 30d]
    #[arg(value_name = "TIME", help_heading = "Engine")]
    abandon_after: Length = "LRS_ABANDON_AFTER",
    /// Chunks of telemetry of an attempt after which small chunks are merged [default: 512]
    #[arg(value_name = "N", help_heading = "Engine")]
    merge_after_chunks: u64 = "LRS_MERGE_AFTER_CHUNKS",
    /// Records after which a job's snapshot is stored, for a fast start [default: 4096]
    #[arg(value_name = "N", help_heading = "Engine")]
    snapshot_after_records: u64 = "LRS_SNAPSHOT_AFTER_RECORDS",
    /// The most events that a watcher of a job may lag behind [default: 256]
    #[arg(value_name = "N", help_heading = "Engine")]
    watch_events: usize = "LRS_WATCH_EVENTS",
}
