//! Work that takes the processor for longer than others should wait for it.
//!
//! A task that computes keeps its thread from all other tasks on it. What may take more than some hundred microseconds is done aside:
//! meanwhile another thread takes over. So that the machine is not full of it, callers who ask for much of it take turns.

use std::sync::Arc;

use tokio::{
    runtime::{Handle, RuntimeFlavor},
    sync::{OwnedSemaphorePermit, Semaphore},
};

/// Does `work` here and now, while another thread takes over the tasks of this one. Where the run-time has only one thread
/// there is none to take over.
pub fn aside<T>(work: impl FnOnce() -> T) -> T {
    let is_shared = Handle::try_current().is_ok_and(|handle| handle.runtime_flavor() == RuntimeFlavor::MultiThread);
    if is_shared { tokio::task::block_in_place(work) } else { work() }
}

/// Turns at large work: half the processors are for it, and the others for those who ask for little.
#[derive(Clone, Debug)]
pub struct Turns(Arc<Semaphore>);

/// A turn, which is over when this is dropped.
#[derive(Debug)]
pub struct Turn {
    _permit: Option<OwnedSemaphorePermit>,
}

impl Default for Turns {
    fn default() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self(Arc::new(Semaphore::new(processors.div_ceil(2))))
    }
}

impl Turns {
    /// Waits for a turn, first come first served. Cancel safe.
    pub async fn take(&self) -> Turn {
        // It is never closed.
        Turn { _permit: Arc::clone(&self.0).acquire_owned().await.ok() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn on_a_single_thread_work_is_simply_done() {
        assert_eq!(aside(|| 7), 7);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn others_go_on_while_work_is_done_aside() {
        let (told, hears) = std::sync::mpsc::channel();
        let other = tokio::spawn(async move { told.send(()).unwrap() });
        // The one worker is here: the other task runs only where its place is taken over.
        aside(|| hears.recv_timeout(std::time::Duration::from_secs(30)).unwrap());
        other.await.unwrap();
    }

    #[tokio::test]
    async fn a_turn_is_free_again_when_it_is_over() {
        let turns = Turns(Arc::new(Semaphore::new(1)));
        let first = turns.take().await;
        assert_eq!(turns.0.available_permits(), 0);
        drop(first);
        turns.take().await;
    }
}
