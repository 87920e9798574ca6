//! The way from a call to the engine. It is closed until the engine has recovered.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::status;
use lrs_engine::Engine;
use lrs_runtime::heavy::{Turn, Turns};

/// A caller whose request is at least this large takes turns with others.
const LARGE_BYTES: usize = 64 << 10;

/// The way to the engine, and the sign that the process is about to end.
#[derive(Clone)]
pub struct Door {
    engine: Engine,
    has_opened: Arc<AtomicBool>,
    drain: CancellationToken,
    turns: Turns,
}

impl Door {
    /// A door in front of `engine`.
    #[must_use]
    pub fn new(engine: Engine, drain: CancellationToken) -> Self {
        Self { engine, has_opened: Arc::default(), drain, turns: Turns::default() }
    }

    /// The engine, once it has recovered. After that the door stays open, even if the database goes away later: the
    /// engine still answers what it can.
    ///
    /// # Errors
    /// `UNAVAILABLE` until the engine has recovered.
    pub fn engine(&self) -> Result<&Engine, Status> {
        if !self.has_opened.load(Ordering::Relaxed) {
            self.engine.ready().map_err(|why| status::not_ready(&why))?;
            self.has_opened.store(true, Ordering::Relaxed);
        }
        Ok(&self.engine)
    }

    /// Whether the server can answer calls now.
    ///
    /// # Errors
    /// A message for people: why it cannot.
    pub fn ready(&self) -> Result<(), String> {
        if self.drain.is_cancelled() { Err("the server is shutting down".to_owned()) } else { self.engine.ready() }
    }

    /// Waits for a turn at large work. Hold the turn until the work is done.
    pub async fn turn(&self) -> Turn {
        self.turns.take().await
    }

    /// Waits for a turn for the work of a request, if the request is large.
    pub async fn turn_for(&self, request: &impl prost::Message) -> Option<Turn> {
        if request.encoded_len() < LARGE_BYTES { None } else { Some(self.turn().await) }
    }

    /// Cancelled when streams must end because the process is about to end.
    #[must_use]
    pub fn drain(&self) -> &CancellationToken {
        &self.drain
    }
}
