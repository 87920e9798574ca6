//! Heavy work: computation that takes longer than other tasks should have to wait.
//!
//! A task that computes keeps the other tasks of its thread waiting. Work of more than some hundred microseconds
//! therefore runs [`in_place`], while another thread takes over the other tasks. Callers that ask for much of such work
//! take [`Turns`], so that they do not use all processors.

use std::sync::Arc;

use tokio::{
    runtime::{Handle, RuntimeFlavor},
    sync::{OwnedSemaphorePermit, Semaphore},
};

/// Runs `work` on this thread at once, while another thread takes over this thread's other tasks. In a single-threaded
/// run-time the other tasks wait.
pub fn in_place<T>(work: impl FnOnce() -> T) -> T {
    let is_shared = Handle::try_current().is_ok_and(|handle| handle.runtime_flavor() == RuntimeFlavor::MultiThread);
    if is_shared { tokio::task::block_in_place(work) } else { work() }
}

/// Turns at large work, which gets half of the processors; the other half is left to callers with small requests.
#[derive(Clone, Debug)]
pub struct Turns {
    free: Arc<Semaphore>,
    at_once: usize,
}

/// A turn; dropping it ends it.
#[derive(Debug)]
pub struct Turn {
    _permit: Option<OwnedSemaphorePermit>,
}

impl Default for Turns {
    fn default() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self::of(processors.div_ceil(2))
    }
}

impl Turns {
    /// So many turns at once.
    #[must_use]
    pub fn of(at_once: usize) -> Self {
        Self { free: Arc::new(Semaphore::new(at_once)), at_once }
    }

    /// How many have a turn at once.
    #[must_use]
    pub fn at_once(&self) -> usize {
        self.at_once
    }

    /// Waits for a turn, in order of arrival. Cancel safe.
    pub async fn take(&self) -> Turn {
        // The semaphore is never closed.
        Turn { _permit: Arc::clone(&self.free).acquire_owned().await.ok() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn on_a_single_thread_work_is_done_all_the_same() {
        assert_eq!(in_place(|| 7), 7);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn other_tasks_go_on_while_work_is_done_in_place() {
        let (told, hears) = std::sync::mpsc::channel();
        let other = tokio::spawn(async move { told.send(()).unwrap() });
        // This is the only worker, so the other task runs only if another thread takes over.
        in_place(|| hears.recv_timeout(std::time::Duration::from_secs(30)).unwrap());
        other.await.unwrap();
    }

    #[tokio::test]
    async fn a_turn_is_free_again_when_it_is_over() {
        let turns = Turns::of(1);
        let first = turns.take().await;
        assert_eq!(turns.free.available_permits(), 0);
        drop(first);
        turns.take().await;
    }
}
