//! The signals that end a process.
//!
//! SIGTERM and SIGINT end it in order, and so do SIGQUIT, which some supervisors send to stop, and SIGHUP, which comes
//! when the terminal is closed; under `nohup` SIGHUP stays ignored. SIGUSR1 and SIGUSR2, which others send to have logs
//! opened again, are logged and do nothing: without a handler they would kill the process.

use std::io;

use futures::{Stream, stream};

/// A stream with an item for each signal that asks the process to end.
///
/// # Errors
/// If the signals cannot be listened for.
#[cfg(unix)]
pub fn signals() -> io::Result<impl Stream<Item = ()> + Send + Unpin> {
    use futures::StreamExt as _;
    use tokio::signal::unix::{SignalKind, signal};

    let mut listeners = Vec::new();
    for (name, kind, ends) in [
        ("SIGTERM", SignalKind::terminate(), true),
        ("SIGINT", SignalKind::interrupt(), true),
        ("SIGQUIT", SignalKind::quit(), true),
        ("SIGHUP", SignalKind::hangup(), true),
        ("SIGUSR1", SignalKind::user_defined1(), false),
        ("SIGUSR2", SignalKind::user_defined2(), false),
    ] {
        if kind == SignalKind::hangup() && is_ignored(kind.as_raw_value()) {
            continue;
        }
        let came = stream::unfold(signal(kind)?, |mut signal| async { signal.recv().await.map(|()| ((), signal)) });
        listeners.push(came.map(move |()| (name, ends)).boxed());
    }
    Ok(stream::select_all(listeners).filter_map(|(name, ends)| {
        if ends {
            tracing::info!(signal = name, "{name} came");
        } else {
            tracing::info!(signal = name, "{name} came, which means nothing to lrs");
        }
        std::future::ready(ends.then_some(()))
    }))
}

/// Whether whoever started this process has it ignore a signal, as `nohup` does.
#[cfg(unix)]
fn is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    mask >> (signal - 1) & 1 == 1
}

/// A stream with an item for each Ctrl-C.
///
/// # Errors
/// Never: on this platform a problem shows only when the first signal is awaited.
#[cfg(not(unix))]
pub fn signals() -> io::Result<impl Stream<Item = ()> + Send + Unpin> {
    Ok(Box::pin(stream::unfold((), |()| async { tokio::signal::ctrl_c().await.ok().map(|()| ((), ())) })))
}
