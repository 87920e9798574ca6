//! Room for the telemetry of one job that waits for the database, so that it leaves other jobs theirs.

use std::sync::Arc;

use tokio::sync::Semaphore;

/// Values of telemetry of one job that may wait for the database, however much room there is.
pub const JOB_VALUES: usize = 65_536;

/// Room for [`JOB_VALUES`]; whoever reports takes some of it until the report is durable.
#[derive(Debug)]
pub struct Room(pub Arc<Semaphore>);

impl Default for Room {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(JOB_VALUES)))
    }
}
