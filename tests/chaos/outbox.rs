//! The samples that a rank holds, as the clients do.

use std::collections::VecDeque;

use lrs_model::telemetry::Sample;

/// The most acknowledged samples that a rank keeps, in case the database loses them.
const KEPT: usize = 1024;

/// The samples that a rank holds.
#[derive(Default)]
pub struct Outbox {
    /// Not acknowledged.
    pub waiting: VecDeque<Sample>,
    /// The newest that were acknowledged. They come before `waiting`.
    kept: VecDeque<Sample>,
}

impl Outbox {
    pub fn acknowledge(&mut self, durable_end: u64) {
        while let Some(sample) = self.waiting.pop_front_if(|sample| sample.step < durable_end) {
            self.kept.push_back(sample);
        }
        self.kept.drain(..self.kept.len().saturating_sub(KEPT));
    }

    /// Takes back what was acknowledged and is durable no more: the database has come back older.
    pub fn resume(&mut self, durable_end: u64) {
        while let Some(sample) = self.kept.pop_back_if(|sample| sample.step >= durable_end) {
            self.waiting.push_front(sample);
        }
    }
}
