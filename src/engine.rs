//! What decides: jobs as pure values, the shards that own them, the commit pipeline, recovery.
//!
//! [`Engine`] is the handle that `rpc` and `http` hold. It is cheap to clone.

pub mod api;

pub use api::*;
