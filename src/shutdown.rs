//! The signals that end a process.

use std::io;

use futures::{Stream, stream};

/// A stream with an item for each SIGTERM or SIGINT.
///
/// # Errors
/// If the signals cannot be listened for.
#[cfg(unix)]
pub fn signals() -> io::Result<impl Stream<Item = ()> + Send + Unpin> {
    use tokio::signal::unix::{SignalKind, signal};

    let both = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let signals = stream::unfold(both, |(mut terminate, mut interrupt)| async move {
        let came = tokio::select! {
            came = terminate.recv() => came,
            came = interrupt.recv() => came,
        };
        came.map(|()| ((), (terminate, interrupt)))
    });
    Ok(Box::pin(signals))
}

/// A stream with an item for each Ctrl-C.
///
/// # Errors
/// Never: on this platform a problem shows only when the first signal is awaited.
#[cfg(not(unix))]
pub fn signals() -> io::Result<impl Stream<Item = ()> + Send + Unpin> {
    Ok(Box::pin(stream::unfold((), |()| async { tokio::signal::ctrl_c().await.ok().map(|()| ((), ())) })))
}
