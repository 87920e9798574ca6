//! The jobs that are in memory, by name. All others are in the database alone.

use std::{
    ops::Deref,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
};

use papaya::HashMap as SharedMap;
use tokio::sync::Notify;

use super::entry::Entry;
use lrs_runtime::metrics::families::LOADED_JOBS;

/// The jobs in memory.
#[derive(Default)]
pub struct Directory {
    entries: SharedMap<String, Arc<Entry>>,
    /// The number of the sweep under way; see [`sweeper`](super::sweeper).
    sweep: AtomicU64,
    /// Asks for a sweep, because memory is short.
    short: Notify,
    /// How often a job that is not in memory came, changed or went.
    changes_outside: AtomicU64,
}

/// A job in use. It stays in memory until this is dropped.
#[derive(Debug)]
pub struct Held(Arc<Entry>);

/// What is known of a name.
pub enum Found {
    /// The job is in memory.
    Held(Held),
    /// The job leaves memory: what it knows is on its way to the database.
    Leaving(Arc<Entry>),
    /// The job is not in memory, if there is one.
    Missing,
}

impl Directory {
    /// The job with this name, to be used.
    pub fn find(&self, name: &str) -> Found {
        let entries = self.entries.pin();
        let Some(entry) = entries.get(name) else { return Found::Missing };
        self.hold(entry).map_or_else(|| Found::Leaving(Arc::clone(entry)), Found::Held)
    }

    /// A use of this job, unless it leaves memory.
    pub fn hold(&self, entry: &Arc<Entry>) -> Option<Held> {
        entry.uses.begin(self.sweep()).then(|| Held(Arc::clone(entry)))
    }

    /// The job with this name, to be looked at: it may leave memory meanwhile.
    pub fn peek(&self, name: &str) -> Option<Arc<Entry>> {
        self.entries.pin().get(name).cloned()
    }

    /// Lets everyone find this job.
    pub fn insert(&self, entry: &Arc<Entry>) {
        self.entries.pin().insert(entry.name.to_string(), Arc::clone(entry));
        self.tell_len();
    }

    /// Forgets this job, and tells those who wait until it has left.
    pub fn remove(&self, entry: &Arc<Entry>) {
        let same = |_: &String, known: &Arc<Entry>| Arc::ptr_eq(known, entry);
        let _ = self.entries.pin().remove_if(entry.name.as_str(), same);
        self.tell_len();
        entry.uses.tell_left();
    }

    /// Waits until this job has left memory. Cancel safe.
    pub async fn left(&self, entry: &Arc<Entry>) {
        let is_there = || self.entries.pin().get(entry.name.as_str()).is_some_and(|known| Arc::ptr_eq(known, entry));
        entry.uses.left(is_there).await;
    }

    fn tell_len(&self) {
        LOADED_JOBS.gauge([]).set(f64::from(u32::try_from(self.len()).unwrap_or(u32::MAX)));
    }

    /// How many jobs are in memory.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// The jobs in memory, in no order.
    pub fn entries(&self) -> Vec<Arc<Entry>> {
        self.entries.pin().values().cloned().collect()
    }

    /// The number of the sweep under way.
    pub fn sweep(&self) -> u64 {
        self.sweep.load(SeqCst)
    }

    /// Begins the next sweep.
    pub fn begin_sweep(&self) {
        self.sweep.fetch_add(1, SeqCst);
    }

    /// Asks for a sweep, because memory is short.
    pub fn ask_for_room(&self) {
        self.short.notify_one();
    }

    /// Waits until somebody asks for a sweep. Cancel safe.
    pub async fn asked_for_room(&self) {
        self.short.notified().await;
    }

    /// How often a job that is not in memory came, changed or went.
    pub fn changes_outside(&self) -> u64 {
        self.changes_outside.load(SeqCst)
    }

    /// Counts a change of a job that is not in memory, or is not any more.
    pub fn count_change_outside(&self) {
        self.changes_outside.fetch_add(1, SeqCst);
    }
}

impl Deref for Held {
    type Target = Arc<Entry>;

    fn deref(&self) -> &Arc<Entry> {
        &self.0
    }
}

impl Clone for Held {
    fn clone(&self) -> Self {
        self.0.uses.begin_another();
        Self(Arc::clone(&self.0))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.uses.end();
    }
}
