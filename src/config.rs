//! The configuration: a file, the environment and flags, of which the later overrides the earlier. Checked once, here.

use std::{net::SocketAddr, path::Path, time::Duration};

use crate::{
    http::{HostNames, Hosts},
    observability::{self, LogConfig, LogFormat},
    rpc::Limits,
};
use lrs_engine::Settings;
use lrs_model::{typed::bare, violation::Violations};
use lrs_runtime::{
    error::chain,
    secret::{may_be_secret, redacted, without_secrets},
};
use lrs_stats::choice::DeviceChoice;
use lrs_store::{DatabaseUrl, database_urls};

pub(crate) mod duration;
mod file;
mod memory;
mod options;
mod retention;
mod secret;
mod setting;

pub use duration::Length;
use file::File;
pub use options::Options;
pub use retention::{Retention, RetentionTerms};
pub use secret::SecretUrl;
pub use setting::{Setting, Size, Text};

const DEFAULT_GRPC_LISTEN: &str = "127.0.0.1:50051";
const DEFAULT_HTTP_LISTEN: &str = "127.0.0.1:8080";
const DEFAULT_GRACE_PERIOD: Duration = Duration::from_secs(20);
const DEFAULT_LOG_FILTER: &str = "info";

/// The checked configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// The database.
    pub database_url: DatabaseUrl,
    /// How long to wait for the database at the start while it is away; `None` is without end.
    pub database_wait: Option<Duration>,
    /// Where gRPC is served; port 0 means any free port.
    pub grpc_listen: SocketAddr,
    /// Where HTTP is served; port 0 means any free port.
    pub http_listen: SocketAddr,
    /// The hosts that HTTP answers.
    pub allowed_hosts: Hosts,
    /// Where batches of statistics are computed.
    pub device: DeviceChoice,
    /// How long the process may take to end.
    pub grace_period: Duration,
    /// The log.
    pub log: LogConfig,
    /// The bounds of the interface.
    pub limits: Limits,
    /// How long the telemetry of ended jobs is kept.
    pub retention: Retention,
    /// The engine's settings.
    pub engine: Settings,
    /// The memory that the process may use, in bytes, from which the default of `max_loaded_jobs` follows.
    pub memory_bytes: u64,
}

/// Why the configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("the configuration file {path} cannot be read")]
    Unreadable {
        /// Its path.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file is not a valid configuration.
    #[error("the configuration file {path} is wrong: {problems}")]
    File {
        /// Its path.
        path: String,
        /// Where and why.
        problems: Violations,
    },
    /// Values that are not allowed: all of them.
    #[error("the configuration is wrong: {0}")]
    Invalid(Violations),
}

impl Config {
    /// The configuration from `flags`, which clap has also filled from the environment, then the file, then the
    /// defaults.
    ///
    /// # Errors
    /// If the file cannot be read or understood, or if values are not allowed; all of them are named.
    pub fn load(flags: Options, file: Option<&Path>) -> Result<Self, Error> {
        let File { options: weaker, lines } = file.map(read).transpose()?.unwrap_or_default();
        let given = flags.clone();
        let path = file.map(|path| path.display().to_string()).unwrap_or_default();
        Self::checked(flags.or(weaker)).map_err(|error| match error {
            Error::Invalid(violations) => Error::Invalid(violations.renamed(|field| {
                let option = field.split('.').next().unwrap_or(field);
                let origin = if given.has(option) {
                    Some(typed_as(option))
                } else {
                    lines.get(option).map(|line| format!("{path}:{line}"))
                };
                origin.map_or_else(|| field.to_owned(), |origin| format!("{origin}: {field}"))
            })),
            other => other,
        })
    }

