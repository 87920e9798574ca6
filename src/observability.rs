//! The log, on standard error, for people or for machines.

use std::{
    fmt,
    io::{self, IsTerminal as _},
};

use tracing_subscriber::EnvFilter;

mod one_line;

use one_line::OneLine;

/// How to log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// The form of the log.
    pub format: LogFormat,
    /// What to log, in the syntax of `tracing_subscriber::EnvFilter`.
    pub filter: String,
}

/// The form of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// For machines: one JSON object in each line.
    Json,
}

/// Begins to log. To be called once in a process.
///
/// # Errors
/// If the filter cannot be parsed, or the process logs already.
pub fn init(config: &LogConfig) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&config.filter)?;
    // A terminal that is gone, or a pipe that nobody reads any more, must not end the server.
    let builder = tracing_subscriber::fmt().with_env_filter(filter).log_internal_errors(false);
    let begun = match config.format {
        LogFormat::Text => {
            let has_colours = io::stderr().is_terminal();
            builder.with_ansi(has_colours).with_writer(OneLine::new(io::stderr, has_colours)).try_init()
        }
        // The fields of the call are in `span`; JSON escapes by itself.
        LogFormat::Json => {
            std::panic::set_hook(Box::new(|panic| tracing::error!("This is a bug in lrs: {panic}")));
            builder.with_writer(io::stderr).json().flatten_event(true).with_span_list(false).try_init()
        }
    };
    begun.map_err(anyhow::Error::from_boxed)
}

/// Checks that a filter can be parsed.
pub(crate) fn check_filter(filter: &str) -> Result<(), String> {
    EnvFilter::try_new(filter).map(drop).map_err(|problem| problem.to_string())
}

impl fmt::Display for LogFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text => "text",
            Self::Json => "json",
        })
    }
}
