//! The rooms of the house and what each may use. A new room is a new entry here; a new edge is a decision.

/// A part of `src/`, named by its module.
pub struct Room {
    /// `engine`, or for a stricter part of a room `engine::job`.
    pub module: &'static str,
    /// The other rooms that it may use.
    pub uses: Uses,
    /// Crates, and paths of ours or of `std`, that it must never use.
    pub never: &'static [&'static [&'static str]],
    /// Whether its numbers must be the same bits on every machine.
    pub exact_numbers: bool,
}

/// Which other rooms a room may use.
pub enum Uses {
    /// All of them.
    All,
    /// These.
    Only(&'static [&'static str]),
}

use Uses::{All, Only};

/// What makes an answer depend on anything but the question: time, chance, the surroundings.
const IMPURE: &[&str] = &[
    "std::env",
    "std::fs",
    "std::net",
    "std::process",
    "std::thread",
    "std::time::Instant",
    "std::time::SystemTime",
    "futures",
    "getrandom",
    "metrics",
    "rand",
    "tokio",
    "tokio_stream",
    "tokio_util",
    "tracing",
];
/// Sockets and what is sent over them.
const WIRE: &[&str] = &["axum", "http", "pbjson", "pbjson_types", "prost", "tonic", "tower"];
/// gRPC and HTTP, for those that may hold the messages but not serve them.
const SERVERS: &[&str] = &["axum", "tonic", "tower"];
const SQL: &[&str] = &["sqlx"];
const CUDA: &[&str] = &["cudarc"];
const STORE_INTERNALS: &[&str] = &["crate::store::postgres", "crate::store::sqlite"];

/// Every room. The order is that of the floors, from the ground up.
pub const ROOMS: &[Room] = &[
    // The ground, and the pure rooms: values in, values out, so that a replay gives the same bits.
    room("model", Only(&[]), &[IMPURE, WIRE, SQL, CUDA]),
    pure("schedule", Only(&["model"])),
    pure("control", Only(&["model", "stats"])),
    exact(room("stats", Only(&["model"]), &[IMPURE, WIRE, SQL])),
    room("report", Only(&["model", "proto", "stats"]), &[IMPURE, SERVERS, SQL, CUDA]),
    pure("report::audit", Only(&["model", "stats"])),
    // It remembers, it does not decide.
    room("store", Only(&["aside", "clock", "metrics", "model"]), &[WIRE, CUDA]),
    // Testable without a socket or a database.
    room(
        "engine",
        Only(&["aside", "clock", "control", "metrics", "model", "report", "schedule", "stats", "store"]),
        &[WIRE, SQL, CUDA],
    ),
    pure("engine::job", Only(&["control", "model", "schedule", "stats"])),
    // These translate and nothing more. The JSON form of a call is answered by the service that answers it on gRPC.
    room("proto", Only(&[]), &[SQL, CUDA]),
    room(
        "rpc",
        Only(&["aside", "clock", "connections", "engine", "metrics", "model", "proto", "report"]),
        &[SQL, CUDA],
    ),
    room("http", Only(&["clock", "connections", "engine", "metrics", "model", "proto", "report", "rpc"]), &[SQL, CUDA]),
    // On the other side of the wire, like anyone else.
    room("client", Only(&["clock", "model", "proto"]), &[SQL, CUDA, &["axum"]]),
    // What every process needs. The config gathers the settings of the others, so none of them reads it.
    room("aside", Only(&[]), &[SERVERS, SQL, CUDA]),
    room("clock", Only(&["model"]), &[SERVERS, SQL, CUDA]),
    room("connections", Only(&[]), &[SQL, CUDA, &["axum"]]),
    room("metrics", Only(&[]), &[SQL, CUDA, &["axum"]]),
    room("config", Only(&["engine", "http", "model", "observability", "rpc", "stats", "store"]), &[SERVERS, SQL, CUDA]),
    room("observability", Only(&["metrics"]), &[SERVERS, SQL, CUDA]),
    room("shutdown", Only(&[]), &[SERVERS, SQL, CUDA]),
    // Where everything is put together.
    room("fuzz", All, &[SQL, CUDA]),
    room("app", All, &[SQL, CUDA]),
    room("cli", All, &[SQL, CUDA, STORE_INTERNALS]),
];

const fn room(module: &'static str, uses: Uses, never: &'static [&'static [&'static str]]) -> Room {
    Room { module, uses, never, exact_numbers: false }
}

const fn pure(module: &'static str, uses: Uses) -> Room {
    exact(room(module, uses, &[IMPURE, WIRE, SQL, CUDA]))
}

const fn exact(room: Room) -> Room {
    Room { module: room.module, uses: room.uses, never: room.never, exact_numbers: true }
}
