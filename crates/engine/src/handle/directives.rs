//! What an attempt's trainer is told for some steps: from memory or, where a busy controller has left them far behind,
//! from the record.

use super::Engine;
use crate::{
    api::{Directive, Error},
    cell::Cell,
    lineage::lineage,
    past,
    steering::BaseMove,
};
use lrs_model::name::JobId;
use lrs_runtime::heavy::in_place;

/// Directives that take more than some hundred microseconds.
const MANY: usize = 1000;

impl Engine {
    /// The directives of `steps`, which rise. To be called after those that are final have been given out.
    ///
    /// # Errors
    /// If moves have to be read back and the store is away.
    pub(super) async fn directives(
        &self,
        job: JobId,
        cell: &Cell,
        steps: impl Iterator<Item = u64> + Clone + Send,
    ) -> Result<Vec<Directive>, Error> {
        let timeline = cell.timeline_full();
        let known_from = timeline.known_from();
        let forgotten: Vec<u64> = steps.clone().take_while(|step| *step < known_from).collect();
        let moves = if forgotten.is_empty() { Vec::new() } else { self.forgotten(job, cell, &forgotten).await? };
        let is_many = steps.size_hint().0 >= MANY;
        let directives = || {
            let mut moves = moves.iter();
            let directive = |step| match moves.next() {
                Some(in_force) => timeline.directive_with(step, in_force.as_ref()),
                None => timeline.directive_at(step),
            };
            steps.map(directive).collect()
        };
        Ok(if is_many { in_place(directives) } else { directives() })
    }

    /// The moves in force at `steps`, which rise, of the history of an attempt. Few calls read at once, the others
    /// wait.
    async fn forgotten(&self, job: JobId, cell: &Cell, steps: &[u64]) -> Result<Vec<Option<BaseMove>>, Error> {
        let _turn = self.in_time(self.0.past_reads.acquire()).await?.map_err(|_| Error::ShuttingDown)?;
        // What was decided long ago may still be on its way to a database that was away.
        self.settled(job).await?;
        let store = &*self.0.reads;
        let attempts = store.attempts(job).await?;
        let groups = cell.timeline_full().last_spec().spec().groups.len();
        Ok(past::moves_at(store, job, &lineage(&attempts, cell.attempt), steps, groups).await?)
    }
}
