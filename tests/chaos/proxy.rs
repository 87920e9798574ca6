//! A network that can be cut: a proxy on loopback between two programs.

use std::{net::SocketAddr, path::PathBuf, sync::Arc};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream, UnixStream},
    sync::watch,
    task::{AbortHandle, JoinSet},
};

/// The state of a part of the network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Weather {
    /// How often all connections were cut.
    cuts: u64,
    /// Whether all data is held back, without an error, and delivered later.
    is_held: bool,
    /// Whether all data vanishes.
    is_black_hole: bool,
}

/// A part of the network.
#[derive(Clone, Default)]
pub struct Network(Arc<watch::Sender<Weather>>);

impl Network {
    /// Breaks every connection, and loses the data under way.
    pub fn cut(&self) {
        self.0.send_modify(|weather| weather.cuts += 1);
    }

    /// Holds all data back, or lets it go on.
    pub fn hold(&self, is_held: bool) {
        self.0.send_modify(|weather| weather.is_held = is_held);
    }

    /// Loses all data, or ends that. The far end sees its connections closed, as after a time-out. The near end sees
    /// silence, and closed connections only when the data flows again.
    pub fn black_hole(&self, is_black_hole: bool) {
        self.0.send_modify(|weather| weather.is_black_hole = is_black_hole);
    }
}

/// An address behind a proxy.
#[derive(Clone, Debug)]
pub enum Address {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

/// The way of one connection.
pub struct Route {
    pub to: Address,
    pub over: Network,
}

/// Forwards connections until it is dropped.
pub struct Proxy {
    /// The address that programs connect to.
    pub address: SocketAddr,
    task: AbortHandle,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Proxy {
    /// A proxy that asks for the route of each connection when it comes. Without a route it is refused.
    pub async fn new(choose: impl Fn() -> Option<Route> + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(accept(listener, choose)).abort_handle();
        Self { address, task }
    }

    /// A proxy in front of one address, whose program may come and go.
    pub async fn before(to: Address, over: Network) -> Self {
        Self::new(move || Some(Route { to: to.clone(), over: over.clone() })).await
    }
}

async fn accept(listener: TcpListener, choose: impl Fn() -> Option<Route>) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((near, _)) = listener.accept().await else { return };
        if let Some(route) = choose() {
            connections.spawn(forward(near, route));
        }
        while connections.try_join_next().is_some() {}
    }
}

async fn forward(mut near: TcpStream, route: Route) {
    let weather = route.over.0.subscribe();
    let cuts = weather.borrow().cuts;
    let (mut cut, mut hole) = (weather.clone(), weather.clone());
    let exchange = async {
        match route.to {
            Address::Tcp(address) => exchange(&mut near, TcpStream::connect(address).await, &weather).await,
            Address::Unix(path) => exchange(&mut near, UnixStream::connect(path).await, &weather).await,
        }
    };
    tokio::select! {
        biased;
        _ = cut.wait_for(|weather| weather.cuts > cuts) => return,
        _ = hole.wait_for(|weather| weather.is_black_hole) => {}
        () = exchange => return,
    }
    let _ = hole.wait_for(|weather| !weather.is_black_hole || weather.cuts > cuts).await;
}

/// Forwards both ways until either end is gone.
async fn exchange<F: AsyncRead + AsyncWrite>(
    near: &mut TcpStream,
    far: std::io::Result<F>,
    weather: &watch::Receiver<Weather>,
) {
    let Ok(far) = far else { return };
    let (from_near, to_near) = near.split();
    let (from_far, to_far) = tokio::io::split(far);
    tokio::select! {
        () = pump(from_near, to_far, weather.clone()) => {}
        () = pump(from_far, to_near, weather.clone()) => {}
    }
}

/// Forwards until either end is gone. Data that were read before the network was held are delivered in the end, even if
/// their sender is gone by then.
async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut weather: watch::Receiver<Weather>,
) {
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
