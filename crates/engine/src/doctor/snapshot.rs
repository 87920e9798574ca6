//! The saved job: with the telemetry after it, it must give the same job as all of the telemetry.

use super::{Ailment, Diagnosis, Patient, recover};
use crate::recover::Running;
use lrs_store::{Error, inspection::Inspection};

/// Recovers the job both ways and compares.
pub(super) async fn examine(
    database: &dyn Inspection,
    patient: &Patient<'_>,
    diagnosis: &mut Diagnosis,
) -> Result<(), Error> {
    let name = patient.row.name.as_str();
    let Some(newest) = patient.attempts.last() else { return Ok(()) };
    let state = match database.state(patient.row.id).await {
        Ok(state) => state,
        Err(damage) => return diagnosis.found(name, damage),
    };
    // A recovery does not read the saved job of an older attempt either.
    let Some(state) = state.filter(|state| state.attempt == newest.attempt) else { return Ok(()) };
    if let Err(problem) = serde_json::from_str::<serde::de::IgnoredAny>(&state.state) {
        let detail = format!("table job_state, row {}: state: {problem}", patient.row.id);
        diagnosis.find(Some(name), Ailment::Unreadable, detail);
        return Ok(());
    }
    let stored = patient.chunks.get(&newest.attempt).map_or(0, super::ChunkCheck::next_seq);
    if state.next_seq > stored {
        let detail = format!(
            "attempt {}: its snapshot knows {} pieces of telemetry, {stored} are there",
            newest.attempt, state.next_seq
        );
        diagnosis.find(Some(name), Ailment::Gap, detail);
        return Ok(());
    }
    let recovered = async |snapshot| {
        let running =
            recover::running(database, patient.row.id, &patient.timeline, &patient.attempts, snapshot).await?;
        Ok::<_, Error>(text(&running))
    };
    let (fast, whole) = match (recovered(Some(state)).await, recovered(None).await) {
        (Ok(fast), Ok(whole)) => (fast, whole),
        (Err(damage), _) | (_, Err(damage)) => return diagnosis.found(name, damage),
    };
    if fast != whole {
        let detail = "its snapshot leads to another state than its telemetry: delete its row of job_state".to_owned();
        diagnosis.find(Some(name), Ailment::Snapshot, detail);
    }
    Ok(())
}

fn text(running: &Running) -> Option<String> {
    serde_json::to_string(&running.heart.saved()).ok()
}
