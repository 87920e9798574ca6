//! `lrs`, the learning-rate scheduling service.

pub mod app;
pub mod aside;
pub mod cli;
pub mod client;
pub mod clock;
pub mod config;
pub mod connections;
pub mod control;
pub mod engine;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod http;
pub mod metrics;
pub mod model;
pub mod observability;
pub mod proto;
pub mod report;
pub mod rpc;
pub mod schedule;
pub mod shutdown;
pub mod stats;
pub mod store;
