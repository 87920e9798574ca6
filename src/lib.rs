//! `lrs`, the learning-rate scheduling service: the server and the program. The rooms below them are crates of their
//! own, under `crates/`.

pub mod app;
pub mod cli;
pub mod config;
pub mod connections;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod http;
pub mod observability;
pub mod rpc;
pub mod shutdown;
pub mod trace;
