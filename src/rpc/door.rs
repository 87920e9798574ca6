//! The way from a call to the engine. It is closed while there is no engine, and until the engine has recovered.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::status;
use lrs_engine::{Engine, Error};
use lrs_runtime::heavy::{Turn, Turns};

/// A caller whose request is at least this large takes turns with others.
const LARGE_BYTES: usize = 64 << 10;

/// How many large answers are read from the database at once.
const READS: usize = 4;

/// The way to the engine, and the sign that the process is about to end.
#[derive(Clone)]
pub struct Door {
    inside: Arc<ArcSwap<Inside>>,
    drain: CancellationToken,
    turns: Turns,
    reads: Turns,
    patience: Duration,
}

/// What is behind the door.
enum Inside {
    /// No engine, and why not, in words.
    Nothing(String),
    Engine {
        engine: Engine,
        has_recovered: AtomicBool,
    },
}

impl Door {
    /// A door with no engine behind it; `why` says so to people. Calls wait for their turn for at most `patience`.
    #[must_use]
    pub fn closed(why: impl Into<String>, drain: CancellationToken, patience: Duration) -> Self {
        let inside = Arc::new(ArcSwap::from_pointee(Inside::Nothing(why.into())));
        Self { inside, drain, turns: Turns::default(), reads: Turns::of(READS), patience }
    }

    /// Calls go to `engine` from now on, once it has recovered.
    pub fn open(&self, engine: Engine) {
        self.inside.store(Arc::new(Inside::Engine { engine, has_recovered: AtomicBool::new(false) }));
    }

    /// Calls are refused from now on; `why` says why to people.
    pub fn close(&self, why: impl Into<String>) {
        self.inside.store(Arc::new(Inside::Nothing(why.into())));
    }

    /// The engine, once it has recovered. After that the door stays open, even if the database goes away later: the
    /// engine still answers what it can.
    ///
    /// # Errors
    /// `UNAVAILABLE` while there is no engine, and until it has recovered.
    pub fn engine(&self) -> Result<Engine, Status> {
        match &**self.inside.load() {
            Inside::Nothing(why) => Err(status::not_ready(why)),
            Inside::Engine { engine, has_recovered } => {
                if !has_recovered.load(Ordering::Relaxed) {
                    engine.ready().map_err(|why| status::not_ready(&why))?;
                    has_recovered.store(true, Ordering::Relaxed);
                }
                Ok(engine.clone())
            }
        }
    }

    /// Whether the server can answer calls now.
    ///
    /// # Errors
    /// A message for people: why it cannot.
    pub fn ready(&self) -> Result<(), String> {
        if self.drain.is_cancelled() {
            return Err("the server is shutting down".to_owned());
        }
        match &**self.inside.load() {
            Inside::Nothing(why) => Err(why.clone()),
            Inside::Engine { engine, .. } => engine.ready(),
        }
    }

    /// Waits for a turn at large work. Hold the turn until the work is done.
    ///
    /// # Errors
    /// `RESOURCE_EXHAUSTED` if there is none in time: those who have one may be waiting for the database.
    pub async fn turn(&self) -> Result<Turn, Status> {
        self.wait(&self.turns, "the list of large requests under way").await
    }

    /// Waits for a turn at an answer that may be large and is read from the database. Hold the turn until the answer is
    /// made: its bytes are counted only then.
    ///
    /// # Errors
    /// As for [`turn`](Self::turn).
    pub async fn read(&self) -> Result<Turn, Status> {
        self.wait(&self.reads, "the list of large answers being read").await
    }

    async fn wait(&self, turns: &Turns, what: &'static str) -> Result<Turn, Status> {
        let turn = tokio::time::timeout(self.patience, turns.take()).await;
        turn.map_err(|_| status::of(Error::Overloaded { what, limit: turns.at_once() }))
    }

    /// Waits for a turn for the work of a request, if the request is large.
    ///
    /// # Errors
    /// As for [`turn`](Self::turn).
    pub async fn turn_for(&self, request: &impl prost::Message) -> Result<Option<Turn>, Status> {
        if request.encoded_len() < LARGE_BYTES { Ok(None) } else { self.turn().await.map(Some) }
    }

    /// The same for a message of a stream, which holds its sender back for as long as it takes.
    pub async fn turn_for_message(&self, message: &impl prost::Message) -> Option<Turn> {
        if message.encoded_len() < LARGE_BYTES { None } else { Some(self.turns.take().await) }
    }

    /// Cancelled when streams must end because the process is about to end.
    #[must_use]
    pub fn drain(&self) -> &CancellationToken {
        &self.drain
    }
}
