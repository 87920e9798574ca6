//! `lrs`, the learning-rate scheduling service.
pub mod control;
pub mod engine;
pub mod model;
pub mod proto;
pub mod schedule;
pub mod store;
