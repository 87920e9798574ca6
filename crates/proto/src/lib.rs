//! The wire: messages, services and canonical JSON of package `lrs.v1`, generated from `proto/` at build time.

pub use generated::*;

pub mod codec;
pub mod json;
pub mod lengths;
mod once;
pub mod reflect;
pub mod written;

mod generated {
    #![allow(
        missing_docs,
        clippy::all,
        clippy::pedantic,
        reason = "generated; the documentation is in the .proto files"
    )]

    tonic::include_proto!("lrs.v1");
    include!(concat!(env!("OUT_DIR"), "/lrs.v1.serde.rs"));
}

/// The descriptors of all services and messages, for gRPC reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/lrs.v1.descriptors.bin"));
