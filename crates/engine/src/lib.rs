//! What decides: jobs as pure values, the shards that own them, the commit pipeline, recovery.
//!
//! [`Engine`] is the handle that `rpc` and `http` hold. It is cheap to clone.

pub mod api;
mod bounded;
mod cell;
mod census;
mod commit;
mod compiled;
mod digest;
mod directory;
pub mod doctor;
mod entry;
mod handle;
pub mod health;
mod history;
pub mod job;
pub mod lineage;
mod loader;
mod meters;
mod moment;
pub mod native;
mod pace;
mod pages;
mod past;
pub mod preview;
mod recent;
mod record;
pub mod recover;
pub mod replay;
mod reporter;
mod room;
mod service;
mod shard;
pub mod steering;
mod sweeper;
mod tasks;
mod tenure;
mod ticket;
pub mod timeline;
mod trail;
mod uses;
pub mod warnings;

pub use api::*;
pub use census::Census;
pub use handle::{Engine, Fleet, Glance, Outlook, Sight, Watch};
pub use meters::show as show_metrics;
pub use reporter::{PendingReceipt, Reporter};
