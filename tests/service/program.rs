//! The `lrs` program as a user runs it beside a server.

use std::process::{Command, Output};

use crate::server::Server;

/// The program.
pub fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_lrs"))
}

/// The program as a client of `server`.
pub fn client_of(server: &Server) -> Command {
    let mut command = program();
    command.env("LRS_SERVER", format!("http://{}", server.grpc));
    command
}

/// What the program wrote to its standard output and its standard error.
pub fn texts(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

/// Asserts that the program succeeded; what it wrote to its standard output.
#[track_caller]
pub fn succeeds(output: &Output) -> String {
    let (out, err) = texts(output);
    assert!(output.status.success(), "{:?}\n{out}\n{err}", output.status);
    out
}
