//! The bounds that the engine is run with.

use std::time::Duration;

/// The engine's bounds and habits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Shards, a task each.
    pub shards: usize,
    /// Steps in a reserved block.
    pub reserve_steps: u64,
    /// Reports and changes that may wait for the database.
    pub queue_items: usize,
    /// Values of telemetry that may wait for the database, at most 2^32 - 1.
    pub queue_values: usize,
    /// Items in one transaction.
    pub batch_items: usize,
    /// Values of telemetry that are taken at once; a larger report is taken in pieces.
    pub piece_values: usize,
    /// How long a call waits for the database.
    pub store_timeout: Duration,
    /// Jobs that have not ended and are not abandoned.
    pub max_jobs: usize,
    /// Jobs in memory.
    pub max_loaded_jobs: usize,
    /// When a job that nobody uses leaves memory.
    pub idle_after: Duration,
    /// When a job that has not ended and is idle counts as abandoned.
    pub abandon_after: Duration,
    /// Steps of one rank that may be reported but not yet closed by `through_step`.
    pub max_open_steps: usize,
    /// Decisions by people a job.
    pub max_person_decisions: usize,
    /// How long an owner whose database is away goes on calling steps final. Longer than the time between two looks at
    /// the database, 2 seconds.
    pub owner_lease: Duration,
    /// When a RUNNING job counts as STALE.
    pub stale_after: Duration,
    /// Chunks of an attempt after which small ones are merged.
    pub merge_after_chunks: u64,
    /// Records after which a snapshot is stored.
    pub snapshot_after_records: u64,
    /// Events that a watcher may lag behind.
    pub watch_events: usize,
    /// Jobs of an experiment that is reported.
    pub max_report_jobs: u32,
    /// Reports that may be made at once.
    pub max_reports: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            shards: 4,
            reserve_steps: 1024,
            queue_items: 4096,
            queue_values: 4_000_000,
            batch_items: 512,
            piece_values: 4096,
            store_timeout: Duration::from_secs(10),
            max_jobs: 1_000_000,
            max_loaded_jobs: 100_000,
            idle_after: Duration::from_mins(10),
            abandon_after: Duration::from_hours(30 * 24),
            max_open_steps: 10_000,
            max_person_decisions: 10_000,
            owner_lease: Duration::from_secs(10),
            stale_after: Duration::from_mins(5),
            merge_after_chunks: 512,
            snapshot_after_records: 4096,
            watch_events: 256,
            max_report_jobs: 200,
            max_reports: 2,
        }
    }
}
