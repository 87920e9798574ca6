//! The connections of a listener, with a limit on how many are open.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures::{Stream, stream};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tonic::transport::server::{Connected, TcpConnectInfo};

/// The pause after a failure of the system, such as too many open files.
const PAUSE: Duration = Duration::from_millis(100);

/// A connection. Dropping it makes room for another.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    _place: OwnedSemaphorePermit,
}

/// The connections of `listener`, of which at most `limit` are open at once: the next connection waits in the kernel
/// until another is dropped. The stream never ends and never fails: a broken connection, or a system that is short of
/// something for a while, does not stop later connections.
pub fn accept(listener: TcpListener, limit: usize) -> impl Stream<Item = io::Result<Connection>> + Send {
    let places = Arc::new(Semaphore::new(limit));
    stream::unfold((listener, places), |(listener, places)| async move {
        let place = Arc::clone(&places).acquire_owned().await.ok()?;
        let stream = next(&listener).await;
        Some((Ok(Connection { stream, _place: place }), (listener, places)))
    })
}

async fn next(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                // Without TCP_NODELAY the connection is slower, but works.
                if let Err(problem) = stream.set_nodelay(true) {
                    tracing::debug!(%problem, "TCP_NODELAY could not be set on a connection");
                }
                return stream;
            }
            // The client has hung up already.
            Err(problem) if problem.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(problem) => {
                tracing::warn!(%problem, "A connection cannot be accepted: {problem}");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// Raises the limit of open files as far as the system allows. Each connection is an open file, and the usual limit of
/// 1024 is for programs that cannot handle more. If the limit cannot be raised, it stays as it is.
pub fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    if let Err(problem) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        tracing::debug!(%problem, "The limit of open files stays as it is");
    }
}

impl Connected for Connection {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        self.stream.connect_info()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures::{FutureExt as _, StreamExt as _};
    use tokio::io::AsyncReadExt as _;

    use super::*;

    #[tokio::test]
    async fn one_too_many_waits_until_another_is_gone() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut accepted = pin!(accept(listener, 1));
        let (mut first, _second) =
            (TcpStream::connect(address).await.unwrap(), TcpStream::connect(address).await.unwrap());

        let connection = accepted.next().await.unwrap().unwrap();
        assert!(accepted.next().now_or_never().is_none());
        drop(connection);

        assert_eq!(first.read(&mut [0]).await.unwrap(), 0);
        assert!(accepted.next().await.is_some());
    }
}