    /// The configuration from `options` and the defaults.
    ///
    /// # Errors
    /// [`Error::Invalid`] with every value that is not allowed.
    pub fn checked(options: Options) -> Result<Self, Error> {
        let mut v = Violations::new();
        let memory_bytes = memory::available();
        let engine = engine_settings(&mut v, &options, memory_bytes);
        let limits = limits(&mut v, &options);
        let grace_period = options.grace_period.map_or(DEFAULT_GRACE_PERIOD, |period| {
            in_range(&mut v, "grace_period", period.0, Duration::ZERO, Duration::from_hours(1), duration::show)
        });
        let device = options.device.unwrap_or_default();
        let retention = options.retention.unwrap_or_default().checked(&mut v);
        let log = LogConfig {
            format: options.log_format.unwrap_or_default(),
            filter: options.log_filter.unwrap_or_else(|| DEFAULT_LOG_FILTER.to_owned()),
        };
        if let Err(problem) = observability::check_filter(&log.filter) {
            v.refuse(
                "log_filter",
                format_args!("{:?}", shown(&log.filter)),
                format_args!("such as `info,lrs=debug` ({})", without_secrets(&problem)),
            );
        }
        let grpc_listen = address(&mut v, "grpc_listen", options.grpc_listen.as_deref(), DEFAULT_GRPC_LISTEN);
        let http_listen = address(&mut v, "http_listen", options.http_listen.as_deref(), DEFAULT_HTTP_LISTEN);
        let database_url =
            database_url(options.database_url.as_deref()).map_err(|problem| v.add("database_url", problem));
        match (database_url, grpc_listen, http_listen) {
            (Ok(database_url), Some(grpc_listen), Some(http_listen)) if v.is_empty() => Ok(Self {
                database_url,
                database_wait: options.database_wait.map(|wait| wait.0),
                grpc_listen,
                http_listen,
                allowed_hosts: allowed_hosts(options.allowed_hosts, http_listen),
                device,
                grace_period,
                log,
                limits,
                retention,
                engine,
                memory_bytes,
            }),
            _ => Err(Error::Invalid(v)),
        }
    }
}

impl Config {
    /// What is allowed and may not be meant, in a sentence each.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let open = [("gRPC", "grpc_listen", self.grpc_listen), ("HTTP", "http_listen", self.http_listen)];
        let open = open.into_iter().filter(|(.., address)| !address.ip().to_canonical().is_loopback());
        open.map(|(interface, option, address)| {
            format!(
                "{interface} is served on {address} without authentication: whoever reaches this address can read and \
                 steer every job; set {option} to a loopback address, or let only trusted networks reach it"
            )
        })
        .collect()
    }
}

/// The database at `url`, or else the file in the user's data directory.
///
/// # Errors
/// What is wrong with the URL, without its password, or if the user has no data directory.
pub fn database_url(url: Option<&str>) -> Result<DatabaseUrl, String> {
    let parsed = match url {
        Some(url) => url.parse(),
        None => match dirs::data_dir() {
            Some(directory) => DatabaseUrl::in_directory(&directory.join("lrs")),
            None => return Err(format!("is required, as this user has no data directory: {}", database_urls())),
        },
    };
    parsed.map_err(|problem| chain(&problem))
}

/// The form of the log, also where the rest of the configuration cannot be used.
#[must_use]
pub fn log_format(flag: Option<LogFormat>, file: Option<&Path>) -> LogFormat {
    let of_file = || {
        let text = std::fs::read_to_string(file?).ok()?;
        // In a file with a mistake elsewhere, the line alone says it.
        let table: toml::Table = text.parse().ok().or_else(|| {
            text.lines().filter(|line| line.trim_start().starts_with("log_format")).find_map(|line| line.parse().ok())
        })?;
        LogFormat::read(table.get("log_format")?.as_str()?).ok()
    };
    flag.or_else(of_file).unwrap_or_default()
}

/// The form of the log that a command line asks for which cannot be read as a whole.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is config.rs")]
pub fn asked_log_format(line: &[String]) -> LogFormat {
    let of_flag = |flag: &str| {
        let next = line.iter().zip(line.iter().skip(1)).find(|(name, _)| *name == flag).map(|(_, value)| value.clone());
        next.or_else(|| line.iter().find_map(|text| Some(text.strip_prefix(flag)?.strip_prefix('=')?.to_owned())))
    };
    let of = |flag, variable| of_flag(flag).or_else(|| std::env::var(variable).ok());
    let format = of("--log-format", "LRS_LOG_FORMAT").and_then(|text| LogFormat::read(bare(&text)).ok());
    log_format(format, of("--config", "LRS_CONFIG").as_deref().map(Path::new))
}

