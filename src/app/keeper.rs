//! The engine and its database, which come and go while the listeners stay.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::Context as _;

use super::{census, opening, retention};
use crate::{
    config::{Config, Retention},
    rpc::Door,
};
use lrs_engine::{Engine, Settings};
use lrs_runtime::{clock::Clock, metrics::families::OWNER_EPOCH};
use lrs_stats::Backend;
use lrs_store::{DatabaseUrl, Store};

/// Why the door is closed before the first try to open the database.
pub(super) const OPENING: &str = "the database is being opened";

/// Opens the database and keeps an engine on it.
pub(super) struct Keeper {
    url: DatabaseUrl,
    wait: Option<Duration>,
    settings: Settings,
    retention: Retention,
    clock: Arc<dyn Clock>,
    around: Around,
    door: Door,
    statistics: Arc<dyn Backend>,
    held: Held,
}

/// Puts something between the engine and a store that was opened.
pub type Around = fn(Arc<dyn Store>) -> Arc<dyn Store>;

impl Keeper {
    /// Of the database that `config` names; calls come through `door`.
    pub(super) fn new(
        config: &Config,
        clock: Arc<dyn Clock>,
        around: Around,
        door: Door,
        statistics: Arc<dyn Backend>,
    ) -> Self {
        Self {
            url: config.database_url.clone(),
            wait: config.database_wait,
            settings: config.engine.clone(),
            retention: config.retention.clone(),
            clock,
            around,
            door,
            statistics,
            held: Held::default(),
        }
    }

    /// What is open now.
    pub(super) fn held(&self) -> Held {
        self.held.clone()
    }

    /// Waits for the database, opens the door to an engine on it, and keeps house for it. When this process has lost the
    /// database to another one, or the database has gone back, begins anew: all that the engine remembers is dropped. Safe
    /// to drop at any moment; what is open then is [`held`](Self::held).
    ///
    /// # Errors
    /// If the database cannot be opened and waiting cannot mend that, or is over.
    pub(super) async fn run(self) -> anyhow::Result<Infallible> {
        let mut wait = self.wait;
        loop {
            let tell = |why| self.door.close(why);
            let store = opening::open(&self.url, wait, tell).await;
            let store = (self.around)(store.with_context(|| format!("the database {} cannot be opened", self.url))?);
            tracing::info!(epoch = store.epoch(), "The database is open, with epoch {}", store.epoch());
            let engine = Engine::start(self.settings.clone(), Arc::clone(&store), Arc::clone(&self.clock));
            self.held.put(engine.clone(), Arc::clone(&store));
            self.door.open(engine.clone());
            OWNER_EPOCH.gauge([]).set(epoch(&*store));
            let house = retention::keep(store, Arc::clone(&self.clock), self.retention.clone());
            let why = tokio::select! {
                why = engine.deposed() => why,
                () = async { house.await; std::future::pending().await } => continue,
                () = census::count(engine.clone(), Arc::clone(&self.statistics)) => continue,
            };
            OWNER_EPOCH.gauge([]).set(0.0);
            tracing::error!("All that this server remembers is dropped, and it begins anew: {why}");
            self.door.close(why);
            self.held.close().await;
            // A server that has run waits for its database without end.
            wait = None;
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "nobody has so many owners")]
fn epoch(store: &dyn Store) -> f64 {
    store.epoch() as f64
}

/// The engine and the store that are open now, if any are.
#[derive(Clone, Default)]
pub(super) struct Held(Arc<Mutex<Option<Open>>>);

type Open = (Engine, Arc<dyn Store>);

impl Held {
    fn put(&self, engine: Engine, store: Arc<dyn Store>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((engine, store));
    }

    /// Flushes and closes what is open. The second call does nothing.
    pub(super) async fn close(&self) {
        let held = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((engine, store)) = held {
            engine.shutdown().await;
            store.close().await;
        }
    }
}
