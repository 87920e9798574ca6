//! `lrs`, the learning-rate scheduling service.
pub mod cli;
pub mod engine;
pub mod model;
pub mod proto;
pub mod store;
