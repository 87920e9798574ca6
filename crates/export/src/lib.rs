//! The record of a job as files for other tools: tables as Parquet, CSV or JSON lines, and TensorBoard's event files.
//!
//! A [`Target`] takes the record in step order, a page at a time, so that memory does not grow with the history.

#[cfg(feature = "parquet")]
mod arrow_schema;
mod column;
mod error;
mod file;
mod format;
mod output;
#[cfg_attr(not(feature = "parquet"), path = "no_parquet.rs")]
mod parquet;
mod rows;
mod sink;
mod subject;
mod tables;
mod target;
mod tensorboard;
mod text;

pub use column::Table;
pub use error::Error;
pub use format::Format;
pub use subject::Subject;
pub use tables::Tables;
pub use target::Target;
pub use tensorboard::Events;