fn read(path: &Path) -> Result<File, Error> {
    let shown = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|source| Error::Unreadable { path: shown.clone(), source })?;
    file::read(&text).map_err(|problems| Error::File { path: shown, problems })
}

/// The options that the text of a file sets.
///
/// # Errors
/// All that is wrong with it, by line.
pub fn options_of_file(text: &str) -> Result<Options, Violations> {
    file::read(text).map(|file| file.options)
}

/// Where an option that the command line or the environment sets was typed.
fn typed_as(option: &str) -> String {
    place_of(&format!("--{}", option.replace('_', "-")), Options::variable(option))
}

/// Where a value was typed that a flag or a variable of the environment may set.
#[must_use]
pub fn place_of(flag: &str, variable: &str) -> String {
    let is_variable = !is_on_the_line(flag) && is_set(variable.as_ref());
    if is_variable { variable } else { flag }.to_owned()
}

/// Whether the command line of this process has a flag.
#[must_use]
pub fn is_on_the_line(flag: &str) -> bool {
    let is_it = |text: &str| text.strip_prefix(flag).is_some_and(|rest| rest.is_empty() || rest.starts_with('='));
    std::env::args_os().any(|text| is_it(&text.to_string_lossy()))
}

/// Whether a variable of the environment is set and not empty: an empty variable is as good as none.
#[must_use]
pub fn is_set(variable: &std::ffi::OsStr) -> bool {
    std::env::var_os(variable).is_some_and(|value| !value.is_empty())
}

/// A wrong value, which may be an address that was meant for another option, without its password.
fn shown(value: &str) -> String {
    if may_be_secret(value) { redacted(value) } else { value.to_owned() }
}

fn address(v: &mut Violations, field: &str, text: Option<&str>, default: &str) -> Option<SocketAddr> {
    let text = text.unwrap_or(default);
    let address = text.parse();
    if address.is_err() {
        v.refuse(
            field,
            format_args!("{:?}", shown(text)),
            "an IP address and a port, such as 127.0.0.1:8080 or [::]:8080",
        );
    }
    address.ok()
}

/// Without a setting: where only this machine can reach the server, no other names; else those that a public name
/// server cannot resolve.
fn allowed_hosts(set: Option<HostNames>, listen: SocketAddr) -> Hosts {
    match set {
        Some(names) => Hosts::Named(names),
        None if listen.ip().is_loopback() => Hosts::Loopback,
        None => Hosts::Private,
    }
}

fn limits(v: &mut Violations, options: &Options) -> Limits {
    let defaults = Limits::default();
    Limits {
        message_bytes: count(
            v,
            "message_bytes",
            options.message_bytes.map(|size| size.0),
            defaults.message_bytes,
            1 << 10,
            1 << 30,
        ),
        connections: count(v, "max_connections", options.max_connections, defaults.connections, 1, 1_000_000),
        read_timeout: timeout(v, "read_timeout", options.read_timeout, defaults.read_timeout),
        write_timeout: timeout(v, "write_timeout", options.write_timeout, defaults.write_timeout),
        request_bytes: count(
            v,
            "request_bytes",
            options.request_bytes.map(|size| size.0),
            defaults.request_bytes,
            1 << 20,
            1 << 31,
        ),
        response_bytes: count(
            v,
            "response_bytes",
            options.response_bytes.map(|size| size.0),
            defaults.response_bytes,
            1 << 20,
            1 << 31,
        ),
        streams: count(v, "max_streams", options.max_streams, defaults.streams, 1, 1_000_000),
        calls: count(v, "max_calls", options.max_calls, defaults.calls, 1, 1_000_000),
        calls_per_connection: options.max_calls_per_connection.map_or(defaults.calls_per_connection, |calls| {
            in_range(v, "max_calls_per_connection", calls, 1, 1_000_000, u32::to_string)
        }),
        stream_messages: count(
            v,
            "max_stream_messages",
            options.max_stream_messages,
            defaults.stream_messages,
            1,
            65_536,
        ),
        watchers: count(v, "max_watchers", options.max_watchers, defaults.watchers, 1, 1_000_000),
    }
}

