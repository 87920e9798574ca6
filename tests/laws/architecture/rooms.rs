//! The rooms of the house and what each may use. A new room is a new entry here; a new edge is a decision.

/// A crate under `crates/`.
pub struct CrateRoom {
    /// As in its `Cargo.toml`.
    pub name: &'static str,
    /// Our other crates that it may depend on.
    pub below: &'static [&'static str],
    /// Crates that it must never depend on.
    pub never: &'static [&'static [&'static str]],
}

/// A module with rules of its own: a module of the root package, or pure code.
pub struct Room {
    /// `lrs::rpc`, `lrs_schedule`, `lrs_engine::job`.
    pub module: &'static str,
    /// Our other crates, and the other modules of its own crate, that it may use.
    pub uses: Uses,
    /// Crates, and paths of ours or of `std`, that it must never use.
    pub never: &'static [&'static [&'static str]],
    /// Whether its numbers must be the same bits on every machine.
    pub has_exact_numbers: bool,
}

/// Which of our crates and modules a room may use.
pub enum Uses {
    /// Everything: the compiler holds the rest.
    All,
    /// These.
    Only(&'static [&'static str]),
}

use Uses::{All, Only};

/// The parts of `std` that make an answer depend on more than the question: time, the surroundings, other threads.
const SURROUNDINGS: &[&str] =
    &["std::env", "std::fs", "std::net", "std::process", "std::thread", "std::time::Instant", "std::time::SystemTime"];
/// Crates that do the same: chance, tasks, records of what happens.
const IMPURE: &[&str] =
    &["futures", "getrandom", "metrics", "rand", "rayon", "tokio", "tokio_stream", "tokio_util", "tracing"];
/// Sockets and what is sent over them.
const WIRE: &[&str] = &["axum", "http", "pbjson", "pbjson_types", "prost", "tonic", "tower"];
/// gRPC and HTTP, for rooms that may hold the messages but not serve them.
const SERVERS: &[&str] = &["axum", "tonic", "tower"];
const SQL: &[&str] = &["sqlx"];
const CUDA: &[&str] = &["cudarc"];
const STORE_INTERNALS: &[&str] = &["lrs_store::postgres", "lrs_store::sqlite"];

/// Every crate, from the ground up.
pub const CRATES: &[CrateRoom] = &[
    // The ground, and the pure rooms: values in, values out, so that a replay gives the same bits.
    below("lrs-model", &[], &[IMPURE, WIRE, SQL, CUDA]),
    below("lrs-schedule", &["lrs-model"], &[IMPURE, WIRE, SQL, CUDA]),
    below("lrs-control", &["lrs-model", "lrs-stats"], &[IMPURE, WIRE, SQL, CUDA]),
    below("lrs-audit", &["lrs-model", "lrs-stats"], &[IMPURE, WIRE, SQL, CUDA]),
    // One trait, two devices: a processor with its cores, and a GPU.
    below("lrs-stats", &["lrs-model"], &[&["futures", "metrics", "rand", "tokio", "tracing"], WIRE, SQL]),
    below("lrs-runtime", &["lrs-model"], &[SERVERS, SQL, CUDA]),
    // It remembers, it does not decide.
    below("lrs-store", &["lrs-model", "lrs-runtime"], &[WIRE, CUDA]),
    // Testable without a socket or a database.
    below(
        "lrs-engine",
        &["lrs-audit", "lrs-control", "lrs-model", "lrs-runtime", "lrs-schedule", "lrs-stats", "lrs-store"],
        &[WIRE, SQL, CUDA],
    ),
    // The messages, and the rooms that are made of them.
    below("lrs-proto", &["lrs-model"], &[&["axum", "tower"], SQL, CUDA]),
    below("lrs-client", &["lrs-model", "lrs-proto", "lrs-runtime"], &[&["axum"], SQL, CUDA]),
    below("lrs-plotly", &[], &[IMPURE, WIRE, SQL, CUDA]),
    below("lrs-report", &["lrs-model", "lrs-plotly", "lrs-proto"], &[IMPURE, SERVERS, SQL, CUDA]),
    below("lrs-export", &["lrs-model", "lrs-proto"], &[IMPURE, SERVERS, SQL, CUDA]),
    // Trainers like any other: they reach the server over the wire.
    below("lrs-demo", &["lrs-client", "lrs-model", "lrs-proto", "lrs-report", "lrs-runtime"], &[&["axum"], SQL, CUDA]),
];

/// The rooms whose rules the compiler does not hold.
pub const ROOMS: &[Room] = &[
    pure("lrs_model", All),
    pure("lrs_schedule", All),
    pure("lrs_control", All),
    pure("lrs_audit", All),
    pure("lrs_stats", All),
    Room {
        never: &[SURROUNDINGS, IMPURE],
        ..pure(
            "lrs_engine::job",
            Only(&[
                "lrs_control",
                "lrs_engine::api",
                "lrs_engine::steering",
                "lrs_engine::lineage",
                "lrs_engine::timeline",
                "lrs_model",
                "lrs_schedule",
                "lrs_stats",
            ]),
        )
    },
    // These two translate and nothing more. The JSON form of a call is answered by the service that answers it on gRPC.
    room(
        "lrs::rpc",
        Only(&[
            "lrs::connections",
            "lrs::trace",
            "lrs_audit",
            "lrs_engine",
            "lrs_model",
            "lrs_proto",
            "lrs_report",
            "lrs_runtime",
        ]),
        &[SQL, CUDA],
    ),
    room(
        "lrs::http",
        Only(&[
            "lrs::connections",
            "lrs::rpc",
            "lrs::trace",
            "lrs_audit",
            "lrs_engine",
            "lrs_model",
            "lrs_plotly",
            "lrs_proto",
            "lrs_report",
            "lrs_runtime",
        ]),
        &[SQL, CUDA],
    ),
    // What every process needs. The config gathers the settings of the others, so none of them reads it.
    room("lrs::trace", Only(&["lrs_model", "lrs_runtime"]), &[SERVERS, SQL, CUDA]),
    room("lrs::connections", Only(&[]), &[SQL, CUDA, &["axum"]]),
    room(
        "lrs::config",
        Only(&[
            "lrs::http",
            "lrs::observability",
            "lrs::rpc",
            "lrs_engine",
            "lrs_model",
            "lrs_runtime",
            "lrs_stats",
            "lrs_store",
        ]),
        &[SERVERS, SQL, CUDA],
    ),
    room("lrs::observability", Only(&["lrs_runtime"]), &[SERVERS, SQL, CUDA]),
    room("lrs::shutdown", Only(&[]), &[SERVERS, SQL, CUDA]),
    // Where everything is put together.
    room("lrs::fuzz", All, &[SQL, CUDA]),
    room("lrs::app", All, &[SQL, CUDA]),
    room("lrs::cli", All, &[SQL, CUDA, STORE_INTERNALS]),
];

const fn below(
    name: &'static str,
    below: &'static [&'static str],
    never: &'static [&'static [&'static str]],
) -> CrateRoom {
    CrateRoom { name, below, never }
}

const fn room(module: &'static str, uses: Uses, never: &'static [&'static [&'static str]]) -> Room {
    Room { module, uses, never, has_exact_numbers: false }
}

const fn pure(module: &'static str, uses: Uses) -> Room {
    Room { module, uses, never: &[SURROUNDINGS], has_exact_numbers: true }
}
