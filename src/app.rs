//! The server as a whole: the only place that sees every room.

pub mod retention;
mod statistics;
mod ticks;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Context as _;
use futures::{Stream, StreamExt as _};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::{net::TcpListener, task::JoinSet, time::Instant};
use tokio_util::sync::CancellationToken;

use ticks::every;

use crate::{
    config::Config,
    http,
    rpc::{self, Door, Health, Services},
};
use lrs_engine::{Engine, Fleet};
use lrs_runtime::{
    clock::{Clock, SystemClock},
    metrics,
};
use lrs_stats::Backend;
use lrs_store::Store;

/// How often recorded metrics are summed up; until then each value is in memory.
const METRICS_UPKEEP: Duration = Duration::from_secs(5);
/// How often the health service asks whether the engine is ready, until it first is.
const READINESS_AT_START: Duration = Duration::from_millis(20);
/// How often it asks after that.
const READINESS: Duration = Duration::from_millis(500);

/// How a server ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Every call was answered and everything is flushed.
    Drained,
    /// The grace period ended, or a second signal came: unfinished calls were dropped. Nothing acknowledged is lost.
    Cut,
}

/// A server whose listeners are bound. It may still be recovering: see [`Server::readiness`].
pub struct Server {
    grpc: SocketAddr,
    http: SocketAddr,
    grace_period: Duration,
    engine: Engine,
    statistics: Arc<dyn Backend>,
    store: Arc<dyn Store>,
    door: Door,
    health: Health,
    drain: CancellationToken,
    tasks: JoinSet<anyhow::Result<()>>,
    chores: JoinSet<()>,
}

impl Server {
    /// Binds the listeners, opens the store and begins to recover.
    ///
    /// # Errors
    /// If an address is taken, or the database cannot be opened.
    pub async fn start(config: &Config) -> anyhow::Result<Self> {
        // The listeners come first: a second server on the same addresses must not touch the database.
        let grpc = bind(config.grpc_listen, "gRPC", "--grpc-listen").await?;
        let http = bind(config.http_listen, "HTTP", "--http-listen").await?;
        let store = config
            .database_url
            .open()
            .await
            .with_context(|| format!("the database {} cannot be opened", config.database_url))?;
        Self::start_with(config, grpc, http, store, Arc::new(SystemClock)).await
    }

    /// Starts on listeners that are bound and a store that is open.
    ///
    /// # Errors
    /// If the listeners' addresses cannot be read, or the process has another recorder of metrics.
    pub async fn start_with(
        config: &Config,
        grpc: TcpListener,
        http: TcpListener,
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
    ) -> anyhow::Result<Self> {
        let metrics = metrics::install()?;
        let statistics = statistics::open(config.device).await?;
        statistics::show(statistics.as_ref());
        let (grpc_address, http_address) = (grpc.local_addr()?, http.local_addr()?);
        let engine = Engine::start(config.engine.clone(), Arc::clone(&store), Arc::clone(&clock));
        let drain = CancellationToken::new();
        let services = Services::new(engine.clone(), drain.clone(), config.limits);
        let door = services.door.clone();
        let health = Health::new().await;

        let mut tasks = JoinSet::new();
        let (router, forget_unseen) =
            http::router(services.clone(), metrics.clone(), Fleet::new(Arc::clone(&statistics)), config.limits);
        let (limits, stop) = (config.limits, drain.clone().cancelled_owned());
        tasks.spawn(async move {
            http::serve(http, router, limits, stop).await;
            Ok(())
        });
        let (served_health, stop) = (health.clone(), drain.clone().cancelled_owned());
        tasks.spawn(async move {
            let served = rpc::serve(grpc, services, served_health, limits, stop).await;
            served.map_err(anyhow::Error::from_boxed).context("gRPC cannot be served")
        });
        let mut chores = JoinSet::new();
        chores.spawn(tidy_metrics(metrics));
        chores.spawn(forget_unseen);
        chores.spawn(tell_health(door.clone(), health.clone()));
        chores.spawn(retention::keep(Arc::clone(&store), clock, config.retention.clone()));
        Ok(Self {
            grpc: grpc_address,
            http: http_address,
            grace_period: config.grace_period,
            engine,
            statistics,
            store,
            door,
            health,
            drain,
            tasks,
            chores,
        })
    }