fn engine_settings(v: &mut Violations, options: &Options, memory_bytes: u64) -> Settings {
    let defaults = Settings::default();
    let number = |v: &mut Violations, field, set: Option<u64>, default, min, max| {
        set.map_or(default, |value| in_range(v, field, value, min, max, u64::to_string))
    };
    let longest = Duration::from_hours(100 * 365 * 24);
    let mut length = |field, set: Option<duration::Length>, default, least| {
        set.map_or(default, |length| in_range(v, field, length.0, least, longest, duration::show))
    };
    let idle_after = length("idle_after", options.idle_after, defaults.idle_after, Duration::from_millis(1));
    let abandon_after = length("abandon_after", options.abandon_after, defaults.abandon_after, Duration::from_secs(1));
    Settings {
        shards: count(v, "shards", options.shards, defaults.shards, 1, 1024),
        reserve_steps: number(v, "reserve_steps", options.reserve_steps, defaults.reserve_steps, 1, 1 << 20),
        queue_items: count(v, "queue_items", options.queue_items, defaults.queue_items, 1, 1 << 20),
        queue_values: count(v, "queue_values", options.queue_values, defaults.queue_values, 1000, 1 << 31),
        batch_items: count(v, "batch_items", options.batch_items, defaults.batch_items, 1, 1 << 16),
        piece_values: defaults.piece_values,
        store_timeout: options.store_timeout.map_or(defaults.store_timeout, |timeout| {
            let (least, most) = (Duration::from_millis(100), Duration::from_hours(1));
            in_range(v, "store_timeout", timeout.0, least, most, duration::show)
        }),
        max_jobs: count(v, "max_jobs", options.max_jobs, defaults.max_jobs, 1, 100_000_000),
        max_loaded_jobs: count(
            v,
            "max_loaded_jobs",
            options.max_loaded_jobs,
            memory::jobs(memory_bytes),
            1,
            100_000_000,
        ),
        idle_after,
        abandon_after,
        max_open_steps: count(v, "max_open_steps", options.max_open_steps, defaults.max_open_steps, 1, 10_000_000),
        max_person_decisions: count(
            v,
            "max_person_decisions",
            options.max_person_decisions,
            defaults.max_person_decisions,
            1,
            1_000_000,
        ),
        owner_lease: options.owner_lease.map_or(defaults.owner_lease, |lease| {
            in_range(v, "owner_lease", lease.0, Duration::from_secs(3), Duration::from_hours(1), duration::show)
        }),
        stale_after: options.stale_after.map_or(defaults.stale_after, |after| {
            in_range(v, "stale_after", after.0, Duration::from_millis(1), Duration::from_hours(30 * 24), duration::show)
        }),
        merge_after_chunks: number(
            v,
            "merge_after_chunks",
            options.merge_after_chunks,
            defaults.merge_after_chunks,
            2,
            1 << 20,
        ),
        snapshot_after_records: number(
            v,
            "snapshot_after_records",
            options.snapshot_after_records,
            defaults.snapshot_after_records,
            1,
            1 << 30,
        ),
        watch_events: count(v, "watch_events", options.watch_events, defaults.watch_events, 1, 65_536),
        max_report_jobs: options
            .max_report_jobs
            .map_or(defaults.max_report_jobs, |jobs| in_range(v, "max_report_jobs", jobs, 1, 10_000, u32::to_string)),
        max_reports: count(v, "max_reports", options.max_reports, defaults.max_reports, 1, 1024),
    }
}

fn timeout(v: &mut Violations, field: &str, set: Option<Length>, default: Duration) -> Duration {
    set.map_or(default, |timeout| {
        in_range(v, field, timeout.0, Duration::from_millis(100), Duration::from_hours(1), duration::show)
    })
}

fn count(v: &mut Violations, field: &str, set: Option<usize>, default: usize, min: usize, max: usize) -> usize {
    set.map_or(default, |value| in_range(v, field, value, min, max, usize::to_string))
}

fn in_range<T: Copy + PartialOrd>(
    v: &mut Violations,
    field: &str,
    value: T,
    min: T,
    max: T,
    show: impl Fn(&T) -> String,
) -> T {
    if value < min || value > max {
        v.refuse(field, show(&value), format_args!("from {} to {}", show(&min), show(&max)));
    }
    value
}

#[cfg(test)]
mod tests;
