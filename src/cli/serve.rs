//! `lrs serve`: the server.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use serde_json::json;

use super::failure::Failure;
use crate::{
    app::{Ending, Server},
    config::{Config, Options},
    connections, observability, shutdown,
};

/// Run the server
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Examples:
  lrs serve                                                   one SQLite file, this machine only
  lrs serve --database-url postgres://lrs@db/lrs              PostgreSQL
  lrs serve --grpc-listen 0.0.0.0:50051 --http-listen 0.0.0.0:8080")]
pub struct Args {
    /// A file in TOML with any of the options below, by the same names in `snake_case`.
    #[arg(long, value_name = "FILE", env = "LRS_CONFIG")]
    pub config: Option<PathBuf>,
    /// Once ready, write a JSON file with the addresses and the process's number: `{"grpc", "http", "pid"}`.
    #[arg(long, value_name = "FILE", env = "LRS_READY_FILE")]
    pub ready_file: Option<PathBuf>,
    /// What can be set.
    #[command(flatten)]
    pub options: Options,
}

/// Serves until it is told to end.
///
/// # Errors
/// If the configuration is wrong, an address is taken, the database cannot be opened, or the grace period at the
/// end was too short to answer and flush everything. The log says which.
pub async fn run(args: Args) -> Result<(), Failure> {
    match serve(args).await? {
        Ending::Drained => Ok(()),
        Ending::Cut => Err(Failure::silent()),
    }
}

async fn serve(args: Args) -> anyhow::Result<Ending> {
    let config = Config::load(args.options, args.config.as_deref())?;
    observability::init(&config.log)?;
    connections::raise_open_files();
    // Before anything is started, so that a signal during the start ends it in order too.
    let signals = shutdown::signals().context("signals cannot be listened for")?;
    let server = Server::start(&config).await?;
    let (grpc, http) = (server.grpc_address(), server.http_address());
    println!("lrs {} is starting", env!("CARGO_PKG_VERSION"));
    println!("  gRPC      {grpc}");
    println!("  HTTP      http://{http}");
    println!("  database  {}", config.database_url);
    println!("  device    {}", server.statistics().name());
    let Some(ready_file) = args.ready_file else { return server.run_until(signals).await };
    let ready = server.readiness();
    let announce = async {
        ready.await;
        let text = json!({"grpc": grpc.to_string(), "http": http.to_string(), "pid": std::process::id()}).to_string();
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
