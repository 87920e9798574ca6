//! `lrs serve`: the server.

use std::{
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use serde_json::json;

use super::failure::{Exit, Failure};
use crate::{
    app::{Ending, Server},
    config::{self, Config, Options, Text},
    connections,
    observability::{self, LogFormat},
    shutdown,
};
use lrs_runtime::clock::{Clock as _, SystemClock};

/// Run the server
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Examples:
  lrs serve                                                   one SQLite file, this machine only
  lrs serve --database-url postgres://lrs@db/lrs              PostgreSQL
  lrs serve --grpc-listen 0.0.0.0:50051 --http-listen 0.0.0.0:8080")]
pub struct Args {
    /// A file in TOML with any of the options below, by the same names in `snake_case`.
    #[arg(long, value_name = "FILE", env = "LRS_CONFIG", value_parser = Text::<PathBuf>::new())]
    pub config: Option<PathBuf>,
    /// Once ready, write a JSON file with the addresses and the process's number: `{"grpc", "http", "pid"}`.
    #[arg(long, value_name = "FILE", env = "LRS_READY_FILE", value_parser = Text::<PathBuf>::new())]
    pub ready_file: Option<PathBuf>,
    /// What can be set.
    #[command(flatten)]
    pub options: Options,
    /// What to warn of in the log, beside what the configuration itself gives reason for.
    #[arg(skip)]
    pub warnings: Vec<String>,
}

/// Serves until it is told to end.
///
/// # Errors
/// If the configuration is wrong, an address is taken, the database cannot be opened, or the grace period at the
/// end was too short to answer and flush everything. The log says which.
pub async fn run(args: Args) -> Result<(), Failure> {
    let format = config::log_format(args.options.log_format, args.config.as_deref());
    let failure = match serve(args).await {
        Ok(Ending::Drained) => return Ok(()),
        Ok(Ending::Cut) => Failure::silently(Exit::Cut),
        Err(error) => Failure::from(error),
    };
    Err(if format == LogFormat::Json { logged(&failure) } else { failure })
}

/// The failure that a command line cannot be read, if it is one of `lrs serve` that asks for a log in JSON: said as a
/// line of that log.
#[must_use]
pub fn unreadable(refusal: &str) -> Option<Failure> {
    let line: Vec<String> = std::env::args_os().map(|text| text.to_string_lossy().into_owned()).collect();
    let is_serve = line.iter().any(|text| text == "serve");
    let asks_for_json = is_serve && config::asked_log_format(&line) == LogFormat::Json;
    asks_for_json.then(|| logged(&Failure::invalid(refusal)))
}

/// Writes a failure as a line of the log in JSON, whatever the log's filter is. What is left is the exit code.
fn logged(failure: &Failure) -> Failure {
    if !failure.message.is_empty() {
        // Nobody may be there to read it.
        let _ = writeln!(io::stderr(), "{}", failure.to_json(SystemClock.now()));
    }
    Failure::silently(failure.exit)
}

async fn serve(args: Args) -> anyhow::Result<Ending> {
    let config = Config::load(args.options, args.config.as_deref())?;
    observability::init(&config.log)?;
    for warning in args.warnings.iter().chain(&config.warnings()) {
        tracing::warn!("{warning}");
    }
    connections::raise_open_files();
    // Before anything is started, so that a signal during the start ends it in order too.
    let signals = shutdown::signals().context("signals cannot be listened for")?;
    let server = Server::start(&config).await?;
    introduce(&config, &server);
    let Some(ready_file) = args.ready_file else { return server.run_until(signals).await };
    let (grpc, http) = (server.grpc_address().to_string(), server.http_address().to_string());
    let ready = server.readiness();
    let announce = async {
        ready.await;
        let text = json!({"grpc": grpc, "http": http, "pid": std::process::id()}).to_string();
        write_atomically(&ready_file, &text)
            .with_context(|| format!("the ready file {} cannot be written", ready_file.display()))
    };
    let run = server.run_until(signals);
    tokio::pin!(run);
    let ending = tokio::select! {
        ending = &mut run => ending?,
        announced = announce => {
            announced?;
            run.await?
        }
    };
    Ok(ending)
}

/// Says where the server is: in lines for people, or in a line of the log for machines.
fn introduce(config: &Config, server: &Server) {
    let version = env!("CARGO_PKG_VERSION");
    let (grpc, http, database) = (server.grpc_address(), server.http_address(), &config.database_url);
    let device = server.statistics().name();
    let (memory_mib, loaded_jobs) = (config.memory_bytes >> 20, config.engine.max_loaded_jobs);
    match config.log.format {
        LogFormat::Text => {
            // Nobody may be there to read it.
            let _ = write!(
                io::stdout(),
                "lrs {version} is starting\n  gRPC      {grpc}\n  HTTP      http://{http}\n  database  {database}\n  \
                 device    {device}\n  memory    {memory_mib} MiB, at most {loaded_jobs} jobs in it\n",
            );
        }
        LogFormat::Json => {
            tracing::info!(%version, %grpc, %http, %database, device, memory_mib, loaded_jobs, "lrs {version} is starting");
        }
    }
}

/// Writes a file that nobody ever sees half of.
fn write_atomically(path: &Path, text: &str) -> io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{}", std::process::id()));
    fs::write(&beside, text)?;
    fs::rename(&beside, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ready_file_replaces_the_one_before_and_leaves_nothing_beside_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ready.json");
        write_atomically(&path, "before").unwrap();
        write_atomically(&path, "after").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "after");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }
}
