//! How a process is told to end.

use std::io;

use futures::{Stream, stream};

/// One item for each SIGTERM or SIGINT that comes.
///
/// # Errors
/// If the signals can not be listened for.
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

/// One item for each Ctrl-C that comes.
///
/// # Errors
/// Never: here it shows when the first is waited for.
#[cfg(not(unix))]
pub fn signals() -> io::Result<impl Stream<Item = ()> + Send + Unpin> {
    Ok(Box::pin(stream::unfold((), |()| async { tokio::signal::ctrl_c().await.ok().map(|()| ((), ())) })))
}
