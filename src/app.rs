//! The server as a whole: the only place that sees every room.

mod census;
mod keeper;
mod opening;
pub mod retention;
mod statistics;
mod ticks;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Context as _;
use futures::{Stream, StreamExt as _};
use tokio::{net::TcpListener, task::JoinSet, time::Instant};
use tokio_util::sync::CancellationToken;

pub use keeper::Around;
use keeper::{Held, Keeper};
use ticks::every;

use crate::{
    config::Config,
    connections::Pressure,
    http,
    rpc::{self, Door, Health, Services},
};
use lrs_engine::Fleet;
use lrs_runtime::{
    clock::SystemClock,
    metrics::{self, Exposition, families::BUILD_INFO},
};
use lrs_stats::Backend;

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

/// A server whose listeners are bound. It may still be waiting for its database, or recovering: see
/// [`Server::readiness`].
pub struct Server {
    grpc: SocketAddr,
    http: SocketAddr,
    grace_period: Duration,
    statistics: Arc<dyn Backend>,
    held: Held,
    door: Door,
    health: Health,
    drain: CancellationToken,
    tasks: JoinSet<anyhow::Result<()>>,
    chores: JoinSet<()>,
}

impl Server {
    /// Binds the listeners, which answer probes at once, and begins to open the database.
    ///
    /// # Errors
    /// If an address is taken, the device cannot be used, or the process has another recorder of metrics.
    pub async fn start(config: &Config) -> anyhow::Result<Self> {
        Self::start_around(config, |store| store).await
    }

    /// The same, with something between the engine and its store: tests plant bugs there.
    ///
    /// # Errors
    /// Like [`Server::start`].
    pub async fn start_around(config: &Config, around: Around) -> anyhow::Result<Self> {
        // The listeners come first: a second server on the same addresses must not touch the database.
        let grpc = bind(config.grpc_listen, "gRPC", "--grpc-listen").await?;
        let http = bind(config.http_listen, "HTTP", "--http-listen").await?;
        let metrics = metrics::install()?;
        BUILD_INFO.gauge([env!("CARGO_PKG_VERSION")]).set(1.0);
        lrs_engine::show_metrics();
        let statistics = statistics::open(config.device).await?;
        statistics::show(statistics.as_ref());
        let (grpc_address, http_address) = (grpc.local_addr()?, http.local_addr()?);
        let drain = CancellationToken::new();
        let door = Door::closed(keeper::OPENING, drain.clone(), config.engine.store_timeout);
        let services = Services::new(door.clone(), config.limits);
        let health = Health::new().await;
        let keeper = Keeper::new(config, Arc::new(SystemClock), around, door.clone(), Arc::clone(&statistics));
        let held = keeper.held();

        let mut tasks = JoinSet::new();
        let (limits, pressure) = (config.limits, Pressure::new(drain.clone()));
        let bounds = limits.bounds(&pressure);
        let (fleet, hosts) = (Fleet::new(Arc::clone(&statistics)), config.allowed_hosts.clone());
        let (router, forget_unseen) = http::router(services.clone(), metrics.clone(), fleet, limits, hosts, pressure);
        let (of_http, stop) = (bounds.clone(), drain.clone().cancelled_owned());
        tasks.spawn(async move {
            http::serve(http, router, of_http, stop).await;
            Ok(())
        });
        let (served_health, stop) = (health.clone(), drain.clone().cancelled_owned());
        let failures = rpc::failures();
        let calls_that_fail = failures.clone();
        tasks.spawn(async move {
            let served = rpc::serve(grpc, services, served_health, limits, bounds, failures, stop).await;
            served.context("gRPC cannot be served")
        });
        let stop = drain.clone();
        tasks.spawn(async move {
            let kept = stop.run_until_cancelled_owned(keeper.run()).await;
            kept.map_or(Ok(()), |failed| failed.map(|never| match never {}))
        });
        let mut chores = JoinSet::new();
        chores.spawn(tidy_metrics(metrics));
        chores.spawn(forget_unseen);
        chores.spawn(calls_that_fail.say_left_out());
        chores.spawn(tell_health(door.clone(), health.clone()));
        Ok(Self {
            grpc: grpc_address,
            http: http_address,
            grace_period: config.grace_period,
            statistics,
            held,
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

    /// Waits until calls can be answered. Cancel safe.
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
    /// If serving fails while no signal has come, or the database cannot be opened and waiting cannot mend that.
    pub async fn run_until(mut self, mut signals: impl Stream<Item = ()> + Unpin) -> anyhow::Result<Ending> {
        tokio::select! {
            _ = signals.next() => {}
            Some(ended) = self.tasks.join_next() => {
                // None of them ends by itself unless it fails.
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
        self.held.close().await;
    }
}

async fn bind(address: SocketAddr, what: &str, flag: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("{what} cannot listen on {address}; choose another address with {flag}"))
}

async fn tidy_metrics(metrics: Exposition) {
    let mut ticks = every(METRICS_UPKEEP);
    loop {
        ticks.tick().await;
        metrics.sum_up();
    }
}

/// Keeps the health service up to date.
async fn tell_health(door: Door, health: Health) {
    let (mut told, mut is_started) = (None, false);
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
                is_started = true;
            }
            // At the start this is normal.
            Err(why) if !is_started => tracing::info!("Not ready yet: {why}"),
            Err(why) => tracing::warn!("Not ready: {why}"),
        }
        told = Some(ready);
    }
}
