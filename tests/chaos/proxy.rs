//! A network that can be cut: a proxy on loopback, between trainers and the server.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::{AbortHandle, JoinSet},
};

/// The state of the network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Weather {
    /// How often all connections were cut.
    cuts: u64,
    /// Whether all data is held back, without an error.
    is_held: bool,
}

/// Forwards connections to the server until it is dropped.
pub struct Proxy {
    /// The address that trainers connect to.
    pub address: SocketAddr,
    weather: watch::Sender<Weather>,
    task: AbortHandle,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Proxy {
    /// A proxy in front of the server at `upstream`, which may come and go.
    pub async fn before(upstream: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (weather, watched) = watch::channel(Weather::default());
        let task = tokio::spawn(accept(listener, upstream, watched)).abort_handle();
        Self { address, weather, task }
    }

    /// Breaks every connection, and loses the data under way.
    pub fn cut(&self) {
        self.weather.send_modify(|weather| weather.cuts += 1);
    }

    /// Holds all data back, or lets it go on.
    pub fn hold(&self, is_held: bool) {
        self.weather.send_modify(|weather| weather.is_held = is_held);
    }
}

async fn accept(listener: TcpListener, upstream: String, weather: watch::Receiver<Weather>) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((trainer, _)) = listener.accept().await else { return };
        connections.spawn(forward(trainer, upstream.clone(), weather.clone()));
        while connections.try_join_next().is_some() {}
    }
}

async fn forward(trainer: TcpStream, upstream: String, weather: watch::Receiver<Weather>) {
    let Ok(server) = TcpStream::connect(&upstream).await else { return };
    let (from_trainer, to_trainer) = trainer.into_split();
    let (from_server, to_server) = server.into_split();
    let cuts = weather.borrow().cuts;
    let mut watched = weather.clone();
    tokio::select! {
        () = pump(from_trainer, to_server, weather.clone()) => {}
        () = pump(from_server, to_trainer, weather) => {}
        _ = watched.wait_for(|weather| weather.cuts > cuts) => {}
    }
}

/// Forwards until either end is gone.
async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut weather: watch::Receiver<Weather>) {
    let mut buffer = vec![0; 16 << 10];
    loop {
        let Ok(length @ 1..) = from.read(&mut buffer).await else { return };
        if weather.wait_for(|weather| !weather.is_held).await.is_err() {
            return;
        }
        if to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}
