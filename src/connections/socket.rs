//! A connection's socket.

use std::{
    io::{self, IoSlice},
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use rustix::net::sockopt::set_tcp_user_timeout;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    sync::OwnedSemaphorePermit,
    time::Instant,
};

/// A socket. Dropping it makes room for another.
#[derive(Debug)]
pub(super) struct Socket {
    stream: TcpStream,
    full: Full,
    _place: Option<OwnedSemaphorePermit>,
}

/// Since when a socket takes no more bytes.
#[derive(Clone, Debug, Default)]
pub(super) struct Full(Arc<Mutex<Option<Instant>>>);

impl Full {
    /// Whether the socket has taken no bytes for longer than `patience`.
    pub(super) fn is_stuck(&self, patience: Duration) -> bool {
        let since = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        since.is_some_and(|since| since.elapsed() > patience)
    }

    fn note(&self, is_full: bool) {
        let mut since = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *since = if is_full { since.or_else(|| Some(Instant::now())) } else { None };
    }
}

impl Socket {
    /// A socket at a place. Bytes that its other end does not confirm within `write_timeout` end the connection.
    pub(super) fn new(stream: TcpStream, place: Option<OwnedSemaphorePermit>, write_timeout: Duration) -> Self {
        // Without TCP_NODELAY the connection is slower, but works.
        if let Err(problem) = stream.set_nodelay(true) {
            tracing::debug!(%problem, "TCP_NODELAY could not be set on a connection");
        }
        // Without TCP_USER_TIMEOUT a dead connection is noticed later.
        let millis = u32::try_from(write_timeout.as_millis()).unwrap_or(u32::MAX);
        if let Err(problem) = set_tcp_user_timeout(&stream, millis) {
            tracing::debug!(%problem, "TCP_USER_TIMEOUT could not be set on a connection");
        }
        Self { stream, full: Full::default(), _place: place }
    }

    /// Since when it takes no more bytes.
    pub(super) fn full(&self) -> Full {
        self.full.clone()
    }

    /// The addresses of both ends; `None` if the connection is gone.
    pub(super) fn addresses(&self) -> (Option<SocketAddr>, Option<SocketAddr>) {
        (self.stream.local_addr().ok(), self.stream.peer_addr().ok())
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.full.note(written.is_pending());
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.full.note(written.is_pending());
        written
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
