//! The `lrs` program: parse the command line, then hand over.

use std::{io, process::ExitCode, thread};

use lrs::cli::Cli;

/// Schedules nest, to a bounded depth, and are read and checked by recursion: room for the deepest, with plenty to
/// spare.
const STACK_BYTES: usize = 16 << 20;

fn main() -> ExitCode {
    let cli = match Cli::read() {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    run(cli).unwrap_or_else(|error| {
        eprintln!("error: the threads cannot be started: {error}");
        ExitCode::FAILURE
    })
}

/// Runs on a thread of its own: the system decides how large the main thread's stack is.
fn run(cli: Cli) -> io::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread().thread_stack_size(STACK_BYTES).enable_all().build()?;
    let main = thread::Builder::new().stack_size(STACK_BYTES).spawn(move || runtime.block_on(cli.run()))?;
    Ok(main.join().unwrap_or(ExitCode::FAILURE))
}
