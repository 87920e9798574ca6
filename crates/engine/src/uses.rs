//! Who uses a job that is in memory, so that it leaves memory only when nobody does.

use std::sync::atomic::{
    AtomicU64, AtomicUsize,
    Ordering::{Relaxed, SeqCst},
};

use tokio::sync::Notify;

/// The count of a job that leaves memory: nobody may begin to use it.
const LEAVING: usize = usize::MAX;

/// The uses of a job: calls, streams and watchers under way.
#[derive(Debug, Default)]
pub struct Uses {
    count: AtomicUsize,
    /// The sweep during which the last use began or was seen.
    last: AtomicU64,
    left: Notify,
}

impl Uses {
    /// Begins a use during `sweep`, unless the job is leaving memory.
    pub fn begin(&self, sweep: u64) -> bool {
        let begun = self.count.fetch_update(SeqCst, SeqCst, |count| (count != LEAVING).then(|| count + 1)).is_ok();
        if begun {
            self.touch(sweep);
        }
        begun
    }

    /// Begins a further use; to be called by a user only.
    pub fn begin_another(&self) {
        self.count.fetch_add(1, SeqCst);
    }

    /// Ends a use.
    pub fn end(&self) {
        self.count.fetch_sub(1, SeqCst);
    }

    /// Whether the job is in use, or leaves memory already.
    pub fn is_busy(&self) -> bool {
        self.count.load(SeqCst) > 0
    }

    /// Notes that the job is in use during `sweep`.
    pub fn touch(&self, sweep: u64) {
        // Many readers of one job write only once a sweep.
        if self.last.load(Relaxed) != sweep {
            self.last.store(sweep, Relaxed);
        }
    }

    /// The sweep during which the job was last in use.
    pub fn last(&self) -> u64 {
        self.last.load(Relaxed)
    }

    /// From now on nobody may begin to use the job. Does nothing, and says so, if it is in use.
    pub fn try_leave(&self) -> bool {
        self.count.compare_exchange(0, LEAVING, SeqCst, SeqCst).is_ok()
    }

    /// Tells those who wait that the job has left memory.
    pub fn tell_left(&self) {
        self.left.notify_waiters();
    }

    /// Waits until the job has left memory, as `is_there` says. Cancel safe.
    pub async fn left(&self, is_there: impl Fn() -> bool) {
        loop {
            // From here on no departure is missed.
            let left = self.left.notified();
            if !is_there() {
                return;
            }
            left.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_in_use_does_not_leave_and_one_that_leaves_is_not_used() {
        let uses = Uses::default();
        assert!(uses.begin(7));
        uses.begin_another();
        uses.end();
        assert!(!uses.try_leave());
        uses.end();
        assert_eq!((uses.is_busy(), uses.last()), (false, 7));
        assert!(uses.try_leave());
        assert!(uses.is_busy() && !uses.begin(8) && !uses.try_leave());
    }
}
