//! Moves of the base rates that are no longer in memory, read back from the decisions on record.
//!
//! Nobody who trains asks for them: they are for a curious look at a step that a busy controller has left far behind. A
//! read goes through all of a job's decisions, and holds one page of them at a time.

use super::{lineage::Part, pages, steering::BaseMove};
use lrs_model::{decision::DecisionId, name::JobId};
use lrs_store as store;
use lrs_store::{DecisionQuery, Store};

/// For each of `steps`, which rise, the newest move that controllers made in the history `parts` and that is in force
/// there; the job has so many parameter `groups`.
///
/// # Errors
/// If the store is away, or what it has cannot be understood.
pub async fn moves_at(
    store: &dyn Store,
    job: JobId,
    parts: &[Part],
    steps: &[u64],
    groups: usize,
) -> Result<Vec<Option<BaseMove>>, store::Error> {
    // Of the moves between two of the steps, the newest.
    let mut newest: Vec<Option<(DecisionId, BaseMove)>> = vec![None; steps.len()];
    let mut query = DecisionQuery { limit: pages::decisions(groups), ..DecisionQuery::default() };
    loop {
        let rows = store.decisions(job, &query).await?;
        let Some(last) = rows.last() else { break };
        query.after = Some(last.position);
        for decision in rows.into_iter().map(|row| row.decision) {
            let place = steps.partition_point(|step| *step < decision.effective_step);
            let Some(newest) = newest.get_mut(place) else { continue };
            let is_newer = newest.as_ref().is_none_or(|(id, _)| *id < decision.id);
            if is_newer
                && parts.iter().any(|part| part.has_decision(&decision))
                && let Some(base_move) = BaseMove::of(&decision)
            {
                *newest = Some((decision.id, base_move));
            }
        }
    }
    let moves = newest.into_iter().scan(None, |in_force: &mut Option<BaseMove>, newest| {
        *in_force = newest.map(|(_, base_move)| base_move).or(in_force.take());
        Some(in_force.clone())
    });
    Ok(moves.collect())
}