    /// Where gRPC is served.
    #[must_use]
    pub fn grpc_address(&self) -> SocketAddr {
        self.grpc
    }

    /// Where HTTP is served.
    #[must_use]
    pub fn http_address(&self) -> SocketAddr {
        self.http
    }

    /// The backend that computes batches of statistics.
    #[must_use]
    pub fn statistics(&self) -> &dyn Backend {
        self.statistics.as_ref()
    }

    /// Waits until the engine can answer. Cancel safe.
    pub fn readiness(&self) -> impl Future<Output = ()> + use<> {
        let door = self.door.clone();
        async move {
            let mut ticks = every(READINESS_AT_START);
            while door.ready().is_err() {
                ticks.tick().await;
            }
        }
    }

    /// Serves until the first of `signals`, then ends in order: reports itself as not serving, accepts nothing new,
    /// ends the streams, answers the calls under way, flushes. A second signal, or the end of the grace period, cuts
    /// that short.
    ///
    /// # Errors
    /// If serving fails while no signal has come.
    pub async fn run_until(mut self, mut signals: impl Stream<Item = ()> + Unpin) -> anyhow::Result<Ending> {
        tokio::select! {
            _ = signals.next() => {}
            Some(ended) = self.tasks.join_next() => {
                // Neither listener ends by itself unless it fails.
                self.finish().await;
                ended??;
                anyhow::bail!("a listener ended by itself");
            }
        }
        tracing::info!("Shutting down; a second signal ends it at once");
        let grace_period = self.grace_period;
        let ending = tokio::select! {
            ended = tokio::time::timeout(grace_period, self.wind_down()) => match ended {
                Ok(ending) => ending,
                Err(_) => Ending::Cut,
            },
            Some(()) = signals.next() => Ending::Cut,
        };
        match ending {
            Ending::Drained => tracing::info!("Shut down"),
            Ending::Cut => tracing::warn!("Shut down before all calls were answered"),
        }
        Ok(ending)
    }

    /// Ends in order. Connections have three quarters of the grace period, so that time is left to flush.
    async fn wind_down(&mut self) -> Ending {
        let deadline = Instant::now() + self.grace_period.mul_f64(0.75);
        self.chores.shutdown().await;
        self.health.set(false).await;
        self.drain.cancel();
        self.health.close().await;
        let answered = tokio::time::timeout_at(deadline, async {
            while let Some(ended) = self.tasks.join_next().await {
                if let Err(problem) = ended.map_err(anyhow::Error::from).flatten() {
                    tracing::error!("{problem:#}");
                }
            }
        });
        let ending = if answered.await.is_ok() { Ending::Drained } else { Ending::Cut };
        self.finish().await;
        ending
    }

    /// Flushes and closes the database.
    async fn finish(&mut self) {
        self.drain.cancel();
        self.engine.shutdown().await;
        self.store.close().await;
    }
}

async fn bind(address: SocketAddr, what: &str, flag: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("{what} cannot listen on {address}; choose another address with {flag}"))
}

async fn tidy_metrics(metrics: PrometheusHandle) {
    let mut ticks = every(METRICS_UPKEEP);
    loop {
        ticks.tick().await;
        metrics.run_upkeep();
    }
}

/// Keeps the health service up to date.
async fn tell_health(door: Door, health: Health) {
    let mut told = None;
    let mut ticks = every(READINESS_AT_START);
    loop {
        ticks.tick().await;
        let ready = door.ready();
        if told.as_ref() == Some(&ready) {
            continue;
        }
        health.set(ready.is_ok()).await;
        match &ready {
            Ok(()) => {
                tracing::info!("Ready");
                ticks = every(READINESS);
            }
            // At the start this is normal.
            Err(why) if told.is_none() => tracing::info!("Not ready yet: {why}"),
            Err(why) => tracing::warn!("Not ready: {why}"),
        }
        told = Some(ready);
    }
}
