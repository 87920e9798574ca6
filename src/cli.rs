//! The command line: a file a command.

pub mod demo;
pub mod serve;
