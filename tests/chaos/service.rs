//! The service in front of the replicas, as a cluster has it: one address, and each connection goes to a replica that
//! said lately that it is ready. A tenth of the connections goes to any replica: clients keep connections open to a
//! server that has stopped owning the database, and routes are updated late.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rand::{Rng as _, SeedableRng as _, seq::IndexedRandom as _};
use rand_chacha::ChaCha8Rng;
use rustix::process::Pid;
use tokio::{sync::watch, task::JoinSet};

use crate::{
    proxy::{Address, Proxy, Route},
    replica::Replica,
};

/// The pause between two probes of a replica.
const PROBES: Duration = Duration::from_millis(50);
/// How likely a connection goes to any replica.
const ASTRAY: f64 = 0.1;

/// The service.
pub struct Service {
    proxy: Proxy,
    ready: watch::Sender<Ready>,
    _probes: JoinSet<()>,
}

/// What the probes have found.
#[derive(Clone, Debug, Default)]
pub struct Ready {
    /// The replicas that said so in their last probe.
    pub replicas: Vec<bool>,
    /// The process that was ready last.
    owner: Option<Pid>,
    /// How often another process than before was ready.
    pub takeovers: u64,
}

impl Ready {
    /// The ready replica.
    pub fn owner(&self) -> Option<usize> {
        self.replicas.iter().position(|is_ready| *is_ready)
    }

    /// Notes a probe.
    fn probed(&mut self, number: usize, process: Option<Pid>, is_ready: bool) {
        let was_ready = std::mem::replace(&mut self.replicas[number], is_ready);
        if is_ready && !was_ready && self.owner != process {
            self.takeovers += u64::from(self.owner.is_some());
            self.owner = process;
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Service {
    /// A service in front of `replicas`.
    pub async fn before(replicas: &[Arc<Replica>], seed: u64) -> Self {
        let ready = watch::Sender::new(Ready { replicas: vec![false; replicas.len()], ..Ready::default() });
        let mut probes = JoinSet::new();
        for (number, replica) in replicas.iter().cloned().enumerate() {
            let ready = ready.clone();
            probes.spawn(async move {
                loop {
                    let process = replica.process();
                    let is_ready = replica.is_ready().await;
                    ready.send_modify(|ready| ready.probed(number, process, is_ready));
                    tokio::time::sleep(PROBES).await;
                }
            });
        }
        let (replicas, watched) = (replicas.to_vec(), ready.subscribe());
        let random = Mutex::new(ChaCha8Rng::seed_from_u64(seed));
        let proxy = Proxy::new(move || choose(&replicas, &watched.borrow(), &mut lock(&random))).await;
        Self { proxy, ready, _probes: probes }
    }

    /// The address for trainers and operators.
    pub fn address(&self) -> SocketAddr {
        self.proxy.address
    }

    /// What the probes find.
    pub fn ready(&self) -> watch::Receiver<Ready> {
        self.ready.subscribe()
    }
}

fn choose(replicas: &[Arc<Replica>], ready: &Ready, random: &mut ChaCha8Rng) -> Option<Route> {
    let any: Vec<&Arc<Replica>> = replicas.iter().collect();
    let good: Vec<&Arc<Replica>> =
        replicas.iter().zip(&ready.replicas).filter(|(_, is_ready)| **is_ready).map(|(replica, _)| replica).collect();
    let among = if random.random_bool(ASTRAY) { &any } else { &good };
    let replica = among.choose(random)?;
    Some(Route { to: Address::Tcp(replica.grpc), over: replica.trainers.clone() })
}
